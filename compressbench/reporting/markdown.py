"""Tables and notes as GitHub-flavoured Markdown."""

from collections.abc import Sequence

from compressbench.reporting.document import Document
from compressbench.reporting.tables import Table


def document_markdown(document: Document) -> str:
    """The whole report: summary first, because it is what most readers came for."""
    parts = ["# Comparison", table_markdown(document.summary), bullets(document.notes)]
    parts += [f"![{name}](plots/{name}.svg)" for name in document.plots]
    for block in document.blocks:
        parts.append(f"## {_escape(block.task)}")
        parts += [table_markdown(table) for table in block.tables]
        parts.append(bullets(block.notes))
        links = [f"[{_escape(plot.label)}](plots/{plot.name}.svg)" for plot in document.curves.get(block.task, ())]
        parts.append(f"Training curves: {', '.join(links)}" if links else "")
    if document.references:
        parts += ["## Published figures", *map(table_markdown, document.references), bullets(document.reference_notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def table_markdown(table: Table) -> str:
    """One table with its title above: the first column to the left, figures to the right."""
    divider = ["---", *["---:"] * (len(table.columns) - 1)]
    lines = [_line(table.columns), f"| {' | '.join(divider)} |", *(_line(row) for row in table.rows)]
    return f"**{_escape(table.title)}**\n\n" + "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_escape(cell) for cell in cells)} |"


def bullets(notes: Sequence[str]) -> str:
    """Notes as a list."""
    return "\n".join(f"- {_escape(note)}" for note in notes)


def _escape(text: str) -> str:
    """Keep a text from being read as table, emphasis or HTML; code in backticks is left alone."""
    parts = text.split("`")
    for place in range(0, len(parts), 2):
        for sign in ("\\", "|", "*", "_", "<"):
            parts[place] = parts[place].replace(sign, f"\\{sign}")
    return "`".join(parts).replace("\n", " ")
