"""Published figures beside this run's, as one table per source."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from compressbench.reporting.cells import NONE, places_of
from compressbench.reporting.reference_figures import NOTES, ReferenceFigure, figures_of, measured_values
from compressbench.table import Table
from compressbench.tasks.scores import metric_name
from compressbench.units import format_mib, format_milliseconds, format_percent, format_points, format_ratio

_TITLES = {"seed": 'The study "Reproducing TinyBERT"', "paper": "The paper (Jiao et al. 2020)"}
_QUANTITIES: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "size": ("Size (MiB)", lambda value: format_mib(round(value))),
    "compressed_size": ("Compressed (MiB)", lambda value: format_mib(round(value))),
    "size_share": ("Size (%)", format_percent),
    "sparsity": ("Sparsity", format_percent),
    "latency": ("Latency (ms)", format_milliseconds),
    "speedup": ("Speedup", format_ratio),
    "score": ("Score", format_points),
    "retention": ("Retention", format_percent),
    "parameters": ("Parameters (M)", lambda value: f"{value / 1e6:.1f}"),
    "flops": ("FLOPs (B)", lambda value: f"{value / 1e9:.1f}"),
}


def reference_tables(comparison: dict[str, Any], sources: Sequence[str]) -> list[Table]:
    """One table per source; figures of tasks that this run does not have are left out.

    Raises:
        UnknownName: If a source is unknown.
    """
    tasks = {row["task"] for row in comparison["rows"]}
    place = next(iter(places_of(comparison["rows"])), None)
    figures = [figure for figure in figures_of(sources) if not figure.task or figure.task in {*tasks, "average"}]
    tables = []
    for source in dict.fromkeys(figure.source for figure in figures):
        rows = [_row(figure, comparison, place) for figure in figures if figure.source == source]
        tables.append(
            Table(
                title=f"{_TITLES[source]}, beside this run",
                columns=["Model", "Task", "Figure", "Split", "Published", "Measured here (dev)"],
                rows=rows,
            )
        )
    return tables


def reference_notes(sources: Sequence[str]) -> list[str]:
    """What to know of the published figures before comparing."""
    return [note for source in sources for note in NOTES[source]]


def _row(figure: ReferenceFigure, comparison: dict[str, Any], place: tuple[str, str] | None) -> list[str]:
    name, formatted = _QUANTITIES[figure.quantity]
    if figure.quantity == "score" and figure.metric:
        name = f"{metric_name(figure.metric)} (points)"
    values = measured_values(figure, comparison)
    measured = " / ".join(dict.fromkeys(formatted(value) for value in values)) or NONE
    if values and place and figure.quantity in ("latency", "speedup"):
        measured += f" at {place[1]}"
    published = figure.printed or formatted(figure.value)
    return [figure.model, figure.task or NONE, name, figure.split or NONE, published, measured]
