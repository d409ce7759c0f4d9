"""Ratios of latencies from rounds in which both sides were measured, and intervals that know about processes.

Rounds of one process share its memory layout and its place on the machine, so that processes, not rounds, are what a
measurement has many or few of.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compressbench.errors import BadInput
from compressbench.stats.intervals import order_statistic_interval, student_quantile, trimmed_mean_interval

Rounds = Sequence[Sequence[float]]
"""For each process the medians of its rounds, in nanoseconds."""

RESAMPLES = 2000
FEW_ROUNDS = 20
"""Below this many rounds in all a bootstrap median takes too few values; order statistics are used instead."""
FEW_PROCESSES = 8
"""Below this many processes a bootstrap does not see how far they scatter; Student's t over processes does."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A ratio of latencies, baseline over candidate, with its confidence interval."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Slowdown:
    """Current over baseline minus 1, with an interval: 0.07 is 7 % slower."""

    slowdown: float
    low: float
    high: float


SAME = Interval(ratio=1.0, low=1.0, high=1.0)
"""A thing against itself."""


def ratio_interval(baseline: Rounds, candidate: Rounds, *, seed: int, confidence: float = 0.95) -> Interval:
    """Speedup: the median over rounds of the paired ratio baseline / candidate, with its interval.

    All of it is done on logarithms, so that exchanging the sides gives exactly the inverse. The interval:

    * One process: the bootstrap of its rounds; with under `FEW_ROUNDS` rounds the order-statistic interval of the
      median (below 6 rounds the whole range, whose coverage is 1 - 2^(1 - rounds): 75 % with three). How processes
      scatter is not in it.
    * Two to seven processes, or under `FEW_ROUNDS` rounds in all: Student's t over the processes' own medians. With
      three processes a bootstrap holds the truth in 83 of 100 cases where 95 are promised; this holds it in 95.
    * Else the bootstrap of processes, each with the median of its rounds: 2.5 and 97.5 percentiles of the medians of
      resampled processes. How rounds scatter is in the processes' medians; to resample them as well counts it twice and
      held the truth in 96 to 98 of 100 data sets with real noise, where this holds it in 94 to 97.

    The interval is widened to hold the ratio where it does not.

    Args:
        baseline: Per process the medians of its rounds.
        candidate: The same processes and rounds of the other side.
        seed: Of the bootstrap.
        confidence: Share of intervals that hold the truth.

    Raises:
        BadInput: If the sides do not pair up, there is no round, or a value is not a positive number.
    """
    logs = _paired_logs(baseline, candidate)
    pooled = np.sort(np.concatenate(logs))
    if len(logs) > 1 and (len(logs) < FEW_PROCESSES or len(pooled) < FEW_ROUNDS):
        low, high = _process_interval(logs, confidence)
    elif len(pooled) < FEW_ROUNDS:
        low, high = order_statistic_interval(pooled, confidence=confidence)
    else:
        rng = np.random.default_rng(seed)
        medians = _resampled_processes(logs, rng) if len(logs) > 1 else _resampled_medians(logs, rng)
        low, high = percentile_interval(medians, confidence)
    return _ratio_from_logs(float(np.median(pooled)), low, high)


def slowdown_interval(baseline: Rounds, current: Rounds, *, low_tail: float, high_tail: float) -> Slowdown:
    """How much slower the current side is, from paired rounds, for decisions at small error probabilities.

    A process counts with the median of its rounds' log ratios; location and ends are those of a trimmed mean over
    processes (`intervals.trimmed_mean_interval`), which reach as far as any small tail asks, where a bootstrap of eight
    processes ends with what it saw. With a single process its rounds take the processes' place.

    Args:
        baseline: Per process the medians of its rounds.
        current: The same processes and rounds of the other side.
        low_tail: Probability that the truth lies below the interval.
        high_tail: Probability that it lies above.

    Raises:
        BadInput: If the sides do not pair up, there is no round, or a value is not a positive number.
    """
    logs = _paired_logs(current, baseline)
    units = _process_medians(logs) if len(logs) > 1 else logs[0]
    return _slowdown(*trimmed_mean_interval(units, low_tail=low_tail, high_tail=high_tail))


def unpaired_slowdown_interval(baseline: Rounds, current: Rounds, *, low_tail: float, high_tail: float) -> Slowdown:
    """The same from two measurements whose rounds do not pair up: Welch's t interval over processes' medians.

    Raises:
        BadInput: If a side has no round, or a value is not a positive number.
    """
    sides = []
    for rounds in (current, baseline):
        _check_rounds(rounds, rounds)
        logs = [np.log(np.asarray(each, dtype=np.float64)) for each in rounds if len(each)]
        sides.append(_process_medians(logs) if len(logs) > 1 else logs[0])
    centre = float(sides[0].mean() - sides[1].mean())
    counts = [len(side) for side in sides]
    if min(counts) < 2:
        return _slowdown(centre, -math.inf, math.inf)
    parts = [float(np.var(side, ddof=1)) / len(side) for side in sides]
    error = math.sqrt(sum(parts))
    weights = sum(part**2 / (count - 1) for part, count in zip(parts, counts, strict=True))
    degrees = max(1, math.floor(error**4 / weights)) if weights else sum(counts) - 2
    below, above = (student_quantile(degrees, 1 - 2 * tail) * error for tail in (low_tail, high_tail))
    return _slowdown(centre, centre - below, centre + above)


