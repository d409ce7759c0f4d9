"""Scores of models on the same rows: intervals over rows, and tests that know both models answered the same ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from compressbench.stats.ratios import RESAMPLES, percentile_interval

WeightedMetric = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Predictions [rows], references [rows], row weights [resamples, rows] to one score per resample; never NaN."""

_CHUNK_ENTRIES = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A score difference, candidate minus baseline on the same rows, with its interval and two-sided p-value."""

    difference: float
    low: float
    high: float
    p_value: float


def mcnemar_p(only_baseline_right: int, only_candidate_right: int) -> float:
    """Two-sided p-value of McNemar's test on the rows that exactly one of two models answers rightly.

    Exact at every count: each such row is a fair coin if the models are equally good (McNemar 1947).
    """
    discordant = only_baseline_right + only_candidate_right
    ways = term = 1  # whole numbers: exact for any count, and no library to load for it
    for place in range(min(only_baseline_right, only_candidate_right)):
        term = term * (discordant - place) // (place + 1)
        ways += term
    p_value: float = 2 * ways / 2**discordant
    return min(1.0, p_value)


def bootstrap_interval(
    metric: WeightedMetric,
    predictions: np.ndarray,
    references: np.ndarray,
    *,
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of a score over resampled rows, widened to hold the score where it does not."""
    (score,), (resampled,) = resampled_scores(metric, [predictions], references, seed=seed, resamples=resamples)
    low, high = percentile_interval(resampled, confidence)
    return min(low, score), max(high, score)


def paired_bootstrap(
    metric: WeightedMetric,
    baseline: np.ndarray,
    candidate: np.ndarray,
    references: np.ndarray,
    *,
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Difference:
    """Score difference of two models on the same rows: both are scored on each resample of the rows.

    The p-value is the share of resamples whose difference lies at least as far from the observed one as that
    lies from zero, counted with the observed one, so that it is never 0 (Davison & Hinkley 1997, section 4.4).
    """
    scores, resampled = resampled_scores(metric, [baseline, candidate], references, seed=seed, resamples=resamples)
    difference = scores[1] - scores[0]
    deltas = resampled[1] - resampled[0]
    low, high = percentile_interval(deltas, confidence)
    # Sums of weights round in the last place; a tie must count as one.
    extreme = int((np.abs(deltas - difference) >= abs(difference) - 1e-12).sum())
    return Difference(
        difference=difference,
        low=min(low, difference),
        high=max(high, difference),
        p_value=(1 + extreme) / (1 + resamples),
    )


def retained_interval(
    metric: WeightedMetric,
    baseline: np.ndarray,
    candidate: np.ndarray,
    constant: np.ndarray,
    references: np.ndarray,
    *,
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> tuple[float, float] | None:
    """Percentile interval of (candidate - constant) / (baseline - constant), all three scored on each resample of rows.

    None where the baseline is no better than the constant answer in so many resamples that a quotient has no
    finite interval at this confidence (Fieller 1954 has the same case).
    """
    scores, resampled = resampled_scores(
        metric, [baseline, candidate, constant], references, seed=seed, resamples=resamples
    )
    gained, kept = (np.append(resampled[place] - resampled[2], scores[place] - scores[2]) for place in (0, 1))
    defined = gained > 0
    if not defined[-1] or (~defined).mean() > (1 - confidence) / 2:
        return None
    ratios = kept[defined] / gained[defined]
    low, high = percentile_interval(ratios, confidence)
    return min(low, float(ratios[-1])), max(high, float(ratios[-1]))


def resampled_scores(
    metric: WeightedMetric,
    models: Sequence[np.ndarray],
    references: np.ndarray,
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> tuple[list[float], np.ndarray]:
    """Scores of each model on all rows, and on each resample: [models, resamples].

    Rows that all models answer alike and that have the same reference are one group: a resample is a multinomial
    draw over groups, which for classes is a few numbers instead of thousands of row indices, and no approximation.
    The resamples are the same for all models: what is computed of several is paired by row.
    """
    rows = np.stack([*models, references]).astype(np.float64)
    groups, sizes = np.unique(rows, axis=1, return_counts=True)
    *answers, truth = groups
    scores = [float(metric(answer, truth, sizes[None, :].astype(np.float64))[0]) for answer in answers]
    rng = np.random.default_rng(seed)
    total = int(sizes.sum())
    chunk = max(1, _CHUNK_ENTRIES // len(sizes))
    parts = []
    for start in range(0, resamples, chunk):
        draws = rng.multinomial(total, sizes / total, size=min(chunk, resamples - start)).astype(np.float64)
        parts.append(np.stack([metric(answer, truth, draws) for answer in answers]))
    return scores, np.concatenate(parts, axis=1)
