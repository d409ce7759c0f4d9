"""What a reader of the tables is told in plain words: what the tasks are, how figures were taken, what they mean."""

from collections.abc import Sequence
from typing import Any

from compressbench.records.run_index import BASELINE
from compressbench.reporting.cells import NOT_APPLICABLE, SAME_GRAPH, baseline_label, format_interval
from compressbench.reporting.size_tables import OVER_ONNXRUNTIME, runs_here
from compressbench.units import format_milliseconds

GENERATED_PREFIX = "synthetic-"


def notes_of(comparison: dict[str, Any]) -> list[str]:
    """One sentence or two each; only those that apply."""
    rows = comparison["rows"]
    notes = []
    generated = list(dict.fromkeys(row["task"] for row in rows if row["task"].startswith(GENERATED_PREFIX)))
    if generated:
        notes.append(
            f"Generated tasks, not GLUE: {', '.join(generated)} are made by a seeded grammar, so their scores stand "
            "beside no published figure. `--suite glue --data-dir DIR` runs GLUE."
        )
    notes.append(
        f"{baseline_label(rows)}: the fine-tuned teacher, BERT-Base unless another was given, or the model that "
        "`measure` took for it, in the same runtime at the same shape (batch x tokens; task: dev rows one by one, as "
        "long as they are). Speedup: median over rounds of the paired ratio of latencies, 95 % interval in brackets."
    )
    runtimes = list(dict.fromkeys(runtime for row in rows for runtime in row["latency"]))
    if len(runtimes) > 1:
        notes.append(
            f'"{OVER_ONNXRUNTIME}": the baseline in ONNX Runtime over the row in this runtime; the baseline row says '
            "what the change of runtime alone brings."
        )
    if any(not runs_here(row, runtime) for row in rows for runtime in runtimes):
        notes.append(
            f'"{NOT_APPLICABLE}": PyTorch runs the Hugging Face folder that a model was exported from; this one exists '
            "as ONNX alone."
        )
    if any(_has_the_baselines_graph(row) for row in rows):
        notes.append(
            f'"{SAME_GRAPH}": the model differs from the baseline in its weights\' values alone, so it runs the same '
            "instructions in the same time; zeros in a dense matrix make nothing faster."
        )
    if any(row["retention"] is not None for row in rows):
        notes.append(
            "Retention: score / teacher's score; above chance: both less the score of the best constant answer. "
            "Their 95 % are over dev rows, not over seeds; p is paired against the teacher's answers, "
            "adjusted for all rows by Holm."
        )
    if comparison.get("tokenization"):
        notes.append(f"Tokenizing a request, part of no latency: {_tokenization(comparison['tokenization'])}.")
    if comparison.get("over_seeds"):
        notes.append(
            "Over seeds: mean of trainings that differ in their seed; differences are taken seed by seed. Intervals "
            "over seeds hold what another training would change on these dev rows (Student's t), those over seeds and "
            "rows what other dev rows would change as well. Intervals of single rows are over dev rows alone."
        )
    machine = _machine(comparison["environment"], runtimes)
    return [*notes, machine] if machine else notes


def _has_the_baselines_graph(row: dict[str, Any]) -> bool:
    intervals = [interval for shapes in row["speedup"].values() for interval in shapes.values()]
    return row["chain"] != BASELINE and SAME_GRAPH in map(format_interval, intervals)


def _tokenization(by_task: dict[str, dict[str, dict[str, float]]]) -> str:
    """Task, shape and milliseconds."""
    return ", ".join(
        f"{task} ({shape}) {format_milliseconds(found['median_ns'])} ms, p95 {format_milliseconds(found['p95_ns'])} ms"
        for task, shapes in by_task.items()
        for shape, found in shapes.items()
    )


def _machine(environment: dict[str, Any], runtimes: Sequence[str]) -> str:
    """CPU, threads and the versions of the runtimes that were timed, as far as they are known."""
    packages = environment.get("packages") or {}
    threads = environment.get("threads")
    timed = dict.fromkeys(["onnxruntime", *(runtime.partition("-")[0] for runtime in runtimes)])
    parts = [
        environment.get("cpu"),
        f"{threads} thread{'' if threads == 1 else 's'}" if threads else None,
        *(f"{name} {packages[name]}" for name in timed if name in packages),
        environment.get("isa_class"),
    ]
    known = ", ".join(str(part) for part in parts if part)
    return f"Measured on: {known}." if known else ""
