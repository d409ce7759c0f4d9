"""Curves of training as SVG: loss terms by step, a panel for each stage, and the dev score of each epoch."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from compressbench.records.schema import CurveRecord
from compressbench.reporting.svg import GREY, line, log_ticks, polyline, svg, text
from compressbench.tasks.scores import metric_name

WIDTH, HEIGHT = 400, 260
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 52, 30
LETTER = 7
"""Width of a bold letter, about."""
COLOURS = ("#1f5fa8", "#b3541e", "#3b7d3b", "#7a4fa0", "#a08500")
DECADE_TICKS = 6
"""More ticks than this on a logarithmic axis are thinned to powers of ten."""

Series = dict[str, Sequence[tuple[float, float]]]
"""Points (step, value) by name."""


@dataclass(frozen=True, kw_only=True)
class CurvePlot:
    """The curves of one artifact."""

    label: str
    name: str
    """Of the file, without suffix."""
    drawing: str


def curve_plots(records: Sequence[CurveRecord]) -> dict[str, list[CurvePlot]]:
    """A plot for each artifact that was trained, by task."""
    plots: dict[str, list[CurvePlot]] = {}
    for _, group in groupby(sorted(records, key=lambda each: each.artifact_key), key=lambda each: each.artifact_key):
        stages = [each for each in group if each.steps]
        if stages:
            first = stages[0]
            label = first.chain if first.seed is None else f"{first.chain} (seed {first.seed})"
            words = re.sub(r"[^a-z0-9]+", "-", f"{first.task} {first.chain}".lower()).strip("-")
            name = f"curves-{words[:48].rstrip('-')}-{first.artifact_key[:8]}"
            drawing = draw_stages(f"{label} on {first.task}", stages)
            plots.setdefault(first.task, []).append(CurvePlot(label=label, name=name, drawing=drawing))
    return {task: sorted(found, key=lambda each: each.label) for task, found in plots.items()}


def draw_stages(title: str, stages: Sequence[CurveRecord]) -> str:
    """Panels beside each other: the losses of each stage, and its dev scores where there are any."""
    panels = [panel for stage in stages for panel in _panels(stage)]
    room = len(panels) * WIDTH // LETTER - LEFT // LETTER
    parts = [text(LEFT, 16, title if len(title) <= room else f"{title[: room - 1]}…", weight="bold")]
    for number, panel in enumerate(panels):
        parts.append(f'<g transform="translate({number * WIDTH},0)">{"".join(panel)}</g>')
    return svg(len(panels) * WIDTH, HEIGHT, f"Training of {title}", parts)


def _panels(stage: CurveRecord) -> Iterator[list[str]]:
    losses: Series = {name: list(zip(stage.steps, values, strict=True)) for name, values in stage.terms.items()}
    called = f"{stage.stage.rpartition(', ')[2]}: " if ", " in stage.stage else ""
    rate = max(stage.learning_rates)
    yield list(_panel(f"{called}loss by step, learning rate up to {rate:g}", losses, stage, is_log=True))
    if stage.scores:
        scores: Series = {
            metric_name(name): [(step, 100 * value) for step, value in zip(stage.score_steps, values, strict=True)]
            for name, values in stage.scores.items()
        }
        yield list(_panel(f"{called}dev score (points) by step", scores, stage, is_log=False))


def _panel(heading: str, series: Series, stage: CurveRecord, *, is_log: bool) -> Iterator[str]:
    """Heading, legend, grid and curves of one panel."""
    right, bottom, last_step = WIDTH - RIGHT, HEIGHT - BOTTOM, max(stage.steps)
    down, ticks = _axis([value for points in series.values() for _, value in points], is_log=is_log)

    def across(step: float) -> float:
        return LEFT + (right - LEFT) * step / last_step

    yield text(LEFT, 32, heading, colour=GREY)
    for value in ticks:
        yield line(LEFT, down(value), right, down(value))
        yield text(LEFT - 6, down(value) + 4, f"{value:g}", anchor="end", colour=GREY)
    for tick in (0, last_step // 2, last_step):
        yield text(across(tick), bottom + 16, str(tick), anchor="middle", colour=GREY)
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        yield text(LEFT + 90 * number, 46, name, colour=colour)
        yield polyline(
            [(across(step), down(value)) for step, value in points if value > 0 or not is_log], colour=colour
        )
        if not is_log:
            for step, value in points:
                yield f'<circle cx="{across(step):.1f}" cy="{down(value):.1f}" r="3" fill="{colour}"/>'


def _axis(values: Sequence[float], *, is_log: bool) -> tuple[Callable[[float], float], list[float]]:
    """Where a value stands in a panel, and the values that a grid shows."""
    height, bottom = HEIGHT - BOTTOM - TOP, HEIGHT - BOTTOM
    if is_log:
        positive = [value for value in values if value > 0] or [1.0]
        low, high = min(positive) / 1.2, max(positive) * 1.2
        ticks = log_ticks(low, high)
        if len(ticks) > DECADE_TICKS:
            ticks = [tick for tick in ticks if f"{tick:e}".startswith("1.0")]
        return lambda value: bottom - height * math.log(value / low) / math.log(high / low), ticks
    low, high = min(values) - 1, max(values) + 1
    return lambda value: bottom - height * (value - low) / (high - low), [
        round(low + (high - low) * part / 4, 1) for part in range(5)
    ]
