import numpy as np
import pytest

from compressbench.errors import WeakTeacher
from compressbench.methods.weak_teacher import check_strength, teacher_strength
from compressbench.tasks.task import Task


def task(metric: str, *, labels: tuple[str, ...] = ("no", "yes"), splits: tuple[str, ...] = ("dev",)):
    return Task(name="T", suite="own", text_columns=("text",), labels=labels, metrics=(metric,), dev_splits=splits)


def logits_of(answers: list[int] | np.ndarray, *, classes: int = 2):
    return np.eye(classes, dtype=np.float32)[np.asarray(answers)]


MOSTLY_YES = np.array([1, 1, 1, 0])


@pytest.mark.parametrize(
    ("metric", "answers", "weak"),
    [
        ("accuracy", [1, 1, 1, 1], True),  # the majority class: 0.75, and no better
        ("accuracy", [1, 1, 0, 1], True),
        ("accuracy", [1, 1, 1, 0], False),
        ("matthews_correlation", [1, 1, 1, 1], True),
        ("matthews_correlation", [0, 0, 0, 1], True),
        ("matthews_correlation", [1, 1, 0, 0], False),
        ("f1", [1, 1, 1, 1], True),  # 6/7, what always saying yes has
        ("f1", [1, 1, 1, 0], False),
    ],
)
def test_a_teacher_must_beat_a_constant_answer(metric: str, answers: list[int] | np.ndarray, weak: bool):
    strength = teacher_strength(task(metric), {"dev": logits_of(answers)}, {"dev": MOSTLY_YES})
    assert strength.is_weak is weak


@pytest.mark.parametrize(("sign", "weak"), [(1, False), (-1, True), (0, True)])
def test_a_regression_teacher_must_correlate(sign: int, weak: bool):
    references = np.array([0.5, 2.0, 3.5, 5.0])
    logits = (sign * references[:, None]).astype(np.float32)
    assert teacher_strength(task("spearmanr", labels=()), {"dev": logits}, {"dev": references}).is_weak is weak


def test_macro_f1_of_a_constant_answer_is_the_bar_for_three_classes():
    references = np.array([0, 0, 0, 1, 2])
    three = task("f1", labels=("a", "b", "c"))
    constant = teacher_strength(three, {"dev": logits_of([0] * 5, classes=3)}, {"dev": references})
    assert constant.score == pytest.approx(constant.constant) == pytest.approx(0.25)
    assert constant.is_weak


def test_outputs_that_are_no_numbers_are_weak():
    logits = logits_of(MOSTLY_YES)
    logits[2, 0] = np.nan
    strength = teacher_strength(task("accuracy"), {"dev": logits}, {"dev": MOSTLY_YES})
    assert strength.is_weak
    assert np.isnan(strength.score)


def test_the_first_dev_split_decides():
    both = task("accuracy", splits=("dev_matched", "dev_mismatched"))
    logits = {"dev_matched": logits_of(MOSTLY_YES), "dev_mismatched": logits_of([1, 1, 1, 1])}
    assert check_strength(both, logits, dict.fromkeys(logits, MOSTLY_YES)) == ()


def test_the_error_says_what_is_wrong_and_the_mend():
    with pytest.raises(
        WeakTeacher,
        match=r"the teacher of T has accuracy 0\.750 on dev and the majority class's share is 0\.750: .*; "
        r"train it longer or with another learning rate, or pass --allow-weak-teacher",
    ) as caught:
        check_strength(task("accuracy"), {"dev": logits_of([1] * 4)}, {"dev": MOSTLY_YES})
    assert caught.value.exit_code == 2


def test_a_weak_teacher_that_is_allowed_is_warned_of():
    (warning,) = check_strength(
        task("matthews_correlation"), {"dev": logits_of([1] * 4)}, {"dev": MOSTLY_YES}, allow_weak=True
    )
    assert "matthews_correlation 0.000 on dev and a constant answer has 0.000" in warning
