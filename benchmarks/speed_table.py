"""The figures of `training_speed`: schedules composed of timed steps, factors with intervals, and their table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BATCH = 32
TARGETS = {"SST-2": {"equal": 12.0, "whole": 16.0}, "MRPC": {"whole": 8.0}}
HEADER = (
    "Task",
    "Rows",
    "Reference rows/s",
    "Ours rows/s",
    "At equal padding",
    "A step alone",
    "Padding removed",
    "Whole",
)
NOTES = (
    (
        "- Reference: the authors' loop re-enacted (teacher in fp32 and dropping out at every step, one length for all "
        "rows, fp32 student, Adam tensor by tensor; `benchmarks/reference_loop.py`)."
    ),
    (
        "- Steps of both were timed in turns in one process, on a sample of rows, and schedules are composed of them; "
        "our steps are those of the product's own loop. In brackets: 95 %, steps resampled."
    ),
)


@dataclass(frozen=True)
class Phase:
    """What was timed of one kind of rows."""

    write_s: float
    """A row: the teacher's outputs, once."""
    step_s: tuple[float, ...]
    reference_s: tuple[float, ...]
    cached_share: float
    cache_gib: float
    """That the whole task would take."""
    tokens: float
    """A row, on average."""


def factors(equal: Phase, real: Phase, *, epochs: int, draws: int = 2000) -> dict[str, list[float]]:
    """Each factor of the whole schedule, with its 95 % interval: steps of every kind resampled.

    A row costs ``epochs x reference step`` there, and ``write + epochs x step`` here.
    """
    rng = np.random.default_rng(0)

    def ratios(pick: Callable[[Sequence[float]], Any]) -> dict[str, float]:
        reference_s = [float(np.mean(pick(each.reference_s))) / BATCH for each in (equal, real)]
        steps_s = [float(np.mean(pick(each.step_s))) / BATCH for each in (equal, real)]
        ours_s = [each.write_s + epochs * step_s for each, step_s in zip((equal, real), steps_s, strict=True)]
        at_equal, whole = (epochs * theirs / ours for theirs, ours in zip(reference_s, ours_s, strict=True))
        return {
            "equal": at_equal,
            "equal_step": reference_s[0] / steps_s[0],
            "padding": whole / at_equal,
            "whole": whole,
            "reference_rows_per_s": 2 / sum(reference_s),
            "rows_per_s": epochs / ours_s[1],
        }

    drawn = [ratios(lambda values: rng.choice(values, size=len(values))) for _ in range(draws)]
    return {
        name: [value, *(float(np.quantile([each[name] for each in drawn], at)) for at in (0.025, 0.975))]
        for name, value in ratios(np.asarray).items()
    }


def markdown(result: dict[str, Any]) -> str:
    """The table for people, and what it rests on."""
    options, environment = result["options"], result["environment"]
    setting = (
        f"{options['student']} from {result['teacher']}, batch {BATCH}, {options['epochs']} epochs, writing the cache "
        f"included. {environment['cpu']}, {options['threads']} threads, torch {environment['packages']['torch']}, "
        f"ours in {options['precision']}. Measured in {result['seconds'] / 60:.0f} minutes."
    )
    lines = ["# Training speed of the intermediate stage", "", setting]
    lines += ["", f"| {' | '.join(HEADER)} | Target |", f"| --- |{' ---: |' * (len(HEADER) - 1)} --- |"]
    for each in result["tasks"]:
        found = each["factors"]
        told = [
            f"{found[name][0]:.1f}x [{found[name][1]:.1f}, {found[name][2]:.1f}]"
            for name in ("equal", "equal_step", "padding", "whole")
        ]
        speeds = [f"{found[name][0]:.1f}" for name in ("reference_rows_per_s", "rows_per_s")]
        cells = [each["task"], str(each["rows"]), *speeds, *told, _target(each["task"], found)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(_rests_on(each, options) for each in result["tasks"]), *NOTES]
    return "\n".join(lines) + "\n"


def _target(task: str, found: dict[str, list[float]]) -> str:
    targets = TARGETS.get(task, {})
    return ", ".join(
        f"{name} {value:g}x {'reached' if found[name][0] >= value else 'missed'}" for name, value in targets.items()
    )


def _rests_on(each: dict[str, Any], options: dict[str, Any]) -> str:
    real, equal = each["real"], each["equal"]
    return (
        f"- {each['task']}: {real['tokens']:.1f} tokens a row, padded to {each['padded_to']} in the reference. Cache "
        f"budget {options['cache_gib']:g} GiB; all rows take {real['cache_gib']:.2f} GiB, so "
        f"{real['cached_share']:.0%} of "
        "them are read in later epochs and the rest computed again. At equal padding all would take "
        f"{equal['cache_gib']:.1f} GiB; there the sample's are read from memory, as from a budget that large."
    )
