"""When a model has warmed up: a change-point rule over what its runs took. Numbers in, a verdict out.

A first run allocates, later ones meet cold caches, and threads that have just begun to work spread over the cores only
after a while (a small model takes 12 ms a run and then, from one run to the next, 3.9). A fixed number of warm-up runs
is too few for one model and too many for another. So the series so far is cut where its level changes, and the
model is warm when the piece behind the last cut is long enough.
"""

from collections.abc import Sequence

import numpy as np

LEAST_PIECE = 6
"""Runs of one level that count as steady; also the shortest piece that a cut leaves on its right."""
SMALLEST_CHANGE = 0.05
"""Levels closer than this share are one level: further warming up would gain less than rounds scatter anyway."""
MOST_POINTS = 64
"""Longer series are cut between groups of runs, each told by its median, so that asking costs far less than a run."""
PENALTY = 4.0
"""What a cut must save, in standard deviations of the noise between neighbouring runs times the log of their number."""


def last_change(samples_ns: Sequence[int]) -> int:
    """Index of the first run after the last change of level; 0 where the level never changed.

    Binary segmentation (Scott & Knott 1974) with the cost of a piece taken as the sum of absolute deviations of
    logarithms from their median, so that a single slow run moves nothing. A cut counts if it saves more than
    ``PENALTY * noise * log(n)`` (the penalty's form is the Schwarz criterion's, Yao 1988) and the two medians differ
    by more than `SMALLEST_CHANGE`. The noise is the robust spread of second differences, which neither a change of
    level nor a drift inflates. Only the piece behind the last cut is searched again: nobody asks for the others.

    Args:
        samples_ns: What the runs took, in the order they happened.
    """
    group = -(-len(samples_ns) // MOST_POINTS) or 1
    medians = [np.median(samples_ns[at : at + group]) for at in range(0, len(samples_ns), group)]
    logs = np.log(np.maximum(np.asarray(medians, dtype=np.float64), 1.0))
    start = 0
    while (cut := _best_cut(logs[start:])) is not None:
        start += cut
    return start * group


def is_settled(samples_ns: Sequence[int], *, least_ns: int) -> bool:
    """Whether the runs since the last change of level are enough, last `least_ns` together, and do not drift.

    A piece too short to be cut again drifts where its two halves are apart by more than `SMALLEST_CHANGE`.

    Args:
        samples_ns: What the runs took so far.
        least_ns: Nanoseconds the steady piece lasts at least; threads do not spread in less.
    """
    steady = samples_ns[last_change(samples_ns) :]
    if len(steady) < LEAST_PIECE or sum(steady) < least_ns:
        return False
    halves = np.median(steady[: len(steady) // 2]), np.median(steady[len(steady) // 2 :])
    return bool(abs(np.log(halves[0]) - np.log(halves[1])) <= SMALLEST_CHANGE)


def _best_cut(logs: np.ndarray) -> int | None:
    """Where cutting a piece in two saves most, if that is enough; the left side may be a single (first) run."""
    count = len(logs)
    if count < LEAST_PIECE + 1:
        return None
    whole = _cost(logs)
    savings = {cut: whole - _cost(logs[:cut]) - _cost(logs[cut:]) for cut in range(1, count - LEAST_PIECE + 1)}
    cut = max(savings, key=lambda each: (savings[each], each))
    noise = float(np.median(np.abs(np.diff(logs, n=2)))) / (0.6745 * np.sqrt(6))
    threshold = max(PENALTY * noise * np.log(count), SMALLEST_CHANGE)
    is_change = abs(float(np.median(logs[:cut]) - np.median(logs[cut:]))) > SMALLEST_CHANGE
    return cut if savings[cut] > threshold and is_change else None


def _cost(logs: np.ndarray) -> float:
    return float(np.abs(logs - np.median(logs)).sum())
