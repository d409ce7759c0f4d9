"""How often nominal 95 % intervals hold the truth, with the noise that real measurements have.

A simulated data set is put together from the bank's rounds of A against A': runs of neighbouring processes of random
length (the stationary bootstrap of Politis and Romano 1994), which keeps heavy tails and the likeness of neighbours,
the two sides of each run exchanged at random. So the noise is real and symmetric, and the true ratio is exactly the
one that is put on top.
"""

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.gate.bank import AGAIN, CONDITIONS, Bank
from benchmarks.gate.replay import exact_interval
from compressbench.stats import Rounds, ratio_interval, slowdown_interval

MEAN_RUN = 4
"""Neighbouring processes of one run, on average."""
SIZES = ((3, 5), (8, 12), (12, 12), (18, 12))
"""Processes and rounds of a data set: a run's three, the gate's eight and more."""
TRUE_RATIO = 1.07
TAIL = 0.025

IntervalOf = Callable[[Rounds, Rounds], tuple[float, float]]


def intervals() -> dict[str, IntervalOf]:
    """The intervals under test, of the ratio current / baseline."""

    def by_ratio(baseline: Rounds, current: Rounds) -> tuple[float, float]:
        found = ratio_interval(current, baseline, seed=0)
        return found.low, found.high

    def by_slowdown(baseline: Rounds, current: Rounds) -> tuple[float, float]:
        found = slowdown_interval(baseline, current, low_tail=TAIL, high_tail=TAIL)
        return 1 + found.low, 1 + found.high

    return {"speedup": by_ratio, "gate": by_slowdown}


def simulated(
    sides: tuple[Rounds, Rounds], *, processes: int, rounds: int, rng: np.random.Generator
) -> tuple[Rounds, Rounds]:
    """One data set whose current side is `TRUE_RATIO` times the baseline, but for noise."""
    usable = [place for place, process in enumerate(sides[0]) if len(process) >= rounds]
    baseline: list[Sequence[float]] = []
    current: list[Sequence[float]] = []
    place, swap = 0, False
    for number in range(processes):
        if number == 0 or rng.random() < 1 / MEAN_RUN:
            place, swap = int(rng.integers(len(usable))), bool(rng.random() < 0.5)
        else:
            place = (place + 1) % len(usable)
        before, after = sides[::-1] if swap else sides
        process = usable[place]
        first = int(rng.integers(len(before[process]) - rounds + 1))
        baseline.append(before[process][first : first + rounds])
        current.append([TRUE_RATIO * value for value in after[process][first : first + rounds]])
    return baseline, current


def coverage(bank: Bank, *, data_sets: int, seed: int = 0) -> str:
    """One Markdown table: shares of data sets whose interval holds the truth."""
    lines = [
        f"{data_sets} data sets a row, noise of the bank's A against A', true ratio {TRUE_RATIO}; exact intervals.",
        "",
        "| Noise | Interval | Processes x rounds | Holds the truth | Median width |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for condition in CONDITIONS:
        sides = bank.rounds(condition, AGAIN)
        for processes, rounds in SIZES:
            rng = np.random.default_rng([seed, processes, rounds])
            sets = [simulated(sides, processes=processes, rounds=rounds, rng=rng) for _ in range(data_sets)]
            for name, interval_of in intervals().items():
                ends = np.array([interval_of(*each) for each in sets])
                held = int(((ends[:, 0] <= TRUE_RATIO) & (ends[:, 1] >= TRUE_RATIO)).sum())
                low, high = exact_interval(held, data_sets)
                width = float(np.median(ends[:, 1] - ends[:, 0]) / TRUE_RATIO)
                lines.append(
                    f"| {condition} | {name} | {processes} x {rounds} | {100 * held / data_sets:.1f} % "
                    f"[{100 * low:.1f}, {100 * high:.1f}] | {100 * width:.1f} % |"
                )
    return "\n".join(lines) + "\n"
