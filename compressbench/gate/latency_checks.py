"""Latencies of matched rows as checks: which measurements compare, and what the decision on them is."""

from collections.abc import Sequence

import numpy as np

from compressbench.errors import BadInput
from compressbench.gate.check import Check, Verdict
from compressbench.gate.latency import LatencyDecision, decide_growing, decide_latency
from compressbench.gate.pairs import Pair, place_label, row_title
from compressbench.gate.snapshot import Place, RowKey, Snapshot, Timed, latency_obstacle


def latency_checks(
    pairs: Sequence[Pair], baseline: Snapshot, current: Snapshot, *, threshold: float, live: bool
) -> list[Check]:
    """Slowdown of each row at each place; decided where the two sides compare.

    Args:
        pairs: Rows.
        baseline: Its environment says whether latencies compare.
        current: The same of the other side.
        threshold: Slowdown that is allowed.
        live: Both sides were measured together, on this machine, with looks while rounds came in.

    Raises:
        BadInput: If a latency that the baseline has was not measured.
    """
    found = [(pair, place, timed) for pair in pairs for place, timed in pair.baseline.latency.items()]
    measured = []
    for pair, place, before in found:
        after = pair.current.latency.get(place)
        obstacle = None if live else latency_obstacle(baseline, current, place)
        if after is None:
            others = [each for each in pair.current.latency if each[:2] == place[:2]]
            if not others:
                raise BadInput(
                    f"the current side has no latency of {row_title(pair.key)} at {place.shape} in {place.runtime}: "
                    "give both sides the same --shapes and --runtimes"
                )
            after = pair.current.latency[others[0]]
            obstacle = f"the thread counts differ ({place.threads} and {others[0].threads})"
        measured.append((pair, place, before, after, obstacle))
    # Rows of one graph share a measurement, and one measurement is one comparison.
    distinct = {(place, *map(_identity, (before, after))) for _, place, before, after, why in measured if why is None}
    return [
        _latency_check(pair.key, place, before, after, obstacle, threshold=threshold, count=len(distinct), live=live)
        for pair, place, before, after, obstacle in measured
    ]


def _latency_check(
    row: RowKey,
    place: Place,
    before: Timed,
    after: Timed,
    obstacle: str | None,
    *,
    threshold: float,
    count: int,
    live: bool,
) -> Check:
    decision = _decision(before, after, threshold=threshold, count=max(1, count), live=live)
    compares = obstacle is None
    verdict: Verdict = "not comparable"
    if compares and decision.verdict != "go on":
        verdict = decision.verdict
    return Check(
        row=row,
        metric="latency",
        label=f"latency {place_label(place.runtime, place.shape)}",
        place=f"{place.runtime} {place.shape}, {place.threads} thread{'s' if place.threads > 1 else ''}",
        verdict=verdict,
        baseline=float(np.median(list(before.medians_ns.values()))),
        current=float(np.median(list(after.medians_ns.values()))),
        worsening=decision.slowdown,
        threshold=threshold,
        low=decision.low if compares and np.isfinite(decision.low) else None,
        high=decision.high if compares and np.isfinite(decision.high) else None,
        reason=f"not comparable: {obstacle}; the ratio is for information" if obstacle else "",
    )


def _decision(before: Timed, after: Timed, *, threshold: float, count: int, live: bool) -> LatencyDecision:
    """Paired where both sides have the same processes and rounds, as all that is measured by one protocol has."""
    sides = before.rounds(), after.rounds()
    paired = before.medians_ns.keys() == after.medians_ns.keys()
    if live:
        return decide_growing(*sides, threshold=threshold, comparisons=count, ended=True)
    return decide_latency(*sides, threshold=threshold, comparisons=count, paired=paired)


def _identity(timed: Timed) -> tuple[tuple[tuple[int, int], float], ...]:
    return tuple(timed.medians_ns.items())
