"""A task is a value: columns, labels, metrics and splits; where its rows come from is said elsewhere."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a task is, whoever provides its rows."""

    name: str
    """As the user types it: ``CoLA``, ``synthetic-sentiment``, the stem of an own file."""
    suite: str
    """``glue``, ``synthetic`` or ``own``."""
    text_columns: tuple[str, ...]
    """One name for single texts, two for pairs."""
    labels: tuple[str, ...]
    """Label names in id order; empty for regression."""
    metrics: tuple[str, ...]
    """evaluate's keys; the first is the primary score."""
    dev_splits: tuple[str, ...] = ("dev",)
    """Splits that are scored; two for MNLI (`dev_matched`, `dev_mismatched`), the first is primary."""
    reference: str = ""
    max_length: int = 128
    """Token limit of a row, special tokens included."""
    training: Mapping[str, object] = field(default_factory=dict)
    """Values for parameters left at ``auto``, as ``"distill.intermediate_epochs": 20``."""

    @property
    def is_pair(self) -> bool:
        """Whether a row holds two texts."""
        return len(self.text_columns) == 2

    @property
    def is_regression(self) -> bool:
        """Whether labels are real numbers (STS-B)."""
        return not self.labels

    @property
    def output_count(self) -> int:
        """Logits per row: the number of classes, 1 for regression."""
        return len(self.labels) or 1

    @property
    def is_generated(self) -> bool:
        """Whether the rows are made up by a grammar rather than taken from people."""
        return self.suite == "synthetic"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of one split, in file order."""

    first: Sequence[str]
    second: Sequence[str] | None
    """The second texts of pairs; None for single texts."""
    labels: np.ndarray | None
    """int64 class ids, or float64 for regression; None for unlabelled rows."""

    def __len__(self) -> int:
        return len(self.first)

    def take(self, indices: Sequence[int] | np.ndarray) -> "Rows":
        """The rows at `indices`, in that order."""
        return Rows(
            first=[self.first[index] for index in indices],
            second=None if self.second is None else [self.second[index] for index in indices],
            labels=None if self.labels is None else self.labels[np.asarray(indices, dtype=np.int64)],
        )

    @property
    def fingerprint(self) -> str:
        """sha256 over texts and labels: equal rows give equal keys, whatever file they came from."""
        digest = hashlib.sha256()
        for column in (self.first, self.second or ()):
            for text in column:
                encoded = text.encode()
                digest.update(len(encoded).to_bytes(4, "little") + encoded)
            digest.update(b"|")
        if self.labels is not None:
            digest.update(self.labels.astype(np.float64).tobytes())
        return digest.hexdigest()


def majority_share(labels: np.ndarray) -> float:
    """Share of the most frequent class: the accuracy of a model that has learned nothing."""
    counts = np.unique(labels, return_counts=True)[1]
    return float(counts.max() / counts.sum())
