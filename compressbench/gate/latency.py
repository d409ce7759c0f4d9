"""Whether one side is slower than allowed: decided by an interval, once or again and again while rounds come in.

Two errors are possible, and each has `ERROR` in all: to call a regression what is none (over every comparison and every
look of one call), and to pass a row that is slower than allowed (over every look at that row: a call passes only if all
rows do, so that more rows make this error no likelier; Berger 1982, intersection-union tests).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from compressbench.records.schema import LatencyRecord
from compressbench.stats import (
    Rounds,
    Slowdown,
    slowdown_interval,
    spent_at_look,
    unpaired_slowdown_interval,
)

ERROR = 0.025
"""Of each kind, for one call: the two tails of a 95 % interval."""
LOOKS = (8, 12, 18, 27, 40, 60, 90)
"""Processes a side after which a live measurement is looked at."""
LatencyVerdict = Literal["pass", "regression", "inconclusive", "go on"]


@dataclass(frozen=True, kw_only=True)
class LatencyDecision:
    """What the rounds so far say of one model at one place."""

    verdict: LatencyVerdict
    slowdown: float
    """Current over baseline minus 1."""
    low: float
    high: float
    processes: int
    """A side, that the decision rests on."""


def decide_latency(
    baseline: Rounds, current: Rounds, *, threshold: float, comparisons: int = 1, look: int = 0, paired: bool = True
) -> LatencyDecision:
    """Decide on rounds that will not become more.

    With the interval [low, high] of the slowdown: low above the threshold is a regression, high at most the threshold
    passes, anything else is inconclusive.

    Args:
        baseline: Per process the medians of its rounds, in nanoseconds.
        current: The same of the other side; the same processes and rounds unless `paired` is False.
        threshold: Slowdown that is allowed: 0.05 is 5 %.
        comparisons: Latency comparisons of the whole call, which share the error of calling a regression.
        look: 0 for the only look at these rounds, else its number.
        paired: Whether round r of process p was measured on both sides.

    Raises:
        BadInput: If the rounds do not pair up, there is none, or a value is not a positive number.
    """
    error = spent_at_look(look, total=ERROR)
    interval = slowdown_interval if paired else unpaired_slowdown_interval
    found: Slowdown = interval(baseline, current, low_tail=error / comparisons, high_tail=error)
    verdict: LatencyVerdict = "inconclusive"
    if found.low > threshold:
        verdict = "regression"
    elif found.high <= threshold:
        verdict = "pass"
    processes = min(sum(1 for each in side if len(each)) for side in (baseline, current))
    return LatencyDecision(
        verdict=verdict, slowdown=found.slowdown, low=found.low, high=found.high, processes=processes
    )


def decide_growing(
    baseline: Rounds, current: Rounds, *, threshold: float, comparisons: int = 1, ended: bool = False
) -> LatencyDecision:
    """Decide on rounds that may become more: ``go on`` where a later look may still tell.

    The rounds are looked at after `LOOKS` processes, each look with its part of the error, and the first look that
    decides is the decision. So the answer for the first n processes never changes when more are measured, and
    looking does not raise the error. Pure: the same rounds give the same answer, which lets banks of recorded rounds be
    replayed through it.

    Args:
        baseline: Per process, in the order they were measured, the medians of its rounds.
        current: The same processes and rounds of the other side.
        threshold: Slowdown that is allowed.
        comparisons: Latency comparisons of the whole call.
        ended: No more processes will come: all of them get a last look, and ``go on`` becomes ``inconclusive``.

    Raises:
        BadInput: As `decide_latency`.
    """
    processes = len(baseline)
    looks = [count for count in LOOKS if count <= processes]
    if ended and (not looks or looks[-1] != processes):
        looks.append(processes)
    found = None
    for number, count in enumerate(looks, start=1):
        found = decide_latency(
            baseline[:count], current[:count], threshold=threshold, comparisons=comparisons, look=number
        )
        if found.verdict != "inconclusive":
            return found
    if found is None:
        found = decide_latency(baseline, current, threshold=threshold, comparisons=comparisons, look=1)
    verdict: LatencyVerdict = "inconclusive" if ended else "go on"
    return LatencyDecision(
        verdict=verdict, slowdown=found.slowdown, low=found.low, high=found.high, processes=found.processes
    )


def is_look_due(processes: int) -> bool:
    """Whether a live measurement is looked at after so many processes a side."""
    return processes in LOOKS


def wants_more(rounds: Mapping[tuple[str, str, int], tuple[Rounds, Rounds]], *, threshold: float) -> bool:
    """Whether a live measurement of several places should go on: some place is undecided.

    Args:
        rounds: Baseline's and current's rounds at each place.
        threshold: Slowdown that is allowed.
    """
    return any(
        decide_growing(*sides, threshold=threshold, comparisons=len(rounds)).verdict == "go on"
        for sides in rounds.values()
    )


def paired_rounds(
    records: Iterable[LatencyRecord], *, baseline_key: str, current_key: str
) -> dict[tuple[str, str, int], tuple[Rounds, Rounds]]:
    """Both sides' rounds by runtime, shape and thread count: medians, per process, of blocks that both sides have.

    Args:
        records: Of one campaign.
        baseline_key: Measured key of the baseline.
        current_key: Of the other side.
    """
    sides: dict[tuple[str, str, int], dict[str, dict[tuple[int, int], float]]] = {}
    for record in records:
        place = sides.setdefault((record.runtime, record.shape, record.threads), {})
        blocks = place.setdefault(record.measured_key, {})
        blocks[(record.process, record.round)] = float(np.median(record.samples_ns))
    found: dict[tuple[str, str, int], tuple[Rounds, Rounds]] = {}
    for place_key, models in sides.items():
        before, after = models.get(baseline_key, {}), models.get(current_key, {})
        shared = sorted(before.keys() & after.keys())
        processes = list(dict.fromkeys(process for process, _ in shared))
        found[place_key] = (
            [[before[each] for each in shared if each[0] == process] for process in processes],
            [[after[each] for each in shared if each[0] == process] for process in processes],
        )
    return found
