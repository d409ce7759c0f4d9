"""Is the teacher worth compressing? Its primary score on the dev split against that of the best constant answer."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from compressbench.errors import WeakTeacher
from compressbench.tasks.scores import compute_scores
from compressbench.tasks.task import Task, majority_share

ROUNDING = 1e-9
"""Two ways to compute the same share may differ by as much."""


@dataclass(frozen=True, kw_only=True)
class TeacherStrength:
    """What a teacher scores, and what a model that has learned nothing does."""

    metric: str
    score: float
    """NaN where an output is NaN or infinite."""
    constant: float
    """Of the best constant answer: the majority class's share for accuracy, 0 for correlations."""

    @property
    def is_weak(self) -> bool:
        """Whether it is no better than a constant answer."""
        return not self.score > self.constant + ROUNDING


def teacher_strength(
    task: Task, logits_by_split: Mapping[str, np.ndarray], references_by_split: Mapping[str, np.ndarray]
) -> TeacherStrength:
    """Strength by the primary score on the primary dev split."""
    split, metric = task.dev_splits[0], task.metrics[0]
    logits, references = logits_by_split[split], references_by_split[split]
    finite = bool(np.isfinite(logits).all())
    score = compute_scores([metric], logits, references)[metric] if finite else float("nan")
    return TeacherStrength(metric=metric, score=score, constant=_constant_score(task, references))


def check_strength(
    task: Task,
    logits_by_split: Mapping[str, np.ndarray],
    references_by_split: Mapping[str, np.ndarray],
    *,
    allow_weak: bool = False,
) -> tuple[str, ...]:
    """Stop at a teacher that has learned nothing; with `allow_weak`, return the warning its rows must carry.

    Raises:
        WeakTeacher: If it is no better than a constant answer, and that is not allowed.
    """
    strength = teacher_strength(task, logits_by_split, references_by_split)
    if not strength.is_weak:
        return ()
    known = "the majority class's share is" if strength.metric == "accuracy" else "a constant answer has"
    found = (
        f"the teacher of {task.name} has {strength.metric} {strength.score:.3f} on dev and {known} "
        f"{strength.constant:.3f}: it has learned nothing that compression could keep"
    )
    if not allow_weak:
        raise WeakTeacher(f"{found}; train it longer or with another learning rate, or pass --allow-weak-teacher")
    return (found,)


def _constant_score(task: Task, references: np.ndarray) -> float:
    if task.metrics[0] == "accuracy":
        return majority_share(references)
    if task.metrics[0] == "f1":
        share = float((references == 1).mean()) if len(task.labels) == 2 else majority_share(references)
        present = 1 if len(task.labels) == 2 else len(np.unique(references))
        return 2 * share / (1 + share) / present
    return 0.0
