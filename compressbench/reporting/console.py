"""The comparison on a screen: one block per task, the per-method summary, and what to know of both."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from compressbench.reporting.document import document_of
from compressbench.table import print_notes, print_table

if TYPE_CHECKING:
    from rich.console import Console


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
