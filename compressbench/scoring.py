"""Scores of a row and how they compare with the teacher's answers to the same dev rows."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from compressbench.errors import BadInput
from compressbench.numerics.weighted_metrics import weighted_metric
from compressbench.records.run_index import RunIndex
from compressbench.records.schema import CellRecord, QualityRecord, TaskRecord
from compressbench.stats import (
    Difference,
    bootstrap_interval,
    mcnemar_p,
    paired_bootstrap,
    retained_interval,
    wilson_interval,
)
from compressbench.tasks.scores import compute_scores, task_scores
from compressbench.tasks.task import Task

BOOTSTRAP_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What one model answers on one split, beside the right answers."""

    labels: tuple[str, ...]
    """Empty for regression."""
    logits: np.ndarray
    """float64 [rows, outputs]."""
    references: np.ndarray

    @cached_property
    def predictions(self) -> np.ndarray:
        """Class ids, or numbers for regression."""
        chosen: np.ndarray = self.logits.argmax(axis=1) if self.labels else self.logits[:, 0]
        return chosen

    @property
    def undefined_rows(self) -> int:
        """Rows with a logit that is NaN or infinite."""
        return int((~np.isfinite(self.logits)).any(axis=1).sum())


def answers_from(record: QualityRecord, task: TaskRecord) -> Answers:
    """Arrays of a quality record.

    Raises:
        BadInput: If there are not as many answers as references, or none.
    """
    logits = np.asarray(record.logits, dtype=np.float64)
    references = np.asarray(record.references, dtype=np.float64)
    if logits.ndim != 2 or len(logits) != len(references) or not len(logits):
        raise BadInput(
            f"the quality record of {record.measured_key[:12]} on {record.task} {record.split} has "
            f"{len(record.logits)} answers to {len(references)} references: measure it again"
        )
    return Answers(
        labels=tuple(task.labels),
        logits=logits,
        references=references.astype(np.int64) if task.labels else references,
    )


def split_answers(cell: CellRecord, index: RunIndex) -> dict[str, Answers]:
    """A cell's answers by dev split, the primary split first; empty unless all splits were answered."""
    task = index.tasks.get(cell.task)
    if task is None or cell.error:
        return {}
    records = {split: index.quality.get((cell.measured_key, cell.task, split)) for split in task.dev_splits}
    return {split: answers_from(record, task) for split, record in records.items() if record and all(records.values())}


def scores_of(task: TaskRecord, by_split: dict[str, Answers]) -> dict[str, float]:
    """All scores of a task, the primary one first; empty where a logit is NaN or infinite."""
    if any(answers.undefined_rows for answers in by_split.values()):
        return {}
    return task_scores(
        task_of(task),
        {split: answers.logits for split, answers in by_split.items()},
        {split: answers.references for split, answers in by_split.items()},
    )


def task_of(record: TaskRecord) -> Task:
    """The task as a value, as far as scoring needs it."""
    return Task(
        name=record.task,
        suite=record.suite,
        text_columns=("text",),
        labels=tuple(record.labels),
        metrics=tuple(record.metrics),
        dev_splits=tuple(record.dev_splits),
    )


def chance_score(metric: str, answers: Answers) -> float:
    """Score of the best constant answer: the majority class's share for accuracy, for F1 that of always saying it.

    Correlations (Matthews', Pearson's, Spearman's) with a constant count as 0.
    """
    if metric not in ("accuracy", "f1"):
        return 0.0
    share = float((answers.references == best_constant(metric, answers)).mean())
    if metric == "accuracy":
        return share
    f1 = 2 * share / (1 + share)
    return f1 if len(answers.labels) == 2 else f1 / len(np.unique(answers.references))


def best_constant(metric: str, answers: Answers) -> float:
    """The answer that scores best where every row is given the same: the most frequent one.

    F1 of two classes is class 1's: always saying the other scores 0, however frequent it is.
    """
    if metric == "f1" and len(answers.labels) == 2:
        return 1
    values, counts = np.unique(answers.references, return_counts=True)
    return float(values[counts.argmax()])


def primary_score(metric: str, answers: Answers) -> float:
    """The primary metric of one split."""
    return compute_scores([metric], answers.logits, answers.references)[metric]


def score_interval(metric: str, answers: Answers) -> tuple[float, float] | None:
    """95 % interval over dev rows: Wilson's for accuracy, bootstrap percentiles else; None for unknown metrics."""
    if metric == "accuracy":
        right = int((answers.predictions == answers.references).sum())
        return wilson_interval(right, len(answers.references))
    weighted = weighted_metric(metric, class_count=len(answers.labels))
    if weighted is None:
        return None
    return bootstrap_interval(weighted, answers.predictions, answers.references, seed=BOOTSTRAP_SEED)


def score_difference(metric: str, baseline: Answers, candidate: Answers) -> Difference | None:
    """Candidate minus baseline on the same rows; for accuracy the p-value is McNemar's exact one.

    None for a metric without a weighted form.

    Raises:
        BadInput: If the two did not answer the same rows.
    """
    check_same_rows(baseline, candidate)
    weighted = weighted_metric(metric, class_count=len(baseline.labels))
    if weighted is None:
        return None
    found = paired_bootstrap(
        weighted, baseline.predictions, candidate.predictions, baseline.references, seed=BOOTSTRAP_SEED
    )
    return replace(found, p_value=mcnemar_p(*flips(baseline, candidate))) if metric == "accuracy" else found


def retention_interval(metric: str, baseline: Answers, candidate: Answers) -> tuple[float, float] | None:
    """95 % interval over dev rows of retention above chance; None where the teacher may be no better than chance."""
    weighted = weighted_metric(metric, class_count=len(baseline.labels))
    if weighted is None:
        return None
    constant = np.full_like(baseline.predictions, best_constant(metric, baseline))
    return retained_interval(
        weighted,
        baseline.predictions,
        candidate.predictions,
        constant,
        baseline.references,
        seed=BOOTSTRAP_SEED,
    )


def flips(baseline: Answers, candidate: Answers) -> tuple[int, int]:
    """Rows the baseline has right and the candidate wrong, and the other way round."""
    before = baseline.predictions == baseline.references
    after = candidate.predictions == candidate.references
    return int((before & ~after).sum()), int((~before & after).sum())


def agreement_of(baseline: Answers, candidate: Answers) -> dict[str, Any]:
    """How alike two models answer; for regression, where no answers are equal, the logits' distance alone."""
    check_same_rows(baseline, candidate)
    farthest = float(np.abs(baseline.logits - candidate.logits).max())
    if not baseline.labels:
        return {"rate": None, "flips_to_wrong": None, "flips_to_right": None, "max_abs_logit_delta": farthest}
    to_wrong, to_right = flips(baseline, candidate)
    return {
        "rate": float((baseline.predictions == candidate.predictions).mean()),
        "flips_to_wrong": to_wrong,
        "flips_to_right": to_right,
        "max_abs_logit_delta": farthest,
    }


def check_same_rows(baseline: Answers, candidate: Answers) -> None:
    """Refuse to pair answers to different rows.

    Raises:
        BadInput: If references or the number of outputs differ.
    """
    if baseline.logits.shape != candidate.logits.shape or not np.array_equal(baseline.references, candidate.references):
        raise BadInput(
            "two models answered different dev rows, so their scores cannot be compared in pairs: "
            "measure both on the same data"
        )
