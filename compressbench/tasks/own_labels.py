"""Labels of one's own files: what is a class, what a score, and which name has which id."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compressbench.errors import BadInput, listed
from compressbench.tasks.scores import REGRESSION_METRICS
from compressbench.tasks.table import Table

_GENERIC = re.compile(r"LABEL_\d+")
"""What a classifier calls its classes when nobody named them."""
MOST_NAMES_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class OwnLabels:
    """Both splits' labels as numbers."""

    names: tuple[str, ...]
    """Label names in id order; empty for regression."""
    train: np.ndarray
    validation: np.ndarray


def read_labels(
    train: Table,
    validation: Table,
    column: str,
    *,
    metric: str | None,
    label_names: Sequence[str] | None,
    declared: Sequence[str] | None,
) -> OwnLabels:
    """Turn the label column of both files into class ids, or into numbers.

    Args:
        train: The training rows.
        validation: The rows that are scored.
        column: The label column, present in both.
        metric: The primary metric if the user chose one; a correlation of numbers means regression.
        label_names: The teacher's label names in id order; one name means a teacher with one output, so regression.
        declared: Label names in id order as the user wrote them down.

    Returns:
        Without `label_names` and `declared`, names come from the files: whole numbers in their order, words sorted.

    Raises:
        BadInput: If a label is missing, is not among the names or out of their range, is no number in regression,
            or there is one class only; with file and row.
    """
    tables = (train, validation)
    said = {str(name).casefold() for name in (declared or label_names or train.class_names.get(column, ()))}
    cells = [_cells(table, column, has_words=bool(said & {"true", "false"})) for table in tables]
    kinds = {type(value) for column_cells in cells for value in column_cells}
    if _is_regression(kinds, metric=metric, label_names=label_names, declared=declared):
        scores = [_scores(table, column_cells) for table, column_cells in zip(tables, cells, strict=True)]
        return OwnLabels(names=(), train=scores[0], validation=scores[1])
    if str in kinds:
        cells = [[str(value) for value in column_cells] for column_cells in cells]
    elif float in kinds:
        cells = [_whole(table, column_cells) for table, column_cells in zip(tables, cells, strict=True)]
    file_names = tuple(declared or train.class_names.get(column, ()))
    if file_names:
        is_id = _are_ids(cells[0], file_names)
        cells = [_named(table, values, file_names, is_id=is_id) for table, values in zip(tables, cells, strict=True)]
    names = _id_order(train, cells[0], label_names=tuple(label_names or ()), file_names=file_names)
    is_id = _are_ids(cells[0], names)
    ids = [_ids(table, values, names, is_id=is_id) for table, values in zip(tables, cells, strict=True)]
    return OwnLabels(names=names, train=ids[0], validation=ids[1])


def _cells(table: Table, column: str, *, has_words: bool) -> list[Any]:
    """The label column as whole numbers, numbers or words, whichever each cell is.

    Args:
        table: A split's rows.
        column: The label column.
        has_words: Whether classes are named True and False, so that truth values are names and no ids.
    """
    cells = []
    for row, value in enumerate(table.columns[column]):
        if isinstance(value, str):
            value = value.strip()
            value = _number(value) if table.is_text else value
        elif isinstance(value, bool):
            value = str(value) if has_words else int(value)
        if value is None or value == "" or value != value:  # NaN alone differs from itself
            raise BadInput(f"{table.where(row)}: no label in column {column!r}")
        if not isinstance(value, (int, float, str)):
            raise BadInput(f"{table.where(row)}: column {column!r} holds a {type(value).__name__}, not a label")
        cells.append(value)
    return cells


def _number(text: str) -> int | float | str:
    if re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        return int(text)
    try:
        return float(text) if "_" not in text else text
    except ValueError:
        return text


def _is_regression(
    kinds: set[type],
    *,
    metric: str | None,
    label_names: Sequence[str] | None,
    declared: Sequence[str] | None,
) -> bool:
    if metric is not None:
        return metric in REGRESSION_METRICS
    if declared:
        return False
    if label_names is not None:
        return len(label_names) == 1
    return float in kinds and str not in kinds


