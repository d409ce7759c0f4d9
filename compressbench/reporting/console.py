"""The comparison on a screen: one block per task, the per-method summary, and what to know of both."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from compressbench.reporting.notes import notes_of
from compressbench.reporting.tables import Table, summary_table, task_blocks

if TYPE_CHECKING:
    from rich.console import Console


def print_comparison(comparison: dict[str, Any], console: "Console") -> None:
    """Print every table and note; made for 100 columns, folded on less."""
    for block in task_blocks(comparison):
        for table in block.tables:
            print_table(table, console)
        _print_notes(block.notes, console)
    print_table(summary_table(comparison), console)
    _print_notes(notes_of(comparison), console)


def print_table(table: Table, console: "Console") -> None:
    """One table; the first column folds where the screen is narrow, figures do not."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(
        title=Text(table.title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
        show_edge=False, pad_edge=False,
    )  # fmt: skip
    for number, column in enumerate(table.columns):
        if number:
            # A header of several words may break; its figures stay whole.
            drawn.add_column(Text(column), justify="right", min_width=_widest(row[number] for row in table.rows))
        else:
            drawn.add_column(Text(column), overflow="fold", min_width=12)
    for row in table.rows:
        drawn.add_row(*(Text(cell) for cell in row))
    console.print(drawn)
    console.print()


def _widest(cells: Iterable[str]) -> int:
    return max((len(cell) for cell in cells), default=1)


def _print_notes(notes: Iterable[str], console: "Console") -> None:
    """Notes as an indented list, blank line after."""
    from rich.padding import Padding
    from rich.text import Text

    notes = list(notes)
    for note in notes:
        console.print(Padding(Text(f"* {note}"), (0, 0, 0, 2)))
    if notes:
        console.print()
