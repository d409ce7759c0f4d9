from pathlib import Path

import numpy as np
import pytest

from compressbench.errors import BadInput
from compressbench.tasks.catalog import all_tasks, suite_tasks
from compressbench.tasks.submission import submission_lines, submission_name, write_submission
from compressbench.tasks.task import Task

TASKS = all_tasks()
OFFICIAL = [
    "CoLA.tsv",
    "SST-2.tsv",
    "MRPC.tsv",
    "STS-B.tsv",
    "QQP.tsv",
    "MNLI-m.tsv",
    "QNLI.tsv",
    "RTE.tsv",
    "WNLI.tsv",
]


def test_official_file_names() -> None:
    assert [submission_name(task) for task in suite_tasks("glue")] == OFFICIAL
    assert submission_name(TASKS["MNLI"], split="test_mismatched") == "MNLI-mm.tsv"
    assert submission_name(TASKS["synthetic-sentiment"]) == "synthetic-sentiment.tsv"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CoLA", ["0", "1"]),
        ("MRPC", ["0", "1"]),
        ("WNLI", ["0", "1"]),
        ("RTE", ["entailment", "not_entailment"]),
        ("QNLI", ["entailment", "not_entailment"]),
        ("synthetic-sentiment", ["negative", "positive"]),
    ],
)
def test_answers_as_the_server_wants_them(name: str, expected: list[str]) -> None:
    assert submission_lines(TASKS[name], np.eye(2)) == expected


def test_mnli_answers_are_words() -> None:
    assert submission_lines(TASKS["MNLI"], np.eye(3)) == ["entailment", "neutral", "contradiction"]


def test_similarities_stay_on_their_scale() -> None:
    assert submission_lines(TASKS["STS-B"], np.array([[-0.2], [3.14159], [5.4]])) == ["0.000", "3.142", "5.000"]


def test_numbers_of_ones_own_are_not_clipped() -> None:
    task = Task(name="mine", suite="own", text_columns=("text",), labels=(), metrics=("pearson",))
    assert submission_lines(task, np.array([[7.25], [1.23456e-05]])) == ["7.25", "1.23456e-05"]


def test_similarities_of_dev_rows_are_written_as_they_are() -> None:
    assert submission_lines(TASKS["STS-B"], np.array([[-0.25], [3.14159]]), split="dev") == ["-0.25", "3.14159"]


def test_the_file(tmp_path: Path) -> None:
    path = tmp_path / "made" / "RTE.tsv"
    write_submission(TASKS["RTE"], np.eye(2)[[1, 0]], path)
    assert path.read_bytes() == b"index\tprediction\n0\tnot_entailment\n1\tentailment\n"


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be written: Is a directory"):
        write_submission(TASKS["RTE"], np.eye(2), tmp_path)
