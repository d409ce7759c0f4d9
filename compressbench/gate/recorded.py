"""A baseline to commit: one small JSON file with what the gate compares of a run, and nothing else.

Answers are class ids (a string of digits where there are at most ten classes) or numbers; latencies are the medians of
blocks. Raw samples, logits and paths stay in the run's folder.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressbench.errors import BadInput
from compressbench.gate.snapshot import GateRow, Int8Share, Place, RowKey, Snapshot, Timed
from compressbench.records.schema import TaskRecord
from compressbench.scoring import Answers

KIND = "compressbench-baseline"
BASELINE_VERSION = 1  # 1: first.
_ENVIRONMENT = ("cpu", "isa_class", "isa_flags", "cores", "threads", "system", "python", "packages", "commit")


def write_recorded(snapshot: Snapshot, path: Path) -> None:
    """Write the baseline, whole or not at all.

    Raises:
        BadInput: If the file cannot be written.
    """
    values = {
        "kind": KIND,
        "schema_version": BASELINE_VERSION,
        "environment": {name: snapshot.environment[name] for name in _ENVIRONMENT if name in snapshot.environment},
        "tasks": [_task_values(snapshot, task) for task in snapshot.tasks.values()],
        "rows": [_row_values(row) for row in snapshot.rows.values()],
    }
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_text(_text(values))
        partial.replace(path)
    except OSError as error:
        raise BadInput(
            f"--to {path} cannot be written ({error.strerror}): give a file in a folder that is there"
        ) from None


def read_recorded(path: Path) -> Snapshot:
    """Read what `write_recorded` wrote.

    Raises:
        BadInput: If the file is no such baseline, is of another schema version, or holds what is no duration or answer.
    """
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} is no readable JSON ({error}): record the baseline anew") from None
    if not isinstance(values, dict) or values.get("kind") != KIND:
        raise BadInput(f"{path} is no recorded baseline: write one with `compressbench gate --record RUN --to FILE`")
    if values.get("schema_version") != BASELINE_VERSION:
        raise BadInput(
            f"{path} is of schema version {values.get('schema_version')!r} and this program reads {BASELINE_VERSION}: "
            "record the baseline anew"
        )
    try:
        tasks = {each["task"]: _task(each) for each in values["tasks"]}
        references = {each["task"]: each["references"] for each in values["tasks"]}
        rows = [_row(each, tasks, references, path=path) for each in values["rows"]]
        environment = dict(values["environment"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"{path} is damaged ({type(error).__name__}: {error}): record the baseline anew") from None
    return Snapshot(name=str(path), environment=environment, tasks=tasks, rows={row.key: row for row in rows})


def _text(values: Mapping[str, Any]) -> str:
    """JSON with a line for each row, so that a committed baseline has readable differences."""
    parts = []
    for name, value in values.items():
        text = json.dumps(value, separators=(",", ":"))
        if isinstance(value, list):
            text = "[\n" + ",\n".join(f"  {json.dumps(each, separators=(',', ':'))}" for each in value) + "\n ]"
        parts.append(f" {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _task_values(snapshot: Snapshot, task: TaskRecord) -> dict[str, Any]:
    own = next((row.answers for row in snapshot.rows.values() if row.key.task == task.task and row.answers), {})
    return {
        "task": task.task,
        "suite": task.suite,
        "labels": list(task.labels),
        "metrics": list(task.metrics),
        "dev_splits": list(task.dev_splits),
        "data_fingerprint": task.data_fingerprint,
        "references": {split: _packed(answers.references, task.labels) for split, answers in own.items()},
    }


def _task(values: Mapping[str, Any]) -> TaskRecord:
    return TaskRecord(**{name: value for name, value in values.items() if name != "references"})


def _row_values(row: GateRow) -> dict[str, Any]:
    return {
        "task": row.key.task,
        "chain": row.key.chain,
        "seed": row.key.seed,
        "method": row.method,
        "size_bytes": row.size_bytes,
        "answers": {split: _packed(each.predictions, each.labels) for split, each in row.answers.items()},
        "latency": [
            {**place._asdict(), "medians_ns": [[*where, round(value)] for where, value in timed.medians_ns.items()]}
            for place, timed in row.latency.items()
        ],
        "int8": [
            {"runtime": runtime, "shape": shape, **vars(share)} for (runtime, shape), share in row.int8.items()
        ],
    }  # fmt: skip


def _row(
    values: Mapping[str, Any], tasks: Mapping[str, TaskRecord], references: Mapping[str, Any], *, path: Path
) -> GateRow:
    task = tasks[values["task"]]
    key = RowKey(task.task, str(values["chain"]), int(values["seed"]))
    where = f"{path}: {key.task}/{key.chain}"
    return GateRow(
        key=key,
        method=values["method"],
        answers={
            split: _answers(packed, references[task.task][split], task, where=f"{where} {split}")
            for split, packed in values["answers"].items()
        },
        size_bytes=None if values["size_bytes"] is None else int(values["size_bytes"]),
        latency={
            Place(each["runtime"], each["shape"], each["threads"]): _timed(each["medians_ns"], where=where)
            for each in values["latency"]
        },
        int8={
            (each["runtime"], each["shape"]): Int8Share(
                gemm_share=each["gemm_share"], constant_gemm_share=each["constant_gemm_share"]
            )
            for each in values["int8"]
        },
    )


def _timed(medians: Sequence[Sequence[float]], *, where: str) -> Timed:
    values = {(int(process), int(number)): float(value) for process, number, value in medians}
    if not values or not all(np.isfinite(value) and value > 0 for value in values.values()):
        raise BadInput(f"{where} holds samples that are empty or no positive durations: record the baseline anew")
    return Timed(medians_ns=values)


def _packed(values: np.ndarray, labels: Sequence[str]) -> str | list[float]:
    """Classes as a string of digits where they fit, numbers with the digits that float32 has."""
    if labels and len(labels) <= 10:
        return "".join(str(int(value)) for value in values)
    return [int(value) if labels else float(f"{value:.8g}") for value in values]


def _answers(packed: str | list[float], references: str | list[float], task: TaskRecord, *, where: str) -> Answers:
    said, true = (np.array([float(value) for value in each]) for each in (packed, references))
    if not len(said) or len(said) != len(true) or not np.isfinite(said).all():
        raise BadInput(f"{where} holds answers that are empty, NaN or not one a row: record the baseline anew")
    labels = tuple(task.labels)
    if not labels:
        return Answers(labels=(), logits=said[:, None], references=true)
    logits = np.eye(len(labels))[said.astype(np.int64)]
    return Answers(labels=labels, logits=logits, references=true.astype(np.int64))
