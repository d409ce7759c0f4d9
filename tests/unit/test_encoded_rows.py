"""Batches of rows in token ids: each row in its place, padded or cut short, whichever rows are asked for."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from compressbench.prediction import EncodedRows

rows_of_ids = st.lists(st.lists(st.integers(1, 99), max_size=7), min_size=1, max_size=8)


@given(rows_of_ids, st.integers(1, 9), st.data())
def test_a_batch_is_its_rows_one_by_one(rows: list[list[int]], width: int, data: st.DataObject) -> None:
    kinds = [[each % 2 for each in row] for row in rows]
    encoded = EncodedRows(input_ids=rows, token_type_ids=kinds, pad_id=100)
    for _ in range(2):  # the second is made from what the first has kept
        asked = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1))
        batch = encoded.batch(np.array(asked), to_length=width)
        for place, index in enumerate(asked):
            row, more = rows[index][:width], [0] * (width - len(rows[index]))
            assert batch["input_ids"][place].tolist() == [*row, *(100 for _ in more)]
            assert batch["attention_mask"][place].tolist() == [*(1 for _ in row), *more]
            assert batch["token_type_ids"][place].tolist() == [*kinds[index][:width], *more]
        assert {each.dtype for each in batch.values()} == {np.dtype(np.int64)}


def test_a_batch_is_as_long_as_its_longest_row() -> None:
    encoded = EncodedRows(input_ids=[[1], [1, 2, 3], [1, 2]], token_type_ids=[[0], [0, 0, 1], [0, 1]], pad_id=0)
    assert encoded.batch(np.array([0, 2]))["input_ids"].tolist() == [[1, 0], [1, 2]]
    assert encoded.batch(np.array([1]))["token_type_ids"].tolist() == [[0, 0, 1]]
