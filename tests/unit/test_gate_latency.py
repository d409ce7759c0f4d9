"""The gate's decision on latencies: exact cases, its error rates in simulation, looks at growing measurements."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressbench.errors import BadInput
from compressbench.gate.latency import LOOKS, decide_growing, decide_latency, is_look_due, paired_rounds, wants_more
from tests.unit import fake_run

Sides = tuple[list[list[float]], list[list[float]]]


def sides(*, slowdown: float, processes: int, seed: int, scatter: float = 0.01, rounds: int = 3) -> Sides:
    """Rounds slowed by weather both sides share, scatter of processes and heavy-tailed noise of their own."""
    rng = np.random.default_rng(seed)
    weather = rng.lognormal(0, 0.2, size=(processes, rounds)) * 1e7
    noise = rng.normal(0, scatter, size=(processes, 1)) + rng.standard_t(3, size=(processes, rounds)) * scatter
    return weather.tolist(), (weather * (1 + slowdown) * np.exp(noise)).tolist()


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.0, "pass"), (1.049, "pass"), (1.051, "regression"), (0.8, "pass"), (2.0, "regression")]
)
def test_without_noise_the_threshold_decides(factor: float, verdict: str) -> None:
    baseline, _ = sides(slowdown=0, processes=3, seed=1)
    found = decide_latency(baseline, [[factor * each for each in row] for row in baseline], threshold=0.05)
    assert found.verdict == verdict
    assert found.slowdown == pytest.approx(factor - 1)
    assert found.processes == 3


def test_noise_over_the_threshold_is_inconclusive() -> None:
    found = decide_latency(*sides(slowdown=0.05, processes=8, seed=2), threshold=0.05)
    assert found.verdict == "inconclusive"
    assert found.low < 0.05 < found.high


def test_a_single_round_is_inconclusive() -> None:
    assert decide_latency([[1e6]], [[2e6]], threshold=0.05).verdict == "inconclusive"


def test_more_comparisons_ask_more_of_a_regression_and_nothing_of_a_pass() -> None:
    rounds = sides(slowdown=0.1, processes=8, seed=3)
    one, many = (decide_latency(*rounds, threshold=0.05, comparisons=count) for count in (1, 20))
    assert many.low < one.low
    assert many.high == one.high


def test_rounds_that_do_not_pair_are_refused() -> None:
    with pytest.raises(BadInput, match="rounds do not pair up"):
        decide_latency([[1.0, 2.0]], [[1.0]], threshold=0.05)


def test_a_slowdown_of_the_threshold_is_rarely_called_a_regression_however_often_one_looks() -> None:
    found = [
        decide_growing(*sides(slowdown=0.05, processes=27, seed=seed), threshold=0.05, ended=True).verdict
        for seed in range(400)
    ]
    assert found.count("regression") <= 18  # 10 allowed; more than 18 would be a chance of 1 in 150
    assert found.count("pass") <= 18


def test_equal_sides_pass_and_twice_the_threshold_is_found() -> None:
    equal, slow = (
        [
            decide_growing(*sides(slowdown=slowdown, processes=12, seed=seed), threshold=0.05, ended=True).verdict
            for seed in range(200)
        ]
        for slowdown in (0.0, 0.1)
    )
    assert equal.count("regression") == 0
    assert equal.count("pass") >= 195
    assert slow.count("regression") >= 190


@given(st.integers(0, 500), st.sampled_from([0.0, 0.03, 0.05, 0.07, 0.1]), st.integers(8, 30))
@settings(max_examples=40, deadline=None)
def test_what_was_decided_stays_decided(seed: int, slowdown: float, processes: int) -> None:
    baseline, current = sides(slowdown=slowdown, processes=30, seed=seed)
    early = decide_growing(baseline[:processes], current[:processes], threshold=0.05)
    if early.verdict != "go on":
        assert decide_growing(baseline, current, threshold=0.05) == early


def test_before_the_first_look_one_goes_on() -> None:
    rounds = sides(slowdown=0.5, processes=7, seed=0)
    assert decide_growing(*rounds, threshold=0.05).verdict == "go on"
    assert decide_growing(*rounds, threshold=0.05, ended=True).verdict == "regression"
    assert [count for count in range(1, 30) if is_look_due(count)] == [8, 12, 18, 27]
    assert LOOKS[0] == 8


def test_every_place_must_be_decided() -> None:
    clear, unclear = sides(slowdown=0.5, processes=8, seed=0), sides(slowdown=0.05, processes=8, seed=2)
    places = {("onnxruntime", "1x128", 1): clear, ("onnxruntime", "8x128", 1): unclear}
    assert wants_more(places, threshold=0.05)
    assert not wants_more({("onnxruntime", "1x128", 1): clear}, threshold=0.05)


def test_records_become_rounds_that_both_sides_have() -> None:
    before, after = fake_run.latency("b", "g", 10.0, rounds=3), fake_run.latency("c", "g", 20.0, rounds=2)
    found = paired_rounds([*before, *after], baseline_key="b", current_key="c")
    ((place, (baseline, current)),) = found.items()
    assert place == ("onnxruntime", "1x128", 2)
    assert [len(process) for process in baseline] == [2] * fake_run.PROCESSES == [len(process) for process in current]
    assert baseline[1][0] == np.median(next(each for each in before if (each.process, each.round) == (1, 0)).samples_ns)
