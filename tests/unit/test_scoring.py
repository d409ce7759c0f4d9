"""Scores of models on the same rows, and their intervals."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from compressbench.scoring import Answers, chance_score, primary_score, retention_interval


def test_retention_of_f1_lies_in_its_interval_where_class_1_is_the_minority() -> None:
    rng = np.random.default_rng(0)
    references = (rng.random(200) < 0.4).astype(np.int64)

    def answers(wrong: float) -> Answers:
        said = np.where(rng.random(200) < wrong, 1 - references, references)
        return Answers(labels=("a", "b"), logits=np.eye(2)[said], references=references)

    teacher, student = answers(0.1), answers(0.3)
    chance = chance_score("f1", teacher)
    assert chance == pytest.approx(f1_score(references, np.ones(200)))
    before, after = (primary_score("f1", each) for each in (teacher, student))
    low, high = retention_interval("f1", teacher, student)  # type: ignore[misc]
    assert low < (after - chance) / (before - chance) < high
