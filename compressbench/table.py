"""A table of text as a value, and its two plainest forms: lines on a screen and GitHub-flavoured Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_MADE_FOR = 100
_LEAST_NAME = 12
"""Columns that the first column keeps on the narrowest screen."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of text; the first column is words, the others figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


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


def table_markdown(table: Table) -> str:
    """One table with its title above: the first column to the left, figures to the right."""
    divider = ["---", *["---:"] * (len(table.columns) - 1)]
    lines = [_line(table.columns), f"| {' | '.join(divider)} |", *(_line(row) for row in table.rows)]
    return f"**{escape_markdown(table.title)}**\n\n" + "\n".join(lines)


def bullets(notes: Sequence[str]) -> str:
    """Notes as a Markdown list."""
    return "\n".join(f"- {escape_markdown(note)}" for note in notes)


def escape_markdown(text: str) -> str:
    """Keep a text from being read as table, emphasis or HTML; code in backticks is left alone."""
    parts = text.split("`")
    for place in range(0, len(parts), 2):
        for sign in ("\\", "|", "*", "_", "<"):
            parts[place] = parts[place].replace(sign, f"\\{sign}")
    return "`".join(parts).replace("\n", " ")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(escape_markdown(cell) for cell in cells)} |"
