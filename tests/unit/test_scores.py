"""Every metric against scikit-learn or scipy, and what they do where those have no answer."""

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn import metrics as sklearn_metrics

from compressbench.errors import CompressbenchError, InvalidParameter
from compressbench.tasks.catalog import all_tasks
from compressbench.tasks.scores import (
    accuracy,
    average_ranks,
    compute_scores,
    f1,
    matthews_correlation,
    pearson,
    predicted,
    score_predictions,
    spearmanr,
    task_scores,
)

Metric = Callable[[np.ndarray, np.ndarray], float]
EXACT = {"rel": 0, "abs": 1e-12}


@st.composite
def two_columns(draw: st.DrawFn, elements: st.SearchStrategy) -> tuple[np.ndarray, np.ndarray]:
    rows = draw(st.integers(2, 60))
    return tuple(np.array(draw(st.lists(elements, min_size=rows, max_size=rows))) for _ in range(2))


binary = two_columns(st.integers(0, 1))
classes = two_columns(st.integers(0, 4))
# A grid: values whose differences drown in their size have no correlation that two programs agree on.
numbers = two_columns(st.integers(-1000, 1000).map(lambda value: value / 8))


@given(classes)
def test_accuracy_and_mcc_agree_with_scikit_learn(columns: tuple[np.ndarray, np.ndarray]) -> None:
    predictions, references = columns
    assert accuracy(predictions, references) == pytest.approx(
        sklearn_metrics.accuracy_score(references, predictions), **EXACT
    )
    with warnings.catch_warnings(action="ignore"):
        expected = sklearn_metrics.matthews_corrcoef(references, predictions)
    assert matthews_correlation(predictions, references) == pytest.approx(expected, **EXACT)


@given(binary)
def test_binary_f1_and_mcc_agree_with_scikit_learn(columns: tuple[np.ndarray, np.ndarray]) -> None:
    predictions, references = columns
    expected = sklearn_metrics.f1_score(references, predictions, zero_division=0.0)
    assert f1(predictions, references) == pytest.approx(expected, **EXACT)
    with warnings.catch_warnings(action="ignore"):
        expected = sklearn_metrics.matthews_corrcoef(references, predictions)
    assert matthews_correlation(predictions, references) == pytest.approx(expected, **EXACT)


@given(classes)
def test_f1_beyond_two_classes_is_macro(columns: tuple[np.ndarray, np.ndarray]) -> None:
    predictions, references = columns
    expected = sklearn_metrics.f1_score(references, predictions, average="macro", zero_division=0.0)
    assert f1(predictions, references, class_count=5) == pytest.approx(expected, **EXACT)


@given(numbers)
def test_correlations_agree_with_scipy(columns: tuple[np.ndarray, np.ndarray]) -> None:
    predictions, references = columns
    assume(np.ptp(predictions) > 0 and np.ptp(references) > 0)
    assert pearson(predictions, references) == pytest.approx(stats.pearsonr(predictions, references)[0], **EXACT)
    assert spearmanr(predictions, references) == pytest.approx(stats.spearmanr(predictions, references)[0], **EXACT)


@given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.integers(-5, 5).map(float)))
def test_ranks_agree_with_scipy(values: np.ndarray) -> None:
    assert average_ranks(values).tolist() == stats.rankdata(values).tolist()


@given(
    st.sampled_from([accuracy, f1, matthews_correlation, pearson, spearmanr]),
    two_columns(st.floats(allow_nan=False, allow_infinity=False, width=32)),
)
def test_a_score_is_never_nan_and_stays_in_its_range(metric: Metric, columns: tuple[np.ndarray, np.ndarray]) -> None:
    score = metric(*columns)
    assert isinstance(score, float)
    assert -1.0 <= score <= 1.0


@pytest.mark.parametrize("metric", [matthews_correlation, f1, pearson, spearmanr])
def test_constant_predictions_score_zero(metric: Metric) -> None:
    assert metric(np.zeros(4), np.array([0.0, 1.0, 1.0, 0.0])) == 0.0
    assert math.copysign(1, metric(np.zeros(4), np.zeros(4))) == 1.0


@pytest.mark.parametrize("metric", [pearson, spearmanr])
def test_one_row_has_no_correlation(metric: Metric) -> None:
    assert metric(np.array([1.0]), np.array([2.0])) == 0.0


def test_mcc_of_millions_of_rows_does_not_overflow() -> None:
    labels = np.tile([0, 1], 3_000_000)
    assert matthews_correlation(labels, labels) == 1.0


def test_predicted_is_the_largest_logit_or_the_number() -> None:
    assert predicted(np.array([[0.1, 0.9, 0.0], [2.0, 1.0, 0.0]], dtype=np.float32), False).tolist() == [1, 0]
    numbers = predicted(np.array([[0.5], [-1.0]], dtype=np.float32), True)
    assert (numbers.tolist(), numbers.dtype) == ([0.5, -1.0], np.float64)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_no_numbers_have_no_score(bad: float) -> None:
    with pytest.raises(CompressbenchError, match="outputs are NaN or infinite for 1 of 2 rows") as refused:
        compute_scores(("accuracy",), np.array([[0.0, 1.0], [bad, 0.0]]), np.array([1, 0]))
    assert refused.value.exit_code == 1


def test_compute_scores_keeps_the_order_asked_for() -> None:
    logits, references = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]), np.array([1, 0, 0])
    scores = compute_scores(("f1", "accuracy"), logits, references)
    assert list(scores.items()) == [("f1", pytest.approx(2 / 3)), ("accuracy", pytest.approx(2 / 3))]


def test_compute_scores_of_numbers() -> None:
    logits, references = np.array([[0.0], [1.0], [3.0]]), np.array([0.0, 2.0, 3.0])
    scores = compute_scores(("spearmanr", "pearson"), logits, references)
    assert scores == {
        "spearmanr": pytest.approx(1.0),
        "pearson": pytest.approx(float(np.corrcoef(logits[:, 0], references)[0, 1])),
    }


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="unknown metric 'auc': known are accuracy, f1, matthews_correlation"):
        score_predictions(("auc",), np.array([1]), np.array([1]), class_count=2)


@pytest.mark.parametrize(("predictions", "references"), [([1, 0], [1]), ([], [])])
def test_rows_that_do_not_match_are_refused(predictions: list[int], references: list[int]) -> None:
    with pytest.raises(InvalidParameter, match=r"\d predictions for \d references cannot be scored"):
        score_predictions(("accuracy",), np.array(predictions), np.array(references), class_count=2)


def test_mnli_has_a_score_for_each_split() -> None:
    logits = {"dev_matched": np.eye(3), "dev_mismatched": np.eye(3)[[0, 0]]}
    references = {"dev_matched": np.array([0, 1, 2]), "dev_mismatched": np.array([0, 1])}
    assert task_scores(all_tasks()["MNLI"], logits, references) == {"accuracy": 1.0, "accuracy_mismatched": 0.5}


def test_a_task_with_one_split_has_plain_names() -> None:
    logits, references = {"dev": np.eye(2)}, {"dev": np.array([0, 1])}
    assert task_scores(all_tasks()["MRPC"], logits, references) == {"accuracy": 1.0, "f1": 1.0}
