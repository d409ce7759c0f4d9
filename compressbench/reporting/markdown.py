"""Tables and notes as GitHub-flavoured Markdown."""

from compressbench.reporting.document import Document
from compressbench.table import bullets, escape_markdown, table_markdown


def document_markdown(document: Document) -> str:
    """The whole report: summary first, because it is what most readers came for."""
    parts = ["# Comparison", table_markdown(document.summary), bullets(document.notes)]
    parts += [f"![{name}](plots/{name}.svg)" for name in document.plots]
    for block in document.blocks:
        parts.append(f"## {escape_markdown(block.task)}")
        parts += [table_markdown(table) for table in block.tables]
        parts.append(bullets(block.notes))
        curves = document.curves.get(block.task, ())
        links = [f"[{escape_markdown(plot.label)}](plots/{plot.name}.svg)" for plot in curves]
        parts.append(f"Training curves: {', '.join(links)}" if links else "")
    if document.references:
        parts += ["## Published figures", *map(table_markdown, document.references), bullets(document.reference_notes)]
    return "\n\n".join(part for part in parts if part) + "\n"
