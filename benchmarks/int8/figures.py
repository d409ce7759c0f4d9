"""Figures of the table: paired speedups, agreement with fp32, and what the score loses, pooled over tasks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.int8.models import Row
from compressbench.encodings import Encodings
from compressbench.harness.latency import measure_latency
from compressbench.harness.measuring_process import Subject
from compressbench.harness.shapes import Shape
from compressbench.models.onnx_graph import graph_key
from compressbench.numerics.weighted_metrics import weighted_metric
from compressbench.prediction import Forward, predict
from compressbench.progress import Progress
from compressbench.records.schema import LatencyRecord
from compressbench.stats import Interval, ratio_interval, resampled_scores
from compressbench.tasks.data import TaskData

MOST_PROCESSES = 8
"""With fewer fresh processes intervals are too narrow."""
Place = tuple[str, str, str]
"""Name of a row, runtime, shape."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How a model answers beside the fp32 baseline, on one task's dev rows."""

    same: int
    rows: int
    score: float
    baseline_score: float
    deltas: np.ndarray
    """Score differences, candidate minus baseline, over resamples of the rows."""

    @property
    def rate(self) -> float:
        """Share of rows answered alike."""
        return self.same / self.rows

    @property
    def ratio(self) -> float:
        """Score over the baseline's; not a number where that is no positive number."""
        return self.score / self.baseline_score if self.baseline_score > 0 else float("nan")


def speedups(
    rows: Sequence[Row],
    *,
    baseline: str,
    runtimes: Sequence[str],
    shapes: Sequence[Shape],
    threads: int,
    rounds: int,
    progress: Progress,
) -> tuple[dict[Place, Interval], dict[Place, float]]:
    """Each row's speedup over the baseline in the first runtime, and median latencies in nanoseconds.

    Args:
        rows: Models with distinct graphs.
        baseline: Name of the row that the others are compared with.
        runtimes: Their blocks are shuffled together.
        shapes: Batch x tokens.
        threads: Intra-op threads.
        rounds: In all, spread over fresh processes, `MOST_PROCESSES` at most.
        progress: Told of every block.
    """
    records: list[LatencyRecord] = []
    subjects = [
        Subject(
            measured_key=row.model.key, graph_key=graph_key(row.model.onnx_path), onnx_path=row.model.onnx_path,
            torch_path=row.model.torch_path,
        )
        for row in rows
    ]  # fmt: skip
    measure_latency(
        subjects, runtimes=runtimes, shapes=shapes, threads=(threads,), session=1, done=(), on_record=records.append,
        progress=progress, rounds=rounds, generations=min(MOST_PROCESSES, rounds),
    )  # fmt: skip
    names = {row.model.key: row.name for row in rows}
    medians: dict[Place, dict[int, dict[int, float]]] = {}
    for record in records:
        place = names[record.measured_key], record.runtime, record.shape
        medians.setdefault(place, {}).setdefault(record.process, {})[record.round] = float(np.median(record.samples_ns))
    blocks = {
        place: [[rounds_ns[number] for number in sorted(rounds_ns)] for _, rounds_ns in sorted(processes.items())]
        for place, processes in medians.items()
    }
    ratios = {
        place: ratio_interval(blocks[baseline, runtimes[0], place[2]], values, seed=0)
        for place, values in blocks.items()
    }
    return ratios, {place: float(np.median(np.concatenate(values))) for place, values in blocks.items()}


def agreements(
    rows: Sequence[Row], data: TaskData, *, open_row: Callable[[Path], Forward], progress: Progress
) -> dict[str, Agreement]:
    """How each row answers the task's first dev split beside the first row, which is the baseline.

    Args:
        rows: The baseline first.
        data: The task; its labels are classes.
        open_row: Opens a model's file.
        progress: Told of each batch.
    """
    task, split = data.task, data.task.dev_splits[0]
    metric = weighted_metric(task.metrics[0], class_count=len(task.labels))
    assert metric is not None  # every GLUE metric has a weighted form
    references = data.rows(split).labels
    assert references is not None  # dev splits of GLUE files have labels
    answers, encodings = {}, Encodings()
    for row in rows:
        encoded = encodings.split(data, split, tokenizer_path=row.model.tokenizer_path)
        forward = open_row(row.model.onnx_path)
        logits = predict(forward, encoded, progress=progress, name=f"{task.name}: {row.name}")
        answers[row.name] = logits.argmax(axis=1)
    exact = answers[rows[0].name]
    found = {}
    for name, given in answers.items():
        (before, after), resampled = resampled_scores(metric, [exact, given], references, seed=0)
        found[name] = Agreement(
            same=int((given == exact).sum()),
            rows=len(exact),
            score=after,
            baseline_score=before,
            deltas=resampled[1] - resampled[0],
        )
    return found


def pooled_drop(by_task: Mapping[str, Agreement]) -> tuple[float, float, float]:
    """Mean over tasks of score minus baseline's, with the 95 % interval of resampled dev rows, as fractions."""
    centre = float(np.mean([each.score - each.baseline_score for each in by_task.values()]))
    low, high = np.percentile(np.mean([each.deltas for each in by_task.values()], axis=0), [2.5, 97.5])
    return centre, min(float(low), centre), max(float(high), centre)
