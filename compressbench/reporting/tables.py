"""Tables as values: what stands in each cell, for whoever draws them (screen, Markdown, HTML, LaTeX)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from compressbench.records.run_index import BASELINE
from compressbench.reporting.cells import (
    NONE,
    SAME_GRAPH,
    baseline_label,
    format_score,
    format_share,
    place_name,
    places_of,
    row_label,
)
from compressbench.reporting.latency_tables import concurrency_tables, loading_note
from compressbench.reporting.score_tables import score_table, seed_tables
from compressbench.reporting.size_tables import size_and_latency_tables
from compressbench.table import Table
from compressbench.units import format_mib, format_ratio


@dataclass(frozen=True, kw_only=True)
class TaskBlock:
    """Everything shown of one task."""

    task: str
    tables: Sequence[Table]
    notes: Sequence[str]
    """Warnings, each with the methods it is about."""


def task_blocks(comparison: dict[str, Any]) -> Iterator[TaskBlock]:
    """Blocks in the order of the rows."""
    rows = comparison["rows"]
    many_seeds = len({row["seed"] for row in rows}) > 1
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        seeds = [entry for entry in comparison.get("over_seeds", []) if entry["task"] == task]
        labels = [row_label(row, with_seed=many_seeds) for row in own]
        yield TaskBlock(
            task=task,
            tables=[
                *size_and_latency_tables(task, own, labels),
                *concurrency_tables(task, own, labels),
                score_table(task, own, labels),
                *seed_tables(task, own, seeds),
            ],
            notes=[*_footnotes(own, labels), *loading_note(own, labels)],
        )


def summary_table(comparison: dict[str, Any]) -> Table:
    """Per method: averages over tasks, geometric mean speedups."""
    entries = comparison["summary"]
    places = places_of(entries, "speedup")
    several = len({runtime for runtime, _ in places}) > 1
    columns = ["Method", "Tasks", "Size (MiB)", "Size (%)", "Avg. score", "Retention"]
    columns += [f"Speedup {place_name(place, with_runtime=several)}" for place in places]
    rows = []
    for entry in entries:
        is_baseline = entry["chain"] == BASELINE
        speedups = [
            ("1x" if is_baseline else _mean_speedup(entry["speedup"].get(runtime, {}).get(shape)))
            for runtime, shape in places
        ]
        rows.append(
            [
                baseline_label(comparison["rows"]) if is_baseline else entry["method"],
                str(len(entry["tasks"])) + (f" ({entry['failed']} failed)" if entry["failed"] else ""),
                NONE if entry["size_bytes"] is None else format_mib(round(entry["size_bytes"])),
                format_share(entry["compression_ratio"] and 1 / entry["compression_ratio"]),
                format_score(entry["average_score"]),
                format_share(entry["retention"]),
                *speedups,
            ]
        )
    return Table(title=f"Per method, average over {_tasks_named(entries)}", columns=columns, rows=rows)


def _tasks_named(entries: Sequence[dict[str, Any]]) -> str:
    tasks = list(dict.fromkeys(task for entry in entries for task in entry["tasks"]))
    return ", ".join(tasks) if tasks else "no task"


def _mean_speedup(ratio: float | None) -> str:
    if ratio is None:
        return NONE
    return SAME_GRAPH if ratio == 1.0 else format_ratio(ratio)


def _footnotes(rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> list[str]:
    """Warnings by text, each with the rows it is about, then whose latency stands for which rows."""
    about: dict[str, list[str]] = {}
    for row, label in zip(rows, labels, strict=True):
        for warning in row["warnings"]:
            about.setdefault(warning, []).append(label)
        shared = {taken["shared_with"] for shapes in row["latency"].values() for taken in shapes.values()}
        for name in sorted(shared - {None}):
            about.setdefault(f"latency measured on {name}, whose graph is the same", []).append(label)
    return [f"{', '.join(dict.fromkeys(names))}: {text}" for text, names in about.items()]
