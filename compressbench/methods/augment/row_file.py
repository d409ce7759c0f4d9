"""Rows as lines of a TSV: the layout of the task's own train.tsv, so that a run reads them back."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compressbench.tasks.glue import GLUE_SOURCES
from compressbench.tasks.task import Rows, Task

LABEL_COLUMN = "label"


@dataclass(frozen=True, kw_only=True)
class RowLayout:
    """How rows are written."""

    columns: tuple[str, ...]
    texts: tuple[int, ...]
    """Columns of the texts."""
    label: int
    """Column of the label."""
    labels: tuple[str, ...]
    """Labels as the file spells them, in id order; empty for numbers."""
    has_header: bool
    is_quoted: bool
    """Whether a text may hold tabs and line ends, as in CSV; GLUE's files know no quotes."""

    @property
    def header(self) -> str:
        """The first line, or nothing."""
        return self._line(self.columns) if self.has_header else ""

    def line(self, texts: Sequence[str], label: float) -> str:
        """One row, line end included."""
        fields = [""] * len(self.columns)
        for column, text in zip(self.texts, texts, strict=True):
            fields[column] = text
        fields[self.label] = self.labels[int(label)] if self.labels else repr(float(label))
        return self._line(fields)

    def writable(self, text: str) -> str:
        """The text as this layout can hold it."""
        if self.is_quoted or not any(mark in text for mark in "\t\n\r"):
            return text
        return " ".join(text.split())

    def read(self, path: Path) -> Iterator[tuple[tuple[str, ...], float]]:
        """Texts and label of each row that `line` wrote."""
        ids = {name: float(number) for number, name in enumerate(self.labels)}
        with path.open(encoding="utf-8", newline="") as stream:
            if self.is_quoted:
                reader = csv.reader(stream, delimiter="\t")
            else:
                reader = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
            if self.has_header:
                next(reader, None)
            for fields in reader:
                spelled = fields[self.label]
                yield tuple(fields[column] for column in self.texts), ids[spelled] if ids else float(spelled)

    def _line(self, fields: Sequence[str]) -> str:
        if not self.is_quoted:
            return "\t".join(fields) + "\n"
        text = io.StringIO()
        csv.writer(text, delimiter="\t", lineterminator="\n").writerow(fields)
        return text.getvalue()


def layout_of(task: Task) -> RowLayout:
    """GLUE's layout for GLUE tasks (columns nobody reads are left out or empty); else a header, texts and label."""
    if task.suite != "glue":
        return plain_layout(task)
    glue = GLUE_SOURCES[task.name].layout
    columns = glue.columns or (*glue.text_columns, glue.label_column)
    return RowLayout(
        columns=columns,
        texts=tuple(columns.index(name) for name in glue.text_columns),
        label=columns.index(glue.label_column),
        labels=glue.labels,
        has_header=not glue.columns,
        is_quoted=False,
    )


def plain_layout(task: Task) -> RowLayout:
    """A header with the task's text columns and ``label``; a text may hold anything."""
    return RowLayout(
        columns=(*task.text_columns, LABEL_COLUMN),
        texts=tuple(range(len(task.text_columns))),
        label=len(task.text_columns),
        labels=task.labels,
        has_header=True,
        is_quoted=True,
    )


def read_rows(path: Path, layout: RowLayout) -> Rows:
    """Every row of a file that was written in `layout`."""
    texts, labels = [], []
    for row, label in layout.read(path):
        texts.append(row)
        labels.append(label)
    return Rows(
        first=[row[0] for row in texts],
        second=[row[1] for row in texts] if len(layout.texts) > 1 else None,
        labels=np.array(labels, dtype=np.int64 if layout.labels else np.float64),
    )
