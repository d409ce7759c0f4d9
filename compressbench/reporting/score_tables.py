"""Scores of a task, and their means over seeds."""

from collections.abc import Iterator, Sequence
from typing import Any

from compressbench.records.run_index import BASELINE
from compressbench.reporting.cells import (
    NONE,
    format_budget,
    format_p_value,
    format_range,
    format_retained,
    format_score,
    format_share,
    row_label,
)
from compressbench.table import Table
from compressbench.tasks.scores import metric_name
from compressbench.units import format_points


def score_table(task: str, rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> Table:
    """Scores in points, the primary one first, and what is left of the teacher's."""
    metrics = list(dict.fromkeys(metric for row in rows for metric in row["scores"]))
    heads = [metric_name(metric) for metric in metrics] or ["Score"]
    columns = [
        "Model",
        heads[0],
        "95\u00a0%",
        *heads[1:],
        "Retention",
        "above chance [95\u00a0%]",
        "p (Holm)",
        "Agreement",
        "Training",
    ]
    lines = []
    for row, label in zip(rows, labels, strict=True):
        scores = [format_score(row["scores"].get(metric)) for metric in metrics] or [NONE]
        interval = row["score_interval"]
        lines.append(
            [
                label,
                scores[0],
                f"{100 * interval[0]:.1f}–{100 * interval[1]:.1f}" if interval else NONE,
                *scores[1:],
                format_share(row["retention"]),
                format_retained(row["retention_above_chance"], row.get("retention_above_chance_interval")),
                format_p_value(row["score_p_value_holm"]),
                format_share(row["agreement"]["rate"] if row["agreement"] else None),
                format_budget(row["budget"]),
            ]
        )
    return Table(title=f"{task}: score on the dev split, in points", columns=columns, rows=lines)


def seed_tables(task: str, rows: Sequence[dict[str, Any]], entries: Sequence[dict[str, Any]]) -> Iterator[Table]:
    """Means over seeds, where there are several; each method's difference from the first, seed by seed."""
    if not entries:
        return
    first = next((each for each in entries if each["chain"] != BASELINE), entries[0])
    against = f"minus {row_label(first)}"
    columns = [
        "Model",
        "Seeds",
        "Mean",
        "95\u00a0% over seeds",
        "and rows",
        against,
        "95\u00a0% over seeds",
        "and rows",
    ]
    lines = [
        [
            row_label(each),
            str(len(each["seeds"])),
            format_points(each["mean"]),
            *_two_ranges(each, "–"),
            *_difference_cells(each["difference"]),
        ]
        for each in entries
    ]
    yield Table(title=f"{task}: {_metric_of(rows)} over seeds, in points", columns=columns, rows=lines)


def _difference_cells(found: dict[str, Any] | None) -> list[str]:
    return [NONE] * 3 if found is None else [f"{100 * found['mean']:+.1f}", *_two_ranges(found, ", ")]


def _two_ranges(found: dict[str, Any], between: str) -> list[str]:
    """Intervals over seeds, and over seeds and dev rows."""
    return [format_range(found[name], between) for name in ("interval", "interval_with_rows")]


def _metric_of(rows: Sequence[dict[str, Any]]) -> str:
    return next((metric_name(next(iter(row["scores"]))) for row in rows if row["scores"]), "score")
