import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from compressbench.errors import UnknownName
from compressbench.tasks.evaluate_metric import TaskScores
from compressbench.tasks.task import Task


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a metric opened a connection")

    monkeypatch.setattr("socket.socket.connect", refuse)


def draw(count: int, *, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    references = rng.integers(0, classes, size=count)
    return np.where(rng.random(count) < 0.7, references, rng.integers(0, classes, size=count)), references


@pytest.mark.parametrize("batch_size", [1, 32, 97])
def test_mcc_agrees_with_scikit_learn_however_it_is_batched(batch_size: int) -> None:
    predictions, references = draw(97, classes=2)
    metric = TaskScores("cola")
    for start in range(0, 97, batch_size):
        rows = slice(start, start + batch_size)
        metric.add_batch(predictions=predictions[rows], references=references[rows])
    expected = matthews_corrcoef(references, predictions)
    assert metric.compute() == {"matthews_correlation": pytest.approx(expected, abs=1e-12, rel=0)}


def test_regression_keeps_all_digits() -> None:
    rng = np.random.default_rng(1)
    references = rng.random(50) * 5
    predictions = references + rng.random(50)
    assert TaskScores("stsb").compute(predictions=predictions, references=references) == {
        "spearmanr": pytest.approx(stats.spearmanr(predictions, references)[0], abs=1e-12, rel=0),
        "pearson": pytest.approx(stats.pearsonr(predictions, references)[0], abs=1e-12, rel=0),
    }


def test_a_task_of_ones_own_with_three_classes() -> None:
    task = Task(name="mine", suite="own", text_columns=("text",), labels=("a", "b", "c"), metrics=("f1", "accuracy"))
    predictions, references = draw(60, classes=3)
    assert TaskScores(task).compute(predictions=predictions, references=references) == {
        "f1": pytest.approx(f1_score(references, predictions, average="macro"), abs=1e-12, rel=0),
        "accuracy": accuracy_score(references, predictions),
    }


def test_it_can_be_pickled_copied_and_used_again() -> None:
    predictions, references = draw(20, classes=2)
    metric = TaskScores("MRPC")
    first = metric.compute(predictions=predictions, references=references)
    for other in (metric, pickle.loads(pickle.dumps(metric)), copy.deepcopy(metric)):
        assert other.compute(predictions=predictions, references=references) == first


def test_rows_may_be_kept_on_disk(tmp_path: Path) -> None:
    metric = TaskScores("RTE", keep_in_memory=False, cache_dir=str(tmp_path))
    metric.add_batch(predictions=[0, 1], references=[0, 0])
    assert metric.compute() == {"accuracy": 0.5}


def test_an_unknown_task_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'MRPC'"):
        TaskScores("MRCP")
