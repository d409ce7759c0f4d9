"""Which rows the shape of real lengths runs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressbench.harness.real_rows import DRAWN, POOL, draw, pool_places, real_rows, served_batches, widths
from compressbench.harness.shapes import TaskShape
from compressbench.prediction import EncodedRows


def test_batches_come_as_they_are_served() -> None:
    assert [batch.tolist() for batch in served_batches(7, 3)] == [[0, 1, 2], [3, 4, 5]]
    assert [batch.tolist() for batch in served_batches(2, 3)] == [[0, 1]]


def test_the_pool_has_the_lengths_that_the_split_has() -> None:
    lengths = np.random.default_rng(0).integers(5, 128, size=5000)
    pool = lengths[pool_places(lengths)]
    assert len(pool) == POOL
    assert sorted(pool) == list(pool)
    for percent in (10, 50, 90):
        assert np.percentile(pool, percent) == pytest.approx(np.percentile(lengths, percent), abs=4)


@given(st.integers(1, 100), st.integers(0, 1000), st.integers(0, 5))
def test_a_round_runs_one_batch_of_each_part_of_the_lengths(size: int, round_number: int, seed: int) -> None:
    places = draw(size, seed=seed, round_number=round_number)
    assert places == draw(size, seed=seed, round_number=round_number)
    assert len(set(places)) == len(places) == min(size, DRAWN)
    parts = np.array_split(np.arange(size), min(size, DRAWN))
    assert [sum(place in part for place in places) for part in parts] == [1] * len(parts)


def test_rows_are_padded_to_the_longest_of_their_batch_alone() -> None:
    encoded = EncodedRows(
        input_ids=[[7] * 3, [8] * 5, [9] * 2, [6] * 2], token_type_ids=[[0] * n for n in (3, 5, 2, 2)], pad_id=1
    )
    rows = real_rows(encoded, task="t", shapes=[TaskShape(2)])
    short, long = rows.pools[TaskShape(2)]
    assert short["input_ids"].tolist() == [[9, 9], [6, 6]]
    assert long["input_ids"].tolist() == [[7, 7, 7, 1, 1], [8] * 5]
    assert long["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    assert widths([short, long, long]) == {2: 0, 5: 2}
