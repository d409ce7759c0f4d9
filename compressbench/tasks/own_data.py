"""Tasks of one's own: files and a few column names, or a TOML that holds both."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compressbench.errors import BadInput, InvalidParameter, UnknownName, listed
from compressbench.tasks.data import TaskData
from compressbench.tasks.own_labels import read_labels
from compressbench.tasks.scores import METRICS, REGRESSION_METRICS
from compressbench.tasks.table import Table, read_table
from compressbench.tasks.task import Rows, Task

TEXT_COLUMNS: tuple[tuple[str, ...], ...] = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "passage"),
    ("question", "context"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("text",),
    ("sentence",),
    ("review",),
    ("content",),
    ("question",),
)
"""Well-known text columns, pairs first: the first set a file has is taken."""
LABEL_COLUMNS = ("label", "labels", "gold_label", "score", "target")
CLASS_METRICS = ("accuracy", "f1")
DEFAULT_MAX_LENGTH = 128
SMALLEST_MAX_LENGTH = 4
"""Two texts of no more than one token between the special ones."""


def load_own_data(
    *,
    train: Path,
    validation: Path,
    text: tuple[str, ...] | None = None,
    label: str | None = None,
    metric: str | None = None,
    label_names: Sequence[str] | None = None,
    name: str | None = None,
) -> TaskData:
    """A task from two files (or one `datasets` folder that holds both splits).

    Whole numbers and words are classes, other numbers a regression; `metric` may force either. F1 is that of class 1
    for two classes and the mean over classes (macro) beyond.

    Args:
        train: CSV, TSV, JSON lines, Parquet, or a folder that ``save_to_disk`` wrote.
        validation: The rows that are scored; any of the same kinds.
        text: One text column, or two for pairs; guessed by well-known names if None.
        label: The label column; guessed likewise.
        metric: The primary metric.
        label_names: The teacher's label names in id order, which labels are then read by.
        name: The task's name; the stem of `train` if None.

    Raises:
        BadInput: If a file cannot be used, with file and row; if a named column is missing, with those there are.
    """
    metrics = None if metric is None else (metric,)
    return _load(
        _Description(train=train, validation=validation, text=text, label=label, metrics=metrics, name=name),
        label_names=label_names,
        adds_metrics=True,
    )


def load_task_toml(path: Path, label_names: Sequence[str] | None = None) -> TaskData:
    """A task from a TOML file: a table ``[task]`` with `train`, `validation` and what else is not guessed.

    Keys: `name`, `train`, `validation` (paths from the file's own folder), `text` (a name or two), `label`, `labels`
    (names in id order), `metrics` (the first is primary), `max_length` (tokens).

    Raises:
        BadInput: If the file is not such a TOML, or the data cannot be used.
    """
    table = _read_toml(path)
    for key in table:
        if key not in _KEYS:
            raise UnknownName(f"key of {path}", key, _KEYS)
    missing = [key for key in ("train", "validation") if key not in table]
    if missing:
        raise BadInput(f"{path}: [task] has no {listed(missing, last='and')}")
    for key, value in table.items():
        kinds, said = _KEYS[key]
        is_list = isinstance(value, list) and list in kinds and value and all(isinstance(each, str) for each in value)
        is_plain = isinstance(value, kinds) and not isinstance(value, (list, bool))
        if not is_list and not is_plain:
            raise BadInput(f"{path}: {key} = {value!r} is not {said}")
    text = table.get("text")
    description = _Description(
        train=path.parent / table["train"],
        validation=path.parent / table["validation"],
        text=None if text is None else (text,) if isinstance(text, str) else tuple(text),
        label=table.get("label"),
        labels=tuple(table["labels"]) if "labels" in table else None,
        metrics=tuple(table["metrics"]) if "metrics" in table else None,
        name=table.get("name", path.stem),
        max_length=table.get("max_length", DEFAULT_MAX_LENGTH),
    )
    return _load(description, label_names=label_names, adds_metrics=False)


@dataclass(frozen=True, kw_only=True)
class _Description:
    """What the user said of the task."""

    train: Path
    validation: Path
    text: tuple[str, ...] | None
    label: str | None
    labels: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None
    name: str | None
    max_length: int = DEFAULT_MAX_LENGTH


_KEYS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "name": ((str,), "a text"),
    "train": ((str,), "a path"),
    "validation": ((str,), "a path"),
    "text": ((str, list), "a column's name or a list of two"),
    "label": ((str,), "a column's name"),
    "labels": ((list,), "a list of names"),
    "metrics": ((list,), "a list of metrics"),
    "max_length": ((int,), "a number of tokens"),
}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInput(f"{path} is not TOML: {error}") from error
    table = content.get("task")
    if not isinstance(table, dict):
        raise BadInput(f"{path} has no table [task]")
    return table


def _load(description: _Description, *, label_names: Sequence[str] | None, adds_metrics: bool) -> TaskData:
    _check(description)
    tables = {
        "train": read_table(description.train, split="train"),
        "dev": read_table(description.validation, split="validation"),
    }
    text = description.text or _guessed_text(tables["train"])
    label = description.label or _guessed_label(tables["train"])
    for table in tables.values():
        _check_columns(table, (*text, label))
    labels = read_labels(
        tables["train"],
        tables["dev"],
        label,
        metric=description.metrics[0] if description.metrics else None,
        label_names=label_names,
        declared=description.labels,
    )
    usual = CLASS_METRICS if labels.names else REGRESSION_METRICS
    chosen = description.metrics or ()
    task = Task(
        name=re.sub(r"[^\w.-]+", "-", description.name or description.train.stem),
        suite="own",
        text_columns=text,
        labels=labels.names,
        metrics=tuple(dict.fromkeys((*chosen, *usual))) if adds_metrics or not chosen else chosen,
        max_length=description.max_length,
    )
    rows = {
        "train": _rows(tables["train"], text, labels.train),
        "dev": _rows(tables["dev"], text, labels.validation),
    }
    return TaskData(task, rows.__getitem__, tuple(rows), f"{description.train}, {description.validation}")


def _check(description: _Description) -> None:
    """Refuse what is wrong before any file is read."""
    for metric in description.metrics or ():
        if metric not in METRICS:
            raise UnknownName("metric", metric, METRICS)
    kinds = {metric in REGRESSION_METRICS for metric in description.metrics or ()}
    if len(kinds) == 2:
        raise InvalidParameter(
            f"metrics {listed(description.metrics or (), last='and')} score both classes and numbers: choose one kind"
        )
    if kinds == {True} and description.labels:
        raise InvalidParameter(f"a task with labels cannot be scored by {(description.metrics or ('',))[0]}")
    if description.max_length < SMALLEST_MAX_LENGTH:
        raise InvalidParameter(f"max_length={description.max_length} holds no text: {SMALLEST_MAX_LENGTH} at least")
    text = description.text or ("",)
    if len(text) > 2 or len(set(text)) < len(text):
        raise InvalidParameter(f"text columns {', '.join(text)}: name one, or two different ones for pairs")
    if description.label in text:
        raise InvalidParameter(f"column {description.label!r} cannot be both text and label")


def _guessed_text(table: Table) -> tuple[str, ...]:
    for names in TEXT_COLUMNS:
        if all(name in table.columns for name in names):
            return names
    raise BadInput(f"{table.path} has {_columns(table)}: name the text column(s) with --text")


def _guessed_label(table: Table) -> str:
    for name in LABEL_COLUMNS:
        if name in table.columns:
            return name
    raise BadInput(f"{table.path} has {_columns(table)}: name the label column with --label")


def _check_columns(table: Table, names: Sequence[str]) -> None:
    for name in names:
        if name not in table.columns:
            raise BadInput(f"{table.path} has no column {name!r}: it has {_columns(table)}")


def _columns(table: Table) -> str:
    return f"the columns {', '.join(map(repr, table.columns))}"


def _rows(table: Table, text: Sequence[str], labels: np.ndarray) -> Rows:
    texts = [_texts(table, name) for name in text]
    return Rows(first=texts[0], second=texts[1] if len(texts) == 2 else None, labels=labels)


def _texts(table: Table, name: str) -> list[str]:
    texts = []
    for row, value in enumerate(table.columns[name]):
        if not isinstance(value, str):
            held = "nothing" if value is None else f"{value!r}"
            raise BadInput(f"{table.where(row)}: column {name!r} holds {held}, not a text")
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise BadInput(f"{table.where(row)}: column {name!r} holds half of a surrogate pair, which is no text")
        texts.append(value.strip())
    return texts
