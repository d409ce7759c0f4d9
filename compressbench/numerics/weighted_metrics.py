"""Scores under row weights: a bootstrap resample is a vector of counts, and all resamples are one matrix.

Every metric takes predictions [rows], references [rows] and weights [resamples, rows] and gives one score per
resample. With all weights 1 it equals scikit-learn's or scipy's. Classes are numbers 0, 1, ...
"""

from collections.abc import Callable, Mapping

import numpy as np

WeightedMetric = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def accuracy(predictions: np.ndarray, references: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of rows answered rightly."""
    return _quotient(weights @ (predictions == references).astype(np.float64), weights.sum(axis=1))


def f1(predictions: np.ndarray, references: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """F1 of class 1; 0 where no row has it and none is said to."""
    said, true = (predictions == 1).astype(np.float64), (references == 1).astype(np.float64)
    return _quotient(2 * (weights @ (said * true)), weights @ said + weights @ true)


def macro_f1(predictions: np.ndarray, references: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of the classes' F1; a class that a resample lacks on both sides is left out of its mean."""
    total, present = np.zeros(len(weights)), np.zeros(len(weights))
    for each in np.unique(np.concatenate([predictions, references])):
        said, true = (predictions == each).astype(np.float64), (references == each).astype(np.float64)
        total += f1(said, true, weights)
        present += weights @ np.maximum(said, true) > 0
    return _quotient(total, present)


def matthews_correlation(predictions: np.ndarray, references: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Matthews' correlation for any number of classes (Gorodkin 2004); 0 where a side is constant."""
    classes = np.unique(np.concatenate([predictions, references]))
    said = weights @ (predictions[:, None] == classes).astype(np.float64)
    true = weights @ (references[:, None] == classes).astype(np.float64)
    total = weights.sum(axis=1)
    right = weights @ (predictions == references).astype(np.float64)
    covariance = right * total - (said * true).sum(axis=1)
    spread = (total**2 - (said**2).sum(axis=1)) * (total**2 - (true**2).sum(axis=1))
    return _quotient(covariance, np.sqrt(np.maximum(spread, 0.0)))


def pearson(predictions: np.ndarray, references: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson's correlation; 0 where a side is constant."""
    return _correlation(predictions[None, :], references[None, :], weights)


def spearman(predictions: np.ndarray, references: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation with average ranks for ties; 0 where a side is constant."""
    return _correlation(weighted_ranks(predictions, weights), weighted_ranks(references, weights), weights)


def weighted_ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average rank [resamples, rows] of each row's value when row i occurs ``weights[:, i]`` times."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    counts = np.add.reduceat(weights[:, order], starts, axis=1)
    ranks = np.cumsum(counts, axis=1) - counts + (counts + 1) / 2
    place = np.empty(len(values), dtype=np.int64)
    place[order] = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(values))))
    ranked: np.ndarray = ranks[:, place]
    return ranked


_METRICS: Mapping[str, WeightedMetric] = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews_correlation": matthews_correlation,
    "pearson": pearson,
    "spearmanr": spearman,
}


def weighted_metric(name: str, *, class_count: int) -> WeightedMetric | None:
    """The metric of evaluate's key; None where there is none. F1 beyond two classes is the mean over classes.

    Args:
        name: As a task names it.
        class_count: Of the task; anything for regression.
    """
    if name == "f1" and class_count > 2:
        return macro_f1
    return _METRICS.get(name)


def _correlation(left: np.ndarray, right: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted correlation along rows of arrays that broadcast to [resamples, rows]."""
    total = weights.sum(axis=1, keepdims=True)
    left = left - (weights * left).sum(axis=1, keepdims=True) / total
    right = right - (weights * right).sum(axis=1, keepdims=True) / total
    covariance = (weights * left * right).sum(axis=1)
    spread = np.sqrt((weights * left**2).sum(axis=1) * (weights * right**2).sum(axis=1))
    return _quotient(covariance, spread)


def _quotient(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """``above / below``, 0 where `below` is 0."""
    quotient: np.ndarray = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return quotient
