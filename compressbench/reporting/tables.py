"""Tables as values: what stands in each cell, for whoever draws them (screen, Markdown, HTML, LaTeX)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from compressbench.records.latencies import BASELINE_RUNTIME, REAL_LENGTHS
from compressbench.records.run_index import BASELINE
from compressbench.reporting.latency_tables import concurrency_tables, loading_note
from compressbench.table import Table
from compressbench.tasks.scores import metric_name
from compressbench.units import MIB, format_mib, format_milliseconds, format_percent, format_points, format_ratio

NONE = "–"
BASELINE_LABEL = "baseline (fp32)"
SAME_GRAPH = "same graph"
NOT_APPLICABLE = "n/a"
OVER_ONNXRUNTIME = "over ORT"
_PLACES_PER_TABLE = 2


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
                *_latency_tables(task, own, labels),
                *concurrency_tables(task, own, labels),
                _score_table(task, own, labels),
                *_seed_tables(task, own, seeds),
            ],
            notes=[*_footnotes(own, labels), *loading_note(own, labels)],
        )


def row_label(row: dict[str, Any], *, with_seed: bool = False) -> str:
    """How a row is called on screen: as the user typed it."""
    name = BASELINE_LABEL if row["chain"] == BASELINE else row["method"]
    return f"{name} (seed {row['seed']})" if with_seed else name


def places_of(rows: Sequence[dict[str, Any]], key: str = "latency") -> list[tuple[str, str]]:
    """Runtimes and shapes that any row has: runtimes as they come, the smaller shapes first."""
    found = dict.fromkeys((runtime, shape) for row in rows for runtime, shapes in row[key].items() for shape in shapes)
    runtimes = list(dict.fromkeys(runtime for runtime, _ in found))
    return sorted(found, key=lambda place: (runtimes.index(place[0]), shape_order(place[1])))


def shape_order(shape: str) -> tuple[bool, int, int]:
    """Sorts ``1x128``, ``8x128``, ``task``, ``8xtask`` so: fixed sizes first, the smaller batches first."""
    batch, _, tokens = shape.rpartition("x")
    is_real = tokens == REAL_LENGTHS
    return is_real, int(batch or 1), 0 if is_real else int(tokens)


def format_interval(interval: dict[str, float] | None) -> str:
    """``14.4x [14.1, 14.7]``; ``same graph`` where nothing was compared because nothing differs."""
    if interval is None:
        return NONE
    if interval["ratio"] == interval["low"] == interval["high"] == 1.0:
        return SAME_GRAPH
    digits = 2 if interval["ratio"] < 10 else 1
    return f"{format_ratio(interval['ratio'])} [{interval['low']:.{digits}f}, {interval['high']:.{digits}f}]"


def format_budget(budget: dict[str, float]) -> str:
    """The training a row had: ``20/3 epochs``, ``300 rows``; the first kind of figure that is there.

    On augmented rows with how many there were of each: ``20/3 epochs, x27.9 rows``.
    """
    augmented = f", x{budget['rows'] / budget['task_rows']:.1f} rows" if "task_rows" in budget else ""
    for unit in ("epochs", "steps", "rows"):
        counts = [value for name, value in budget.items() if name.endswith(unit)]
        if counts:
            shown = "/".join(f"{count:g}" for count in counts)
            return f"{shown} {unit.removesuffix('s') if counts == [1] else unit}{augmented}"
    return NONE


def summary_table(comparison: dict[str, Any]) -> Table:
    """Per method: averages over tasks, geometric mean speedups."""
    entries = comparison["summary"]
    places = places_of(entries, "speedup")
    several = len({runtime for runtime, _ in places}) > 1
    columns = ["Method", "Tasks", "Size (MiB)", "Size (%)", "Avg. score", "Retention"]
    columns += [f"Speedup {_place_name(place, with_runtime=several)}" for place in places]
    rows = []
    for entry in entries:
        is_baseline = entry["chain"] == BASELINE
        speedups = [
            ("1x" if is_baseline else _mean_speedup(entry["speedup"].get(runtime, {}).get(shape)))
            for runtime, shape in places
        ]
        rows.append(
            [
                BASELINE_LABEL if is_baseline else entry["method"],
                str(len(entry["tasks"])) + (f" ({entry['failed']} failed)" if entry["failed"] else ""),
                NONE if entry["size_bytes"] is None else format_mib(round(entry["size_bytes"])),
                _fraction(entry["compression_ratio"] and 1 / entry["compression_ratio"]),
                _points(entry["average_score"]),
                _fraction(entry["retention"]),
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


def _place_name(place: tuple[str, str], *, with_runtime: bool) -> str:
    return f"{place[0]} {place[1]}" if with_runtime else place[1]


def _latency_tables(task: str, rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> Iterator[Table]:
    """Size and latency with the main thread count, then latency with each further one."""
    yield from _size_tables(task, rows, labels)
    for count in sorted({count for row in rows for count in row.get("latency_by_threads", {})}, key=int):
        own = [
            {
                **row,
                "latency": row.get("latency_by_threads", {}).get(count, {}),
                "speedup": row.get("speedup_by_threads", {}).get(count, {}),
            }
            for row in rows
        ]
        yield from _size_tables(task, own, labels, threads=count)


def _size_tables(
    task: str, rows: Sequence[dict[str, Any]], labels: Sequence[str], *, threads: str | None = None
) -> Iterator[Table]:
    """Size and latency side by side as in the study's table; more places than fit go into further tables.

    Every runtime has tables of its own, the default one first. Those of the others say how a row compares with the
    baseline in ONNX Runtime too, which is what a change of runtime alone brings to the baseline.

    Args:
        task: For the title.
        rows: Of one task.
        labels: What each is called.
        threads: The count these latencies are of; None: the main one, whose first table has the sizes.
    """
    places = places_of(rows)
    runtimes = list(dict.fromkeys(runtime for runtime, _ in places)) or [BASELINE_RUNTIME]
    with_sizes = threads is None
    for runtime in runtimes:
        shapes = [shape for other, shape in places if other == runtime]
        with_over = threads is None and runtime != BASELINE_RUNTIME
        for start in range(0, max(1, len(shapes)), _PLACES_PER_TABLE):
            shown = shapes[start : start + _PLACES_PER_TABLE]
            columns = ["Model", "Size (MiB)", "Size (%)", "zstd (MiB)"] if with_sizes else ["Model"]
            for shape in shown:
                place = _place_name((runtime, shape), with_runtime=len(runtimes) > 1)
                columns += [f"{place} (ms)", "Speedup [95\u00a0%]", *([OVER_ONNXRUNTIME] if with_over else [])]
            lines = [
                [
                    label,
                    *(_size_cells(row) if with_sizes else ()),
                    *_latency_cells(row, runtime, shown, with_over=with_over),
                ]
                for row, label in zip(rows, labels, strict=True)
            ]
            what = "size and latency" if with_sizes else "latency"
            how = f" with {threads} thread{'' if threads == '1' else 's'}" if threads else ""
            with_sizes = False
            yield Table(title=f"{task}: {what}{how}", columns=columns, rows=lines)


def _latency_cells(row: dict[str, Any], runtime: str, shapes: Sequence[str], *, with_over: bool) -> Iterator[str]:
    """Median, speedup and, if `with_over`, the ratio to the baseline in ONNX Runtime."""
    absent = NOT_APPLICABLE if not runs_here(row, runtime) else NONE
    for shape in shapes:
        taken = row["latency"].get(runtime, {}).get(shape)
        yield format_milliseconds(taken["median_ns"]) if taken else absent
        ratio = row["speedup"].get(runtime, {}).get(shape)
        yield absent if ratio is None else "1x" if row["chain"] == BASELINE else format_interval(ratio)
        if with_over:
            over = row["speedup_over_onnxruntime"].get(runtime, {}).get(shape)
            yield format_ratio(over["ratio"]) if over else absent


def runs_here(row: dict[str, Any], runtime: str) -> bool:
    """False for a measured model that a PyTorch runtime cannot open, since it exists as ONNX alone."""
    return not (runtime.startswith("torch") and row["latency"] and runtime not in row["latency"])


def _size_cells(row: dict[str, Any]) -> list[str]:
    if row["size_bytes"] is None:
        return [NONE] * 3
    return [
        format_mib(row["size_bytes"]),
        _fraction(row["compression_ratio"] and 1 / row["compression_ratio"]),
        f"{row['compressed_bytes'] / MIB:.2f}",
    ]


def _score_table(task: str, rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> Table:
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
        scores = [_points(row["scores"].get(metric)) for metric in metrics] or [NONE]
        interval = row["score_interval"]
        lines.append(
            [
                label,
                scores[0],
                f"{100 * interval[0]:.1f}–{100 * interval[1]:.1f}" if interval else NONE,
                *scores[1:],
                _fraction(row["retention"]),
                format_retained(row["retention_above_chance"], row.get("retention_above_chance_interval")),
                format_p_value(row["score_p_value_holm"]),
                _fraction(row["agreement"]["rate"] if row["agreement"] else None),
                format_budget(row["budget"]),
            ]
        )
    return Table(title=f"{task}: score on the dev split, in points", columns=columns, rows=lines)


def _seed_tables(task: str, rows: Sequence[dict[str, Any]], entries: Sequence[dict[str, Any]]) -> Iterator[Table]:
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
    return [_points_range(found[name], between) for name in ("interval", "interval_with_rows")]


def _metric_of(rows: Sequence[dict[str, Any]]) -> str:
    return next((metric_name(next(iter(row["scores"]))) for row in rows if row["scores"]), "score")


def _points_range(interval: Sequence[float] | None, between: str) -> str:
    return NONE if interval is None else f"{100 * interval[0]:.1f}{between}{100 * interval[1]:.1f}"


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


def _fraction(value: float | None) -> str:
    return NONE if value is None else format_percent(value)


def _points(value: float | None) -> str:
    return NONE if value is None else format_points(value)


def format_retained(value: float | None, interval: Sequence[float] | None) -> str:
    """``59 % [41, 78]``; decimals would pretend to more than a dev split of some hundred rows tells."""
    if value is None:
        return NONE
    return f"{100 * value:.0f} %" + (f" [{100 * interval[0]:.0f}, {100 * interval[1]:.0f}]" if interval else "")


def format_p_value(value: float | None) -> str:
    """Three digits, or less than that."""
    if value is None:
        return NONE
    return "<0.001" if value < 0.001 else f"{value:.3f}"
