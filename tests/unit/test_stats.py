import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from sklearn.metrics import accuracy_score, matthews_corrcoef

from compressbench.errors import BadInput
from compressbench.numerics.weighted_metrics import accuracy, matthews_correlation
from compressbench.stats import (
    Interval,
    bootstrap_interval,
    geometric_mean,
    holm,
    mcnemar_p,
    mean_interval,
    order_statistic_interval,
    paired_bootstrap,
    percentile,
    ratio_interval,
    retained_interval,
    unpaired_ratio_interval,
    wilson_interval,
)

DURATIONS = st.floats(1e3, 1e9)
ROUNDS = st.lists(st.lists(st.tuples(DURATIONS, DURATIONS), min_size=1, max_size=9), min_size=1, max_size=4)


def split(pairs: list[list[tuple[float, float]]]) -> tuple[list[list[float]], list[list[float]]]:
    return [[left for left, _ in process] for process in pairs], [[right for _, right in process] for process in pairs]


def noisy_rounds(
    *, ratio: float, processes: int, rounds: int, seed: int
) -> tuple[list[list[float]], list[list[float]]]:
    """Rounds slowed by weather that both sides share, and by a little noise of their own."""
    rng = np.random.default_rng(seed)
    weather = rng.lognormal(0, 0.2, size=(processes, rounds)) * 1e8
    own = rng.lognormal(0, 0.01, size=(2, processes, rounds))
    return (weather * own[0]).tolist(), (weather / ratio * own[1]).tolist()


