"""Report files of a comparison; each appears whole or not at all."""

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from compressbench.errors import UnknownName
from compressbench.records.schema import CurveRecord
from compressbench.reporting.document import document_of
from compressbench.reporting.flat_csv import comparison_csv
from compressbench.reporting.html import document_html
from compressbench.reporting.markdown import document_markdown
from compressbench.reporting.tex import document_tex

FORMATS = ("md", "html", "csv", "json", "tex")


def write_reports(
    comparison: dict[str, Any],
    to: Path,
    formats: Sequence[str],
    *,
    references: Sequence[str] = (),
    curves: Sequence[CurveRecord] = (),
) -> list[Path]:
    """Write ``comparison.<format>`` for each format, and the plots under ``plots/``.

    Args:
        comparison: What `comparison.comparison` gives.
        to: A folder; made if absent.
        formats: Of `FORMATS`.
        references: Published figures to show beside it: ``seed``, ``paper``.
        curves: What trainings showed, to be drawn.

    Returns:
        The files written.

    Raises:
        UnknownName: If a format or a reference is unknown; then nothing is written.
    """
    for name in formats:
        if name not in FORMATS:
            raise UnknownName("format", name, FORMATS)
    document = document_of(comparison, references=references, curves=curves)
    writers: Mapping[str, Callable[[], str]] = {
        "md": lambda: document_markdown(document),
        "html": lambda: document_html(document),
        "csv": lambda: comparison_csv(comparison),
        "json": lambda: comparison_json(comparison),
        "tex": lambda: document_tex(document),
    }
    texts = {f"comparison.{name}": writers[name]() for name in formats}
    texts |= {f"plots/{name}.svg": drawing for name, drawing in document.plots.items()}
    texts |= {f"plots/{plot.name}.svg": plot.drawing for plots in document.curves.values() for plot in plots}
    for name, text in texts.items():
        write_whole(to / name, text)
    return [to / name for name in texts]


def comparison_json(comparison: dict[str, Any]) -> str:
    """Strict JSON, indented."""
    return json.dumps(comparison, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def write_whole(path: Path, text: str) -> None:
    """Write a file by renaming a finished one onto it, so that no reader ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