def _scores(table: Table, values: Sequence[Any]) -> np.ndarray:
    for row, value in enumerate(values):
        if isinstance(value, str) or not math.isfinite(value):
            raise BadInput(f"{table.where(row)}: label {value!r} is not a number, and the task is a regression")
    return np.array(values, dtype=np.float64)


def _whole(table: Table, values: Sequence[Any]) -> list[int]:
    for row, value in enumerate(values):
        if not float(value).is_integer():
            raise BadInput(
                f"{table.where(row)}: label {value!r} is not a class; for a regression use the metric pearson"
            )
    return [int(value) for value in values]


def _are_ids(values: Sequence[Any], names: Sequence[str]) -> bool:
    """Whether training labels are ids rather than names; whole numbers may be either: classes may be named 1, 2, 3."""
    return not any(isinstance(value, str) for value in values) and not all(str(value) in names for value in values)


def _named(table: Table, values: Sequence[Any], names: tuple[str, ...], *, is_id: bool) -> list[str]:
    """Ids as the names they stand for; names stay."""
    if not is_id:
        return [str(value) for value in values]
    for row, value in enumerate(values):
        if not 0 <= value < len(names):
            raise BadInput(_outside(table, row, value, names, is_id=True))
    return [names[value] for value in values]


def _id_order(
    train: Table, values: Sequence[Any], *, label_names: tuple[str, ...], file_names: tuple[str, ...]
) -> tuple[str, ...]:
    """The teacher's order where it has names, else the file's, else that of the values themselves."""
    if label_names and file_names and not _same_names(label_names, file_names):
        if len(label_names) != len(file_names) or not all(map(_GENERIC.fullmatch, label_names)):
            raise BadInput(
                f"the labels of {train.path} are {listed(file_names, last='and')}, and the teacher's are "
                f"{listed(label_names, last='and')}: a classifier's id2label must name the task's labels"
            )
        return file_names
    if label_names or file_names:
        return label_names or file_names
    found = sorted(set(values))
    if len(found) < 2:
        raise BadInput(f"{train.path} has one class only ({found[0]!r}): nothing can be learned from it")
    return tuple(str(value) for value in found)


def _same_names(first: Sequence[str], second: Sequence[str]) -> bool:
    return sorted(map(str.casefold, first)) == sorted(map(str.casefold, second))


def _ids(table: Table, values: Sequence[Any], names: tuple[str, ...], *, is_id: bool) -> np.ndarray:
    by_name = {name: index for index, name in enumerate(names)}
    folded = {name.casefold(): index for index, name in enumerate(names)}
    if len(folded) < len(by_name):  # names that differ in case alone are told apart by it
        folded = {}
    ids = np.empty(len(values), dtype=np.int64)
    for row, value in enumerate(values):
        if is_id:
            found = value if 0 <= value < len(names) else None
        else:
            found = by_name.get(str(value), folded.get(str(value).casefold()))
        if found is None:
            raise BadInput(_outside(table, row, value, names, is_id=is_id))
        ids[row] = found
    return ids


def _outside(table: Table, row: int, value: object, names: tuple[str, ...], *, is_id: bool) -> str:
    if is_id:
        shown = ", ".join(names) if len(names) <= MOST_NAMES_SHOWN else f"{names[0]} to {names[-1]}"
        return f"{table.where(row)}: label {value} is not an id from 0 to {len(names) - 1} ({shown})"
    shown = listed(map(repr, names)) if len(names) <= MOST_NAMES_SHOWN else f"one of {len(names)} names"
    mend = "; the teacher does not name its classes: write ids, or give `labels` in a task TOML"
    generic = all(map(_GENERIC.fullmatch, names))
    return f"{table.where(row)}: label {str(value)!r} is not {shown}{mend if generic else ''}"