class TestRatioInterval:
    @given(ROUNDS)
    @settings(max_examples=60, deadline=None)
    def test_holds_its_ratio(self, pairs: list[list[tuple[float, float]]]) -> None:
        found = ratio_interval(*split(pairs), seed=0)
        assert found.low <= found.ratio <= found.high

    @given(ROUNDS)
    @settings(max_examples=40, deadline=None)
    def test_a_thing_against_itself_is_one(self, pairs: list[list[tuple[float, float]]]) -> None:
        baseline, _ = split(pairs)
        assert ratio_interval(baseline, baseline, seed=0) == Interval(ratio=1.0, low=1.0, high=1.0)

    @given(ROUNDS, st.floats(0.1, 10))
    @settings(max_examples=40, deadline=None)
    def test_a_candidate_twice_as_slow_has_half_the_ratio(
        self, pairs: list[list[tuple[float, float]]], factor: float
    ) -> None:
        baseline, candidate = split(pairs)
        found = ratio_interval(baseline, candidate, seed=0)
        slower = ratio_interval(baseline, [[factor * value for value in each] for each in candidate], seed=0)
        for name in ("ratio", "low", "high"):
            assert getattr(slower, name) * factor == pytest.approx(getattr(found, name))

    @given(ROUNDS)
    @settings(max_examples=40, deadline=None)
    def test_exchanged_sides_give_the_inverse_ratio(self, pairs: list[list[tuple[float, float]]]) -> None:
        baseline, candidate = split(pairs)
        found, inverse = ratio_interval(baseline, candidate, seed=0), ratio_interval(candidate, baseline, seed=0)
        assert found.ratio * inverse.ratio == pytest.approx(1.0)

    def test_is_the_median_of_paired_ratios(self) -> None:
        found = ratio_interval([[10.0, 40.0, 90.0]], [[5.0, 10.0, 30.0]], seed=0)
        assert found.ratio == pytest.approx(3.0)  # of 2, 4 and 3
        assert (found.low, found.high) == pytest.approx((2.0, 4.0))  # three rounds: their whole range

    def test_pairing_takes_out_what_slows_both(self) -> None:
        paired = ratio_interval(*noisy_rounds(ratio=2.0, processes=4, rounds=10, seed=1), seed=0)
        apart = unpaired_ratio_interval(*noisy_rounds(ratio=2.0, processes=4, rounds=10, seed=1), seed=0)
        assert paired.low < 2.02
        assert paired.high > 1.98
        assert (apart.high - apart.low) > 5 * (paired.high - paired.low)

    def test_processes_that_differ_widen_the_interval(self) -> None:
        rng = np.random.default_rng(0)
        own = rng.lognormal(0, 0.01, size=(4, 10)) * 1e8
        shifted = own * np.array([[1.0], [1.1], [0.9], [1.0]])
        same = np.full((4, 10), 1e8).tolist()
        narrow, wide = (ratio_interval(same, side.tolist(), seed=0) for side in (own, shifted))
        assert (wide.high - wide.low) > 3 * (narrow.high - narrow.low)

    def test_most_intervals_hold_the_truth(self) -> None:
        held = 0
        for seed in range(100):
            found = ratio_interval(*noisy_rounds(ratio=1.5, processes=8, rounds=5, seed=seed), seed=seed)
            held += found.low <= 1.5 <= found.high
        assert held >= 88  # 95 expected; fewer than 88 of 100 would be a chance of 1 in 250

    def test_the_same_seed_gives_the_same_interval(self) -> None:
        rounds = noisy_rounds(ratio=1.5, processes=4, rounds=8, seed=3)
        assert ratio_interval(*rounds, seed=7) == ratio_interval(*rounds, seed=7)

    def test_processes_may_have_different_numbers_of_rounds(self) -> None:
        lengths = [3, 25, 1, 1, 1, 1, 1, 1]
        baseline = [[(3e6 if length == 25 else 2e6)] * length for length in lengths]
        found = ratio_interval(baseline, [[1e6] * length for length in lengths], seed=0)
        assert found == Interval(ratio=pytest.approx(3.0), low=pytest.approx(2.0), high=pytest.approx(3.0))

    def test_few_processes_have_students_interval_of_their_medians(self) -> None:
        rounds = noisy_rounds(ratio=1.5, processes=3, rounds=15, seed=4)
        logs = np.log(rounds[0]) - np.log(rounds[1])
        expected = scipy_stats.ttest_1samp(np.median(logs, axis=1), 0).confidence_interval()
        found = ratio_interval(*rounds, seed=0)
        assert (found.low, found.high) == pytest.approx((math.exp(expected.low), math.exp(expected.high)))

    def test_many_processes_have_the_bootstrap_of_their_medians(self) -> None:
        rounds = noisy_rounds(ratio=1.5, processes=12, rounds=9, seed=5)
        medians = np.median(np.log(rounds[0]) - np.log(rounds[1]), axis=1)
        expected = scipy_stats.bootstrap(
            (medians,), np.median, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
        ).confidence_interval
        found = ratio_interval(*rounds, seed=0)
        spread = expected.high - expected.low
        assert math.log(found.low) == pytest.approx(expected.low, abs=0.1 * spread)
        assert math.log(found.high) == pytest.approx(expected.high, abs=0.1 * spread)

    def test_three_processes_hold_the_truth_as_often_as_they_say(self) -> None:
        rng = np.random.default_rng(0)
        held = 0
        for seed in range(400):
            noise = rng.standard_t(3, size=(3, 5)) * 0.02 + rng.normal(0, 0.02, size=(3, 1))
            found = ratio_interval(np.exp(noise).tolist(), np.ones((3, 5)).tolist(), seed=seed)
            held += found.low <= 1 <= found.high
        assert 368 <= held <= 392  # 380 expected; a plain bootstrap held 332

    def test_rounds_that_do_not_pair_are_refused(self) -> None:
        with pytest.raises(BadInput, match=r"do not pair up: \[2\] of the baseline against \[1\]; measure both"):
            ratio_interval([[1.0, 2.0]], [[1.0]], seed=0)

    def test_no_rounds_are_refused(self) -> None:
        with pytest.raises(BadInput, match="no round to compare: measure both sides first"):
            ratio_interval([[]], [[]], seed=0)

    @pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
    def test_what_is_no_duration_is_refused(self, value: float) -> None:
        with pytest.raises(BadInput, match=f"a round lasted {value} ns, which is no duration"):
            ratio_interval([[1.0]], [[value]], seed=0)


def test_unpaired_ratio_is_the_ratio_of_medians() -> None:
    found = unpaired_ratio_interval([[10.0, 20.0, 40.0]], [[5.0, 5.0, 5.0]], seed=0)
    assert found.ratio == pytest.approx(4.0)
    assert found.low == pytest.approx(2.0)
    assert found.high == pytest.approx(8.0)


@pytest.mark.parametrize(
    # The sign test's table at 5 %, two-sided: its critical counts rise at n = 6, 9, 12, 15, 17 and 20.
    ("count", "rank"),
    [(5, 1), (6, 1), (8, 1), (9, 2), (11, 2), (12, 3), (15, 4), (17, 5), (19, 5), (20, 6)],
)
def test_order_statistic_ranks(count: int, rank: int) -> None:
    assert order_statistic_interval(np.arange(1.0, count + 1)) == (rank, count + 1 - rank)


@given(st.integers(6, 60))
def test_order_statistic_coverage_is_enough_and_one_rank_more_is_not(count: int) -> None:
    low, _ = order_statistic_interval(np.arange(count, dtype=float))
    outside = 2 * scipy_stats.binom.cdf(int(low), count, 0.5)
    one_more = 2 * scipy_stats.binom.cdf(int(low) + 1, count, 0.5)
    assert outside <= 0.05 < one_more


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_agrees_with_scipys_binomial_test(lost: int, won: int) -> None:
    expected = scipy_stats.binomtest(lost, lost + won, 0.5).pvalue if lost + won else 1.0
    assert mcnemar_p(lost, won) == pytest.approx(expected)


