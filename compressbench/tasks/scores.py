"""Scores of predictions, under evaluate's names; numpy alone, no state, never NaN.

`evaluate_metric.TaskScores` is the same as an `evaluate.Metric`.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from compressbench.errors import CompressbenchError, InvalidParameter, listed
from compressbench.tasks.task import Task


def predicted(logits: np.ndarray, is_regression: bool) -> np.ndarray:  # noqa: FBT001
    """What a model answers: the class of the largest logit (int64), or the number itself (float64).

    Args:
        logits: [rows, outputs]; one output for regression.
        is_regression: Whether outputs are numbers rather than classes.

    Raises:
        CompressbenchError: If a logit is NaN or infinite: its row would silently count as class 0.
    """
    bad_count = int(np.count_nonzero(~np.isfinite(logits).all(axis=1)))
    if bad_count:
        raise CompressbenchError(
            f"the model's outputs are NaN or infinite for {bad_count} of {len(logits)} rows, so it has no score"
        )
    answers: np.ndarray = logits[:, 0].astype(np.float64) if is_regression else logits.argmax(axis=1).astype(np.int64)
    return answers


def accuracy(predictions: np.ndarray, references: np.ndarray) -> float:
    """Share of rows answered right."""
    return float(np.mean(predictions == references))


def f1(predictions: np.ndarray, references: np.ndarray, *, class_count: int = 2) -> float:
    """F1 of class 1 for two classes; beyond two the plain mean over classes (macro).

    Classes that occur neither in predictions nor in references are left out of the mean, as scikit-learn does.
    A class that is never right has 0.
    """
    if class_count == 2:
        return _f1_of(1, predictions, references)
    present = np.union1d(predictions, references)
    return float(np.mean([_f1_of(label, predictions, references) for label in present]))


def _f1_of(label: int, predictions: np.ndarray, references: np.ndarray) -> float:
    right = int(np.count_nonzero((predictions == label) & (references == label)))
    both = int(np.count_nonzero(predictions == label) + np.count_nonzero(references == label))
    return 2 * right / both if both else 0.0


def matthews_correlation(predictions: np.ndarray, references: np.ndarray) -> float:
    """Correlation of predicted and true classes, any number of them; 0 where either is constant.

    Reference:
        Gorodkin 2004, "Comparing two K-category assignments by a K-category correlation coefficient"; for two
        classes it is Matthews' formula.
    """
    _, codes = np.unique(np.concatenate([predictions, references]), return_inverse=True)
    predicted_codes, true_codes = codes[: len(predictions)], codes[len(predictions) :]
    size = int(codes.max()) + 1
    # Python's integers: products of counts leave 64 bits behind at a few million rows.
    guessed = [int(count) for count in np.bincount(predicted_codes, minlength=size)]
    true = [int(count) for count in np.bincount(true_codes, minlength=size)]
    rows, right = len(predictions), int(np.count_nonzero(predicted_codes == true_codes))
    together = right * rows - sum(a * b for a, b in zip(guessed, true, strict=True))
    spread = (rows**2 - sum(a * a for a in guessed)) * (rows**2 - sum(b * b for b in true))
    return float(together / np.sqrt(float(spread))) if spread else 0.0


def pearson(predictions: np.ndarray, references: np.ndarray) -> float:
    """Linear correlation, in [-1, 1]; 0 where either is constant."""
    if len(predictions) < 2 or np.ptp(predictions) == 0 or np.ptp(references) == 0:
        return 0.0
    first, second = (_unit(np.asarray(values, dtype=np.float64)) for values in (predictions, references))
    return float(np.clip(first @ second, -1.0, 1.0))


def _unit(values: np.ndarray) -> np.ndarray:
    """Centred and of length 1; divided by the largest first, so that squares neither overflow nor vanish."""
    centred = values - values.mean()
    centred = centred / np.abs(centred).max()
    unit: np.ndarray = centred / np.linalg.norm(centred)
    return unit


def spearmanr(predictions: np.ndarray, references: np.ndarray) -> float:
    """Correlation of ranks, ties at their average; 0 where either is constant."""
    return pearson(average_ranks(predictions), average_ranks(references))


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share the mean of the ranks they take: ``[5, 1, 5]`` is ``[2.5, 1, 2.5]``."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: np.ndarray = (last - (counts - 1) / 2)[places]
    return ranks


METRICS: Mapping[str, Callable[..., float]] = MappingProxyType(
    {
        "matthews_correlation": matthews_correlation,
        "accuracy": accuracy,
        "f1": f1,
        "pearson": pearson,
        "spearmanr": spearmanr,
    }
)
"""Every metric by evaluate's key: functions of predictions and references."""

REGRESSION_METRICS = ("spearmanr", "pearson")
_METRIC_NAMES = {
    "matthews_correlation": "MCC",
    "accuracy": "Accuracy",
    "accuracy_mismatched": "Acc. mm",
    "f1": "F1",
    "pearson": "Pearson",
    "spearmanr": "Spearman",
}


def metric_name(metric: str) -> str:
    """A metric's name as tables print it."""
    return _METRIC_NAMES.get(metric, metric)


def score_predictions(
    metrics: Sequence[str], predictions: np.ndarray, references: np.ndarray, *, class_count: int
) -> dict[str, float]:
    """Scores of answers (class ids or numbers) by metric.

    Raises:
        InvalidParameter: If a metric is unknown, or there is not one prediction for each reference, or there are none.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise InvalidParameter(f"unknown metric {unknown[0]!r}: known are {listed(METRICS, last='and')}")
    if len(predictions) != len(references) or not len(references):
        raise InvalidParameter(f"{len(predictions)} predictions for {len(references)} references cannot be scored")
    options = {"f1": {"class_count": class_count}}
    return {name: METRICS[name](predictions, references, **options.get(name, {})) for name in metrics}


def compute_scores(metrics: Sequence[str], logits: np.ndarray, references: np.ndarray) -> dict[str, float]:
    """Scores of a model's outputs by metric.

    Args:
        metrics: evaluate's keys; any correlation of numbers among them means regression.
        logits: [rows, outputs].
        references: [rows]; class ids or numbers.

    Returns:
        Fractions by metric, in the order asked for.
    """
    is_regression = any(name in REGRESSION_METRICS for name in metrics)
    answers = predicted(logits, is_regression)
    return score_predictions(metrics, answers, references, class_count=logits.shape[1])


def task_scores(
    task: Task, logits_by_split: Mapping[str, np.ndarray], references_by_split: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """A task's scores over its dev splits.

    The primary split's metrics have plain names; those of a further split carry its name: MNLI's `dev_mismatched`
    adds `accuracy_mismatched`.
    """
    scores: dict[str, float] = {}
    for split in task.dev_splits:
        found = compute_scores(task.metrics, logits_by_split[split], references_by_split[split])
        scores |= {score_name(name, split, task.dev_splits): score for name, score in found.items()}
    return scores


def score_name(metric: str, split: str, dev_splits: Sequence[str]) -> str:
    """A metric's name among a task's scores: plain for the primary split, with the split's name for a further one."""
    return metric if split == dev_splits[0] else f"{metric}_{split.removeprefix('dev_')}"
