"""The original GLUE TSV layout: fields between tabs, never quoted, sometimes after a byte-order mark."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compressbench.errors import BadInput, listed
from compressbench.tasks.task import Rows

BROKEN_SHARE_LIMIT = 0.5
"""Of a file known to hold some broken rows: above this share it is not that file."""


@dataclass(frozen=True, kw_only=True)
class TsvLayout:
    """How one task's files are written."""

    text_columns: tuple[str, ...]
    """Names in the header line, first text first."""
    label_column: str
    labels: tuple[str, ...]
    """Labels as the file spells them, in id order; empty where they are numbers."""
    columns: tuple[str, ...] = ()
    """Names of the columns of train and dev files that have no header line."""
    score_range: tuple[float, float] | None = None
    """What a number may be, where labels are numbers."""
    has_broken_rows: bool = False
    """Whether the published files hold some broken rows, which are left out as the hub's copy leaves them out."""


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """Where the fields stand in one file."""

    count: int
    texts: tuple[int, ...]
    label: int | None


def read_tsv(path: Path, layout: TsvLayout, *, labelled: bool = True) -> Rows:
    """Read one split.

    Args:
        path: The file.
        layout: How it is written.
        labelled: False for test files, which have a header line with every task and no label column.

    Returns:
        The rows in file order, texts stripped of the blanks around them.

    Raises:
        BadInput: If the file cannot be read, is not UTF-8, has other columns, a label the task does not know, or
            no rows; with file and line.
    """
    lines = _lines(path)
    if layout.columns and labelled:
        names, body, first_line = layout.columns, lines, 1
    else:
        names, body, first_line = tuple(name.strip() for name in lines[0].split("\t")) if lines else (), lines[1:], 2
    if not any(body):
        raise BadInput(f"{path} has no rows")
    columns = _columns(path, names, layout, labelled=labelled)
    return _rows(path, body, columns, layout, first_line=first_line)


def _lines(path: Path) -> list[str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadInput(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from error
    # Not splitlines(): texts hold other characters that it takes for line ends.
    return [line.removesuffix("\r") for line in text.split("\n")]


def _columns(path: Path, names: Sequence[str], layout: TsvLayout, *, labelled: bool) -> _Columns:
    wanted = (*layout.text_columns, layout.label_column) if labelled else layout.text_columns
    missing = [name for name in wanted if name not in names]
    if missing:
        raise BadInput(
            f"{path}, line 1: no column {listed(map(repr, missing), last='and')}; "
            f"the columns are {', '.join(map(repr, names))}, and the original GLUE file has a header line with "
            f"{', '.join(map(repr, wanted))}"
        )
    return _Columns(
        count=len(names),
        texts=tuple(names.index(name) for name in layout.text_columns),
        label=names.index(layout.label_column) if labelled else None,
    )


def _rows(path: Path, body: Sequence[str], columns: _Columns, layout: TsvLayout, *, first_line: int) -> Rows:
    texts: list[list[str]] = [[] for _ in columns.texts]
    labels: list[float] = []
    label_ids = {name: index for index, name in enumerate(layout.labels)}
    broken: list[BadInput] = []
    row_count = 0
    for line, row in enumerate(body, start=first_line):
        if not row:
            continue
        row_count += 1
        fields = row.split("\t")
        if len(fields) != columns.count:
            broken.append(BadInput(f"{path}, line {line}: {len(fields)} columns where the file has {columns.count}"))
            if not layout.has_broken_rows:
                raise broken[0]
            continue
        for column, place in zip(texts, columns.texts, strict=True):
            column.append(fields[place].strip())
        if columns.label is not None:
            labels.append(_label(path, line, fields[columns.label].strip(), layout, label_ids))
    if len(broken) > BROKEN_SHARE_LIMIT * row_count:
        raise BadInput(f"{broken[0]}, and so for {len(broken)} of {row_count} rows")
    return Rows(
        first=texts[0],
        second=texts[1] if len(texts) == 2 else None,
        labels=None if columns.label is None else np.array(labels, dtype=np.int64 if layout.labels else np.float64),
    )


def _label(path: Path, line: int, label: str, layout: TsvLayout, label_ids: Mapping[str, int]) -> float:
    if not layout.labels:
        return _score(path, line, label, layout)
    if label not in label_ids:
        raise BadInput(f"{path}, line {line}: label {label!r} is not {listed(map(repr, layout.labels))}")
    return label_ids[label]


def _score(path: Path, line: int, label: str, layout: TsvLayout) -> float:
    low, high = layout.score_range or (-math.inf, math.inf)
    try:
        score = float(label)
    except ValueError:
        score = math.nan
    if not math.isfinite(score) or not low <= score <= high:
        within = f"a number from {low:g} to {high:g}" if layout.score_range else "a number"
        raise BadInput(f"{path}, line {line}: score {label!r} is not {within}")
    return score
