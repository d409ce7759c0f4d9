"""Decisions replayed from contiguous blocks of the bank, through the function that `gate --live` decides by.

A replayed decision sees as many processes as the gate measures within its budget. Blocks overlap, so the decisions of
one condition are not independent: beside the exact interval of all of them stands that of the disjoint blocks alone.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from benchmarks.gate.bank import AGAIN, CONDITIONS, SLOWDOWNS, Bank, measured_slowdown
from compressbench.errors import BadInput
from compressbench.gate.latency import LOOKS, decide_growing
from compressbench.reporting.svg import GREY, line, polyline, svg, text
from compressbench.stats import Rounds

VERDICTS = ("pass", "inconclusive", "regression")
LEAST_ROUNDS = 8
CAVEAT = "which are for independent decisions, but blocks overlap: the last column is of disjoint blocks alone"
CURVE = np.arange(0, 16) / 100
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 300, 56, 150, 40, 44
COLOURS = {"quiet": "#1f5fa8", "loaded": "#b3541e"}


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Verdicts of one condition and side."""

    condition: str
    side: str
    slowdown: float
    """Measured over the whole bank."""
    verdicts: Counter[str]
    disjoint: Counter[str]
    """Of blocks that share no process."""


def replay(bank: Bank, *, decisions: int, processes: int, threshold: float, seed: int = 0) -> list[Replay]:
    """Every condition and side of the bank.

    Args:
        bank: What was recorded.
        decisions: Of each condition and side.
        processes: Of one decision, at most.
        threshold: Slowdown that is allowed.
        seed: Which blocks are drawn.

    Raises:
        BadInput: If the bank has fewer processes than a decision needs.
    """
    found = []
    for condition in CONDITIONS:
        for side in (AGAIN, *SLOWDOWNS):
            sides = bank.rounds(condition, side)
            verdicts: Counter[str] = Counter(
                decide_growing(*block, threshold=threshold, ended=True).verdict
                for block in blocks(*sides, count=decisions, processes=processes, swap=side == AGAIN, seed=seed)
            )
            apart: Counter[str] = Counter(
                decide_growing(*block, threshold=threshold, ended=True).verdict
                for block in disjoint_blocks(*sides, processes=processes)
            )
            found.append(
                Replay(
                    condition=condition, side=side, slowdown=measured_slowdown(*sides), verdicts=verdicts,
                    disjoint=apart,
                )
            )  # fmt: skip
    return found


def blocks(
    baseline: Rounds, current: Rounds, *, count: int, processes: int, swap: bool, seed: int
) -> Iterator[tuple[Rounds, Rounds]]:
    """Contiguous processes, of each the same contiguous rounds; for A against A the sides change places at random.

    Raises:
        BadInput: If there are fewer processes than one block has.
    """
    if len(baseline) < processes or processes < LOOKS[0]:
        raise BadInput(
            f"the bank has {len(baseline)} processes and a decision takes {processes} (at least {LOOKS[0]}): "
            "record more, or give fewer --processes"
        )
    rng = np.random.default_rng(seed)
    for _ in range(count):
        start = int(rng.integers(len(baseline) - processes + 1))
        shortest = min(len(each) for each in baseline[start : start + processes])
        taken = int(rng.integers(min(LEAST_ROUNDS, shortest), shortest + 1))
        first = int(rng.integers(shortest - taken + 1))
        sides = [
            [each[first : first + taken] for each in side[start : start + processes]] for side in (baseline, current)
        ]
        if swap and rng.random() < 0.5:
            sides.reverse()
        yield sides[0], sides[1]


def disjoint_blocks(baseline: Rounds, current: Rounds, *, processes: int) -> Iterator[tuple[Rounds, Rounds]]:
    """Blocks one after the other, with all their rounds."""
    for start in range(0, len(baseline) - processes + 1, processes):
        yield baseline[start : start + processes], current[start : start + processes]


def exact_interval(successes: int, total: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % interval of a share (1934)."""
    found = binomtest(successes, total).proportion_ci(confidence_level=0.95, method="exact")
    return float(found.low), float(found.high)


def replay_markdown(found: Sequence[Replay], *, processes: int, threshold: float) -> str:
    """One table."""
    lines = [
        f"Threshold {100 * threshold:g} %; {processes} processes a decision at most; exact 95 % intervals, {CAVEAT}.",
        "",
        "| Condition | Side | Slowdown measured | Decisions | Pass | Inconclusive | Regression | Disjoint p/i/r |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for each in found:
        total = each.verdicts.total()
        shares = [_share(each.verdicts[verdict], total) for verdict in VERDICTS]
        apart = "/".join(str(each.disjoint[verdict]) for verdict in VERDICTS)
        lines.append(
            f"| {each.condition} | {each.side} | {100 * each.slowdown:+.1f} % | {total} | "
            f"{' | '.join(shares)} | {apart} |"
        )
    return "\n".join(lines) + "\n"


def operating_curve(bank: Bank, *, decisions: int, processes: int, threshold: float) -> dict[str, list[float]]:
    """Share of regressions found at 0, 1, ... 15 %, by condition: A' of the bank, its rounds made longer by so much."""
    curves: dict[str, list[float]] = {}
    for condition in CONDITIONS:
        baseline, current = bank.rounds(condition, AGAIN)
        curves[condition] = []
        for slowdown in CURVE:
            slower = [[(1 + slowdown) * value for value in process] for process in current]
            drawn = blocks(baseline, slower, count=decisions, processes=processes, swap=False, seed=1)
            verdicts = [decide_growing(*each, threshold=threshold, ended=True).verdict for each in drawn]
            curves[condition].append(verdicts.count("regression") / len(verdicts))
    return curves


def draw_curve(curves: dict[str, list[float]], found: Sequence[Replay], *, threshold: float) -> str:
    """The operating curve as SVG: lines of scaled rounds, points of the copies that really are slower."""
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(slowdown: float, share: float) -> tuple[float, float]:
        return LEFT + wide * min(max(slowdown, 0.0), 0.16) / 0.16, TOP + high * (1 - share)

    parts = [text(LEFT, 20, "Share of calls that find a regression, by true slowdown", weight="bold")]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = place(0, share)
        parts += [line(x, y, LEFT + wide, y), text(x - 6, y + 4, f"{100 * share:.0f} %", anchor="end", colour=GREY)]
    for slowdown in (0.0, 0.05, 0.10, 0.15):
        x, y = place(slowdown, 0)
        parts.append(text(x, y + 16, f"{100 * slowdown:.0f} %", anchor="middle", colour=GREY))
    x, y = place(threshold, 0)
    parts += [line(x, TOP, x, y), text(x + 4, TOP + 10, "threshold", colour=GREY)]
    for number, (condition, curve) in enumerate(curves.items()):
        colour = COLOURS[condition]
        parts.append(polyline([place(*each) for each in zip(CURVE, curve, strict=True)], colour=colour))
        parts.append(text(WIDTH - RIGHT + 12, TOP + 14 + 18 * number, f"— {condition}, scaled rounds", colour=colour))
        for each in (each for each in found if each.condition == condition):
            x, y = place(each.slowdown, each.verdicts["regression"] / each.verdicts.total())
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
    parts.append(text(WIDTH - RIGHT + 12, TOP + 56, "● slower copies", colour=GREY))
    return svg(WIDTH, HEIGHT, "Operating curve of the gate", parts)


def _share(count: int, total: int) -> str:
    low, high = exact_interval(count, total)
    return f"{100 * count / total:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
