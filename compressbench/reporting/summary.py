"""The per-method summary: averages over the tasks that were run, each named."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from compressbench.records.run_index import BASELINE
from compressbench.stats import geometric_mean


def summarize(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry per method, the baseline first.

    Scores are averaged over seeds within a task, then over tasks (macro average). Retention is the average score
    over the baseline's average on the same tasks. Tasks on which the method has no score are left out and
    counted in ``failed``. Speedups are geometric means over tasks and seeds.
    """
    methods = list(dict.fromkeys(row["method"] for row in rows))
    methods.sort(key=lambda method: method != BASELINE)
    teacher = _task_averages([row for row in rows if row["chain"] == BASELINE])
    return [_entry(method, [row for row in rows if row["method"] == method], teacher) for method in methods]


def _entry(method: str, rows: Sequence[dict[str, Any]], teacher: dict[str, float]) -> dict[str, Any]:
    scores = _task_averages(rows)
    average = fmean(scores.values()) if scores else None
    shared = [task for task in scores if task in teacher]
    before = fmean(teacher[task] for task in shared) if shared else 0.0
    retained = fmean(scores[task] for task in shared) / before if before > 0 else None
    sizes = [row["size_bytes"] for row in rows if row["size_bytes"] is not None]
    compressed = [row["compressed_bytes"] for row in rows if row["compressed_bytes"] is not None]
    ratios = [row["compression_ratio"] for row in rows if row["compression_ratio"] is not None]
    return {
        "method": method,
        "chain": rows[0]["chain"],
        "tasks": list(scores),
        "seeds": sorted({row["seed"] for row in rows}),
        "failed": sum(row["primary_score"] is None for row in rows),
        "average_score": average,
        "retention": retained,
        "size_bytes": fmean(sizes) if sizes else None,
        "compressed_bytes": fmean(compressed) if compressed else None,
        "compression_ratio": geometric_mean(ratios) if ratios else None,
        "speedup": _mean_ratios(rows, "speedup"),
        "speedup_over_onnxruntime": _mean_ratios(rows, "speedup_over_onnxruntime"),
    }


def _task_averages(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Mean primary score over seeds, by task."""
    by_task: dict[str, list[float]] = {}
    for row in rows:
        if row["primary_score"] is not None:
            by_task.setdefault(row["task"], []).append(row["primary_score"])
    return {task: fmean(scores) for task, scores in by_task.items()}


def _mean_ratios(rows: Sequence[dict[str, Any]], key: str) -> dict[str, dict[str, float]]:
    """Geometric mean of a ratio by runtime and shape, over the rows that have it."""
    ratios: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        for runtime, shapes in row[key].items():
            for shape, interval in shapes.items():
                ratios.setdefault(runtime, {}).setdefault(shape, []).append(interval["ratio"])
    return {
        runtime: {shape: geometric_mean(values) for shape, values in shapes.items()}
        for runtime, shapes in ratios.items()
    }
