"""The comparison on a screen: one block per task, the per-method summary, and what to know of both."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from compressbench.reporting.document import document_of
from compressbench.reporting.tables import Table

if TYPE_CHECKING:
    from rich.console import Console

_MADE_FOR = 100
_LEAST_NAME = 12
"""Columns that the first column keeps on the narrowest screen."""


def print_comparison(comparison: dict[str, Any], console: "Console", *, references: Sequence[str] = ()) -> None:
    """Print every table and note; made for 100 columns, folded on less.

    Args:
        comparison: What `comparison.comparison` gives.
        console: Where to.
        references: Published figures to show beside it: ``seed``, ``paper``.
    """
    document = document_of(comparison, references=references)
    for block in document.blocks:
        for table in block.tables:
            print_table(table, console)
        print_notes(block.notes, console)
    print_table(document.summary, console)
    print_notes(document.notes, console)
    for table in document.references:
        print_table(table, console)
    print_notes(document.reference_notes, console)


def print_table(table: Table, console: "Console") -> None:
    """One table; where the screen is narrow headers break and the first column folds, figures stay whole.

    On less than the figures need the lines are longer than the screen; nothing is cut off.
    """
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(
        title=Text(table.title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
        show_edge=False, pad_edge=False,
    )  # fmt: skip
    # A file or a pipe has no width; rich takes 80 for it.
    available = console.width if console.is_terminal else max(console.width, _MADE_FOR)
    widths = _widths(table, available)
    for number, (column, width) in enumerate(zip(table.columns, widths, strict=True)):
        drawn.add_column(
            Text(column), width=width, justify="right" if number else "left", overflow="fold", vertical="bottom"
        )
    for row in table.rows:
        drawn.add_row(*(Text(cell) for cell in row))
    drawn.width = sum(widths) + _gaps(table)
    console.print(drawn, crop=False)
    console.print()


def _widths(table: Table, available: int) -> list[int]:
    """Width of each column: as wide as it likes if all fit, else headers by the word and the rest for names."""
    columns = list(zip(table.columns, *table.rows, strict=True))
    liked = [max(map(len, column)) for column in columns]
    gaps = _gaps(table)
    if sum(liked) + gaps <= available:
        return liked
    least = [max(*map(len, column[0].split(" ")), *map(len, column[1:]), 1) for column in columns]
    return [max(_LEAST_NAME, min(liked[0], available - gaps - sum(least[1:]))), *least[1:]]


def _gaps(table: Table) -> int:
    """Columns of the screen between the table's columns."""
    return 2 * (len(table.columns) - 1)


def print_notes(notes: Iterable[str], console: "Console") -> None:
    """Notes as an indented list, a blank line after."""
    from rich.padding import Padding
    from rich.text import Text

    notes = list(notes)
    for note in notes:
        console.print(Padding(Text(f"* {note}"), (0, 0, 0, 2)))
    if notes:
        console.print()
