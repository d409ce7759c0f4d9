from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, rankdata, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from compressbench.numerics.weighted_metrics import (
    WeightedMetric,
    accuracy,
    f1,
    macro_f1,
    matthews_correlation,
    pearson,
    spearman,
    weighted_metric,
    weighted_ranks,
)


@st.composite
def resamples(draw: st.DrawFn, *, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers, references and a few vectors of row counts, none of them empty."""
    rows = draw(st.integers(1, 12))
    values = st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows)
    counts = st.lists(st.integers(0, 3), min_size=rows, max_size=rows).filter(any)
    weights = draw(st.lists(counts, min_size=1, max_size=3))
    return np.array(draw(values)), np.array(draw(values)), np.array(weights, dtype=float)


def repeated(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.repeat(values, counts.astype(int))


@pytest.mark.parametrize(
    ("metric", "independent", "classes"),
    [
        (accuracy, accuracy_score, 3),
        (f1, lambda true, said: f1_score(true, said, zero_division=0), 2),
        (macro_f1, lambda true, said: f1_score(true, said, average="macro", zero_division=0), 4),
        (matthews_correlation, matthews_corrcoef, 2),
        (matthews_correlation, matthews_corrcoef, 4),
    ],
)
@pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")
def test_weights_are_repeated_rows(metric: WeightedMetric, independent: Callable[..., float], classes: int) -> None:
    @given(resamples(classes=classes))
    @settings(max_examples=60, deadline=None)
    def check(drawn: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        predictions, references, weights = drawn
        expected = [independent(repeated(references, counts), repeated(predictions, counts)) for counts in weights]
        assert metric(predictions, references, weights) == pytest.approx(expected, abs=1e-12)

    check()


@pytest.mark.parametrize(("metric", "independent"), [(pearson, pearsonr), (spearman, spearmanr)])
def test_correlations_of_repeated_rows(metric: WeightedMetric, independent: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    predictions, references = rng.integers(0, 8, 40) / 2, rng.integers(0, 8, 40) / 3
    weights = rng.multinomial(40, np.full(40, 1 / 40), size=5).astype(float)
    expected = [
        independent(repeated(predictions, counts), repeated(references, counts)).statistic for counts in weights
    ]
    assert metric(predictions, references, weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", [pearson, spearman, matthews_correlation])
def test_a_constant_side_correlates_with_nothing(metric: WeightedMetric) -> None:
    assert metric(np.ones(4), np.arange(4.0), np.ones((2, 4))) == pytest.approx([0.0, 0.0])


def test_ranks_share_ties() -> None:
    values = np.array([5.0, 1.0, 5.0, 2.0])
    assert weighted_ranks(values, np.ones((1, 4)))[0] == pytest.approx(rankdata(values))


def test_f1_is_a_mean_over_classes_beyond_two() -> None:
    assert weighted_metric("f1", class_count=2) is f1
    assert weighted_metric("f1", class_count=3) is macro_f1
    assert weighted_metric("bleu", class_count=2) is None