def test_mcnemar_at_large_counts() -> None:
    assert mcnemar_p(5_100, 4_900) == pytest.approx(scipy_stats.binomtest(5_100, 10_000, 0.5).pvalue)


@given(st.integers(1, 500), st.data())
def test_wilson_agrees_with_scipy(total: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, total))
    expected = scipy_stats.binomtest(successes, total).proportion_ci(method="wilson")
    assert wilson_interval(successes, total) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_monotone_and_never_below_the_raw_value(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(raw <= new <= 1 for raw, new in zip(p_values, adjusted, strict=True))
    ranked = [adjusted[place] for place in np.argsort(p_values, kind="stable")]
    assert ranked == sorted(ranked)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20))
def test_geometric_mean_agrees_with_scipy(values: list[float]) -> None:
    assert geometric_mean(values) == pytest.approx(float(scipy_stats.gmean(values)))


def test_percentile_interpolates() -> None:
    assert percentile([10, 20, 30, 40, 50], 5) == pytest.approx(12.0)


class TestBootstrap:
    truth = np.random.default_rng(0).integers(0, 2, 400)
    good = np.where(np.random.default_rng(1).random(400) < 0.9, truth, 1 - truth)
    poor = np.where(np.random.default_rng(2).random(400) < 0.7, truth, 1 - truth)

    def test_difference_is_candidate_minus_baseline(self) -> None:
        found = paired_bootstrap(matthews_correlation, self.good, self.poor, self.truth, seed=0)
        expected = matthews_corrcoef(self.truth, self.poor) - matthews_corrcoef(self.truth, self.good)
        assert found.difference == pytest.approx(expected)
        assert found.low <= found.difference <= found.high < 0
        assert found.p_value == pytest.approx(1 / 2001)

    def test_equal_models_do_not_differ(self) -> None:
        found = paired_bootstrap(matthews_correlation, self.good, self.good, self.truth, seed=0)
        assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)

    def test_models_as_good_by_chance_differ_insignificantly(self) -> None:
        other = np.where(np.random.default_rng(5).random(400) < 0.9, self.truth, 1 - self.truth)
        found = paired_bootstrap(matthews_correlation, self.good, other, self.truth, seed=0)
        assert found.p_value > 0.05
        assert found.low < 0 < found.high

    def test_what_is_retained_agrees_with_resampled_rows(self) -> None:
        constant = np.full_like(self.truth, np.bincount(self.truth).argmax())
        rows = np.random.default_rng(7).integers(0, 400, size=(4000, 400))
        right = [(model[rows] == self.truth[rows]).mean(axis=1) for model in (self.good, self.poor, constant)]
        expected = np.quantile((right[1] - right[2]) / (right[0] - right[2]), [0.025, 0.975])
        found = retained_interval(accuracy, self.good, self.poor, constant, self.truth, seed=0)
        assert found == pytest.approx(expected, abs=0.02)

    def test_nothing_is_retained_of_a_teacher_that_may_be_no_better_than_chance(self) -> None:
        constant = np.full_like(self.truth, 1)
        barely = constant.copy()
        barely[np.flatnonzero(self.truth == 0)[:2]] = 0  # a seventh of the resamples holds neither row
        assert retained_interval(accuracy, barely, self.poor, constant, self.truth, seed=0) is None
        assert retained_interval(accuracy, constant, self.poor, constant, self.truth, seed=0) is None

    def test_agrees_with_scipys_bootstrap_of_rows(self) -> None:
        expected = scipy_stats.bootstrap(
            (self.truth, self.poor), accuracy_score, paired=True, vectorized=False, n_resamples=2000,
            method="percentile", rng=np.random.default_rng(0),
        ).confidence_interval  # fmt: skip
        found = bootstrap_interval(accuracy, self.poor, self.truth, seed=0)
        assert found == pytest.approx((expected.low, expected.high), abs=0.01)

    def test_one_row_is_no_spread(self) -> None:
        assert bootstrap_interval(accuracy, np.array([1]), np.array([1]), seed=0) == (1.0, 1.0)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=12), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_interval_of_a_mean_agrees_with_scipy(values: list[float], confidence: float) -> None:
    low, high = mean_interval(values, confidence=confidence)
    reach = scipy_stats.t.ppf((1 + confidence) / 2, len(values) - 1) * scipy_stats.sem(values)
    assert (low, high) == pytest.approx((np.mean(values) - reach, np.mean(values) + reach), rel=1e-6, abs=1e-9)


def test_one_value_has_no_interval() -> None:
    with pytest.raises(BadInput, match=r"interval over 1 value\(s\) says nothing: give two or more"):
        mean_interval([0.5])
