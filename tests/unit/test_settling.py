"""The change-point rule on series whose truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressbench.harness.settling import LEAST_PIECE, is_settled, last_change

MS = 1_000_000


def noisy(levels_ms: list[float], *, spread: float = 0.02, seed: int = 0) -> list[int]:
    rng = np.random.default_rng(seed)
    return [int(level * MS * np.exp(spread * rng.standard_normal())) for level in levels_ms]


@pytest.mark.parametrize("slow_runs", [1, 3, 10, 40])
def test_a_bimodal_start_is_cut_where_the_threads_have_spread(slow_runs: int) -> None:
    series = noisy([12.0] * slow_runs + [3.9] * 20)
    assert last_change(series) == slow_runs
    assert is_settled(series, least_ns=50 * MS)
    assert not is_settled(series[: slow_runs + LEAST_PIECE - 1], least_ns=50 * MS)


def test_slow_runs_alone_are_not_believed_before_the_least_time() -> None:
    assert not is_settled(noisy([12.0] * 20), least_ns=250 * MS)
    assert is_settled(noisy([12.0] * 25), least_ns=250 * MS)


def test_a_drifting_series_is_not_settled_until_the_drift_ends() -> None:
    drift = [10.0 * 0.9**step for step in range(20)]
    assert not any(is_settled(noisy(drift[:count], spread=0.005), least_ns=0) for count in range(LEAST_PIECE + 2, 20))
    assert is_settled(noisy(drift + drift[-1:] * 12, spread=0.005), least_ns=0)


@pytest.mark.parametrize("seed", range(20))
def test_a_constant_series_is_not_cut(seed: int) -> None:
    assert last_change(noisy([4.0] * 60, spread=0.05, seed=seed)) == 0


def test_a_single_slow_run_is_no_change_of_level() -> None:
    assert last_change(noisy([4.0] * 20 + [40.0] + [4.0] * 20)) == 0


def test_changes_below_what_matters_are_none() -> None:
    assert last_change([4_000_000] * 30 + [3_900_000] * 30) == 0


def test_long_series_are_searched_in_groups() -> None:
    series = noisy([3.0] * 500 + [1.0] * 800)
    assert 500 <= last_change(series) <= 500 + 21  # 21 runs a group


@given(st.lists(st.integers(1, 10**10), max_size=40), st.integers(1, 20))
def test_the_unit_of_time_does_not_matter_and_the_cut_leaves_enough(values: list[int], factor: int) -> None:
    cut = last_change(values)
    assert cut == 0 or len(values) - cut >= LEAST_PIECE
    assert last_change([value * 2**factor for value in values]) == cut


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=40))
def test_no_run_at_all_or_too_few_are_never_settled(values: list[int]) -> None:
    assert not is_settled([], least_ns=0)
    assert not is_settled(values[: LEAST_PIECE - 1], least_ns=0)
