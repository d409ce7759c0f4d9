"""A report before anybody draws it: every table, note and plot, in the order they are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from compressbench.records.schema import CurveRecord
from compressbench.reporting.curve_plots import CurvePlot, curve_plots
from compressbench.reporting.notes import notes_of
from compressbench.reporting.plots import comparison_plots
from compressbench.reporting.reference_table import reference_notes, reference_tables
from compressbench.reporting.tables import TaskBlock, summary_table, task_blocks
from compressbench.reporting.zeros import zeros_tables
from compressbench.table import Table


@dataclass(frozen=True, kw_only=True)
class Document:
    """What the screen and every written format show."""

    summary: Table
    notes: Sequence[str]
    blocks: Sequence[TaskBlock]
    references: Sequence[Table]
    reference_notes: Sequence[str]
    plots: Mapping[str, str]
    """SVG by file name without suffix."""
    curves: Mapping[str, Sequence[CurvePlot]]
    """Of training, by task."""


def document_of(
    comparison: dict[str, Any], *, references: Sequence[str] = (), curves: Sequence[CurveRecord] = ()
) -> Document:
    """Lay out a comparison.

    Args:
        comparison: What `comparison.comparison` gives, or a comparison.json that was read.
        references: Published figures to show beside it: ``seed``, ``paper``.
        curves: What trainings showed.

    Raises:
        UnknownName: If a reference is unknown.
    """
    return Document(
        summary=summary_table(comparison),
        notes=notes_of(comparison),
        blocks=[_with_zeros(block, comparison) for block in task_blocks(comparison)],
        references=reference_tables(comparison, references),
        reference_notes=reference_notes(references),
        plots=comparison_plots(comparison),
        curves=curve_plots(curves),
    )


def _with_zeros(block: TaskBlock, comparison: dict[str, Any]) -> TaskBlock:
    """The block with what its models consist of, where that differs."""
    rows = [row for row in comparison["rows"] if row["task"] == block.task]
    many_seeds = len({row["seed"] for row in comparison["rows"]}) > 1
    return replace(block, tables=[*block.tables, *zeros_tables(block.task, rows, many_seeds=many_seeds)])
