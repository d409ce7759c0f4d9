"""Plots as plain SVG text: what a method costs in latency and what it keeps in score, and how large it is."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from compressbench.records.run_index import BASELINE
from compressbench.reporting.cells import places_of, row_label
from compressbench.reporting.svg import GREY, line, log_ticks, polyline, svg, text
from compressbench.tasks.scores import metric_name
from compressbench.units import MIB

_PANEL_WIDTH, _PANEL_HEIGHT = 430, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 34, 44
_COLUMNS = 2
_BAR_HEIGHT, _BAR_GAP, _LABEL_WIDTH, _BAR_WIDTH = 14, 12, 300, 420
_DARK, _LIGHT, _BASELINE = "#1f5fa8", "#9cc1e8", "#b3541e"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One row of a scatter."""

    label: str
    latency_ms: float
    score: float
    """In points."""
    is_baseline: bool


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One task's scatter."""

    title: str
    axis: str
    points: Sequence[Point]


def comparison_plots(comparison: dict[str, Any]) -> dict[str, str]:
    """SVG texts by file name without suffix; a plot without figures is left out."""
    places = places_of(comparison["rows"])
    panels = list(_panels(comparison["rows"], *places[0])) if places else []
    plots = {"latency-score": scatter(panels)} if panels else {}
    sizes = _sizes(comparison["summary"])
    return plots | ({"size": size_bars(sizes)} if sizes else {})


def scatter(panels: Sequence[Panel]) -> str:
    """Small multiples, one per task: latency on a logarithmic axis, score upwards; up and left is better.

    A line joins the points that no other beats in both.
    """
    columns = min(_COLUMNS, len(panels))
    width, height = columns * _PANEL_WIDTH, -(-len(panels) // columns) * _PANEL_HEIGHT
    parts = []
    for number, panel in enumerate(panels):
        x, y = number % columns * _PANEL_WIDTH, number // columns * _PANEL_HEIGHT
        parts.append(f'<g transform="translate({x},{y})">{"".join(_panel(panel))}</g>')
    return svg(width, height, "Latency and score of each model, by task", parts)


def size_bars(sizes: Sequence[tuple[str, float, float]]) -> str:
    """A bar per method: the model file in MiB, and the same compressed with zstd.

    Args:
        sizes: Label, MiB, compressed MiB.
    """
    largest = max(raw for _, raw, _ in sizes)
    parts = [text(_LABEL_WIDTH, 18, "Size in MiB: model file (dark), compressed with zstd (light)", colour=GREY)]
    y = 30
    for label, raw, compressed in sizes:
        parts.append(text(_LABEL_WIDTH - 8, y + _BAR_HEIGHT, label, anchor="end"))
        for value, colour in ((raw, _DARK), (compressed, _LIGHT)):
            length = max(1.0, _BAR_WIDTH * value / largest)
            parts.append(
                f'<rect x="{_LABEL_WIDTH}" y="{y}" width="{length:.1f}" height="{_BAR_HEIGHT - 1}" fill="{colour}"/>'
            )
            parts.append(text(_LABEL_WIDTH + length + 5, y + _BAR_HEIGHT - 3, f"{value:.1f}"))
            y += _BAR_HEIGHT
        y += _BAR_GAP
    return svg(_LABEL_WIDTH + _BAR_WIDTH + 60, y, "Size of each model", parts)


def _panels(rows: Sequence[dict[str, Any]], runtime: str, shape: str) -> Iterator[Panel]:
    for task in dict.fromkeys(row["task"] for row in rows):
        points: dict[str, list[tuple[float, float]]] = {}
        metric, baseline = "score", ""
        for row in rows:
            taken = row["latency"].get(runtime, {}).get(shape)
            if row["task"] != task or taken is None or row["primary_score"] is None:
                continue
            metric = next(iter(row["scores"]))
            baseline = row_label(row) if row["chain"] == BASELINE else baseline
            points.setdefault(row_label(row), []).append((taken["median_ns"] / 1e6, 100 * row["primary_score"]))
        if points:
            yield Panel(
                title=task,
                axis=f"{metric_name(metric)} (points) against ms at {shape} in {runtime}",
                points=[
                    Point(
                        label=label,
                        latency_ms=fmean(latency for latency, _ in pairs),
                        score=fmean(score for _, score in pairs),
                        is_baseline=label == baseline,
                    )
                    for label, pairs in points.items()
                ],
            )


def _sizes(summary: Sequence[dict[str, Any]]) -> list[tuple[str, float, float]]:
    return [
        (row_label(entry), entry["size_bytes"] / MIB, entry["compressed_bytes"] / MIB)
        for entry in summary
        if entry["size_bytes"] is not None
    ]


def _panel(panel: Panel) -> Iterator[str]:
    """Frame, ticks, points and their labels."""
    low_ms, high_ms = _log_range([point.latency_ms for point in panel.points])
    low, high = _score_range([point.score for point in panel.points])
    right, bottom = _PANEL_WIDTH - _RIGHT, _PANEL_HEIGHT - _BOTTOM

    def across(latency_ms: float) -> float:
        return _LEFT + (right - _LEFT) * math.log(latency_ms / low_ms) / math.log(high_ms / low_ms)

    def down(score: float) -> float:
        return bottom - (bottom - _TOP) * (score - low) / (high - low)

    yield text(_LEFT, 16, panel.title, weight="bold")
    yield text(_LEFT, 29, panel.axis, colour=GREY)
    for tick in log_ticks(low_ms, high_ms):
        yield line(across(tick), _TOP, across(tick), bottom)
        yield text(across(tick), bottom + 14, f"{tick:g}", anchor="middle", colour=GREY)
    for step in range(5):
        score = low + (high - low) * step / 4
        yield line(_LEFT, down(score), right, down(score))
        yield text(_LEFT - 6, down(score) + 4, f"{score:.0f}", anchor="end", colour=GREY)
    if len(front := pareto_front(panel.points)) > 1:
        yield polyline([(across(point.latency_ms), down(point.score)) for point in front], colour=_LIGHT)
    last = -math.inf
    for point in sorted(panel.points, key=lambda each: -each.score):
        x, y = across(point.latency_ms), down(point.score)
        colour = _BASELINE if point.is_baseline else _DARK
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>'
        last = height = max(y + 4, last + 12)  # from the top down, so that labels do not overlap
        to_left = x > (_LEFT + right) / 2
        yield text(x - 8 if to_left else x + 8, height, _short(point.label), anchor="end" if to_left else "start")


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in both latency and score, fastest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda each: (each.latency_ms, -each.score)):
        if not front or point.score > front[-1].score:
            front.append(point)
    return front


def _log_range(values: Sequence[float]) -> tuple[float, float]:
    return min(values) / 1.5, max(values) * 1.5


def _score_range(values: Sequence[float]) -> tuple[float, float]:
    """The values with a margin, in whole multiples of 4 points, so that ticks are whole."""
    low, high = math.floor((min(values) - 1) / 4) * 4, math.ceil((max(values) + 1) / 4) * 4
    return float(low), float(high)


def _short(label: str) -> str:
    """At most 34 letters; beginning and end stay, for chains often differ in their last method alone."""
    return label if len(label) <= 34 else f"{label[:16]}…{label[-17:]}"