def unpaired_ratio_interval(baseline: Rounds, candidate: Rounds, *, seed: int, confidence: float = 0.95) -> Interval:
    """Ratio of the medians of two runs that were not interleaved: each side is resampled by itself.

    The interval holds the scatter within each run; what differed between the runs (load, clock, temperature)
    is not in it, so it is too narrow for a verdict.

    Raises:
        BadInput: If a side has no round, or a value is not a positive number.
    """
    sides = []
    for rounds in (baseline, candidate):
        _check_rounds(rounds, rounds)
        sides.append([np.log(np.asarray(each, dtype=np.float64)) for each in rounds if len(each)])
    rng = np.random.default_rng(seed)
    left, right = (_resampled_medians(side, rng) for side in sides)
    low, high = percentile_interval(left - right, confidence)
    centre = float(np.median(np.concatenate(sides[0])) - np.median(np.concatenate(sides[1])))
    return _ratio_from_logs(centre, low, high)


def _check_rounds(baseline: Rounds, candidate: Rounds) -> None:
    """Refuse rounds that do not pair up or hold anything but positive numbers."""
    counts = [[len(process) for process in side] for side in (baseline, candidate)]
    if counts[0] != counts[1]:
        raise BadInput(f"rounds do not pair up: {counts[0]} of the baseline against {counts[1]}; measure both together")
    if not sum(counts[0]):
        raise BadInput("there is no round to compare: measure both sides first")
    for value in (value for side in (baseline, candidate) for process in side for value in process):
        if not (math.isfinite(value) and value > 0):
            raise BadInput(f"a round lasted {value} ns, which is no duration: measure it again")


def _paired_logs(above: Rounds, below: Rounds) -> list[np.ndarray]:
    """Per process the logarithms of its rounds' ratios above / below; processes without rounds are left out."""
    _check_rounds(above, below)
    return [
        np.log(np.asarray(left, dtype=np.float64)) - np.log(np.asarray(right, dtype=np.float64))
        for left, right in zip(above, below, strict=True)
        if len(left)
    ]


def _process_medians(logs: Sequence[np.ndarray]) -> np.ndarray:
    """What each process counts with: the median of its rounds, float64 [processes]."""
    return np.array([np.median(each) for each in logs])


def _process_interval(logs: Sequence[np.ndarray], confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    medians = _process_medians(logs)
    _, low, high = trimmed_mean_interval(medians, low_tail=tail, high_tail=tail)
    return low, high


def _slowdown(centre: float, low: float, high: float) -> Slowdown:
    ends = (centre, min(low, centre), max(high, centre))
    slowdown, low, high = (math.expm1(min(end, 700.0)) for end in ends)  # exp(700) is near the largest float
    return Slowdown(slowdown=slowdown, low=low, high=math.inf if ends[2] == math.inf else high)


def _ratio_from_logs(centre: float, low: float, high: float) -> Interval:
    return Interval(ratio=math.exp(centre), low=math.exp(min(low, centre)), high=math.exp(max(high, centre)))


def percentile_interval(resampled: np.ndarray, confidence: float) -> tuple[float, float]:
    """Central interval of resampled values."""
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _resampled_processes(logs: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Medians [RESAMPLES] over processes drawn with replacement, each with the median of its rounds."""
    units = _process_medians(logs)
    medians: np.ndarray = np.median(units[rng.integers(len(units), size=(RESAMPLES, len(units)))], axis=1)
    return medians


def _resampled_medians(processes: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Medians [RESAMPLES] over rounds, processes drawn first and then as many rounds as each of them has."""
    lengths = np.array([len(process) for process in processes])
    table = np.zeros((len(processes), lengths.max()))
    for place, process in enumerate(processes):
        table[place, : len(process)] = process
    drawn = rng.integers(len(processes), size=(RESAMPLES, len(processes)))
    picks = np.floor(rng.random((*drawn.shape, table.shape[1])) * lengths[drawn][..., None]).astype(np.int64)
    values = table[drawn[..., None], picks]
    values[np.arange(table.shape[1]) >= lengths[drawn][..., None]] = np.inf  # beyond a process's own count
    values = np.sort(values.reshape(RESAMPLES, -1), axis=1)
    counts = lengths[drawn].sum(axis=1)
    middle = np.stack([(counts - 1) // 2, counts // 2], axis=1)
    medians: np.ndarray = np.take_along_axis(values, middle, axis=1).mean(axis=1)
    return medians
