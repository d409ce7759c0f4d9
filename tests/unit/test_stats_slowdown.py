"""Slowdowns with intervals for decisions, looks at growing data, and "within a margin"."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from scipy.stats import mstats

from compressbench.errors import BadInput
from compressbench.stats import (
    slowdown_interval,
    spent_at_look,
    student_quantile,
    trimmed_mean_interval,
    unpaired_slowdown_interval,
    within_margin,
)

VALUES = st.lists(st.floats(-1, 1), min_size=2, max_size=30)


@given(VALUES, st.floats(0.001, 0.2), st.floats(0.001, 0.2))
def test_trimmed_interval_agrees_with_scipys_trimmed_and_winsorised_values(
    values: list[float], low_tail: float, high_tail: float
) -> None:
    count = len(values)
    trimmed = 0 if count < 8 else 1 if count < 12 else count // 4
    share = trimmed / count
    spread = np.std(np.asarray(mstats.winsorize(np.array(values), limits=(share, share))), ddof=1)
    error = spread / ((1 - 2 * share) * math.sqrt(count))
    centre, low, high = trimmed_mean_interval(np.array(values), low_tail=low_tail, high_tail=high_tail)
    assert centre == pytest.approx(scipy_stats.trim_mean(values, share), abs=1e-12)
    degrees = count - 2 * trimmed - 1
    assert low == pytest.approx(centre - scipy_stats.t.isf(low_tail, degrees) * error, abs=1e-9)
    assert high == pytest.approx(centre + scipy_stats.t.isf(high_tail, degrees) * error, abs=1e-9)


def test_one_wild_process_of_eight_hardly_moves_the_interval() -> None:
    quiet = np.array([0.01, -0.01, 0.02, -0.02, 0.0, 0.01, -0.01, 0.015])
    wild = np.where(np.arange(8) == 7, 3.0, quiet)
    ends = [trimmed_mean_interval(each, low_tail=0.025, high_tail=0.025) for each in (quiet, wild)]
    assert ends[0] == pytest.approx(ends[1], abs=0.01)


def test_one_value_has_no_scatter_to_judge_by() -> None:
    assert trimmed_mean_interval(np.array([0.3]), low_tail=0.1, high_tail=0.1) == (0.3, -math.inf, math.inf)
    with pytest.raises(BadInput, match="no value at all says nothing: measure first"):
        trimmed_mean_interval(np.array([]), low_tail=0.1, high_tail=0.1)


@given(st.integers(1, 60), st.sampled_from([0.5, 0.95, 0.99, 0.9999]))
def test_students_quantile_agrees_with_scipy(degrees: int, confidence: float) -> None:
    assert student_quantile(degrees, confidence) == pytest.approx(scipy_stats.t.ppf((1 + confidence) / 2, degrees))


DURATIONS = st.lists(st.lists(st.floats(1e5, 1e9), min_size=1, max_size=5), min_size=1, max_size=9)


@given(DURATIONS, st.floats(0.5, 2))
@settings(max_examples=60, deadline=None)
def test_a_side_scaled_is_a_slowdown_known_exactly(rounds: list[list[float]], factor: float) -> None:
    current = [[factor * value for value in process] for process in rounds]
    found = slowdown_interval(rounds, current, low_tail=0.01, high_tail=0.01)
    assert found.slowdown == pytest.approx(factor - 1, abs=1e-9)
    if sum(map(len, rounds)) > 1:
        assert (found.low, found.high) == pytest.approx((factor - 1, factor - 1), abs=1e-6)


@given(DURATIONS, st.floats(0.001, 0.1))
@settings(max_examples=60, deadline=None)
def test_a_smaller_error_asks_for_a_wider_interval(rounds: list[list[float]], tail: float) -> None:
    other = [[value * (1.1 if place % 2 else 0.9) for place, value in enumerate(process)] for process in rounds]
    for interval in (slowdown_interval, unpaired_slowdown_interval):
        wide, narrow = (interval(rounds, other, low_tail=each, high_tail=each) for each in (tail / 2, tail))
        assert wide.low <= narrow.low <= narrow.slowdown <= narrow.high <= wide.high


def test_a_single_round_decides_nothing() -> None:
    found = slowdown_interval([[1e6]], [[2e6]], low_tail=0.025, high_tail=0.025)
    assert found.slowdown == pytest.approx(1.0)
    assert (found.low, found.high) == (-1.0, math.inf)
    apart = unpaired_slowdown_interval([[1e6]], [[2e6, 2e6]], low_tail=0.025, high_tail=0.025)
    assert (apart.low, apart.high) == (-1.0, math.inf)


def test_unpaired_interval_is_welchs() -> None:
    rng = np.random.default_rng(3)
    sides = [rng.lognormal(mean, 0.05, size=(count, 5)) * 1e6 for mean, count in ((0.0, 9), (0.1, 6))]
    medians = [np.median(np.log(side), axis=1) for side in sides]
    expected = scipy_stats.ttest_ind(medians[1], medians[0], equal_var=False).confidence_interval()
    found = unpaired_slowdown_interval(*(side.tolist() for side in sides), low_tail=0.025, high_tail=0.025)
    # Whole degrees of freedom, rounded down, are a little wider.
    assert found.low == pytest.approx(math.expm1(expected.low), abs=0.004)
    assert found.high == pytest.approx(math.expm1(expected.high), abs=0.004)
    assert found.low <= math.expm1(expected.low)
    assert found.high >= math.expm1(expected.high)


def test_looks_spend_no_more_than_there_is() -> None:
    assert sum(spent_at_look(look, total=0.025) for look in range(1, 200)) <= 0.025
    assert spent_at_look(1, total=0.025) == 0.0125
    assert spent_at_look(0, total=0.025) == 0.025


@pytest.mark.parametrize(
    ("low", "high", "answer"), [(-0.01, 0.02, True), (-0.05, -0.021, False), (-0.03, 0.01, None), (-0.02, 0.0, None)]
)
def test_within_a_margin_of_two_points(low: float, high: float, answer: bool | None) -> None:
    assert within_margin(low, high, margin=0.02) is answer
