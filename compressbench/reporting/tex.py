"""Tables as LaTeX (booktabs), each a float to be taken into a paper as it is."""

from collections.abc import Sequence

from compressbench.reporting.document import Document
from compressbench.table import Table

_SIGNS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "%": r"\%", "&": r"\&", "#": r"\#", "_": r"\_", "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "–": "--",
    "µ": r"\textmu{}",
}  # fmt: skip


def document_tex(document: Document) -> str:
    """The summary, then each task's tables with its notes in the caption."""
    parts = ["% Needs \\usepackage{booktabs}.", _table(document.summary, document.notes)]
    for block in document.blocks:
        *front, last = block.tables
        parts += [_table(table, ()) for table in front]
        parts.append(_table(last, block.notes))
    parts += [_table(table, document.reference_notes) for table in document.references]
    return "\n\n".join(parts) + "\n"


def _table(table: Table, notes: Sequence[str]) -> str:
    caption = ". ".join([table.title, *(note.rstrip(".") for note in notes)])
    lines = [
        r"\begin{table}",
        r"\centering\small",
        rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"\toprule",
        _line(table.columns),
        r"\midrule",
        *(_line(row) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        rf"\caption{{{escape(caption)}.}}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return " & ".join(escape(cell) for cell in cells) + r" \\"


def escape(text: str) -> str:
    """Text with LaTeX's own signs spelled out."""
    return "".join(_SIGNS.get(sign, sign) for sign in text)
