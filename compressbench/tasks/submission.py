"""Predictions as the files GLUE's server takes."""

from pathlib import Path

import numpy as np

from compressbench.errors import BadInput
from compressbench.tasks.glue import GLUE_SOURCES
from compressbench.tasks.scores import predicted
from compressbench.tasks.task import Task


def submission_name(task: Task, *, split: str = "test") -> str:
    """The file name the server wants (``CoLA.tsv``, ``MNLI-m.tsv``); other tasks: the task's name."""
    source = GLUE_SOURCES.get(task.name) if task.suite == "glue" else None
    return source.submissions[split] if source else f"{task.name}.tsv"


def submission_lines(task: Task, logits: np.ndarray, *, split: str = "test") -> list[str]:
    """The answers as text, one a row.

    GLUE wants words for MNLI, QNLI and RTE, ids for the other classes, and similarities with three decimals within
    0 and 5 for STS-B's test split. Other tasks get label names; other splits numbers as they are, so that whoever
    scores them finds the scores of a run.
    """
    answers = predicted(logits, task.is_regression)
    source = GLUE_SOURCES.get(task.name) if task.suite == "glue" else None
    if task.is_regression:
        if source is None or not split.startswith("test"):
            return [repr(value) for value in answers.tolist()]
        low, high = source.layout.score_range or (-np.inf, np.inf)
        return [f"{min(max(value, low), high):.3f}" for value in answers.tolist()]
    if source and not source.submits_words:
        return [str(value) for value in answers.tolist()]
    return [task.labels[value] for value in answers.tolist()]


def write_submission(task: Task, logits: np.ndarray, path: Path, *, split: str = "test") -> None:
    """Write `index` and `prediction`, tab between them, one line a row.

    Args:
        task: What was predicted.
        logits: [rows, outputs], in the order of the test file.
        path: The file to write; replaced if there.
        split: Whose rows they are.

    Raises:
        BadInput: If the file cannot be written.
    """
    answers = submission_lines(task, logits, split=split)
    lines = ["index\tprediction", *(f"{row}\t{answer}" for row, answer in enumerate(answers))]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror or error}") from error
