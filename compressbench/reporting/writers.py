"""Report files of a comparison; each appears whole or not at all."""

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from compressbench.errors import UnknownName
from compressbench.reporting.flat_csv import comparison_csv
from compressbench.reporting.html import comparison_html
from compressbench.reporting.markdown import comparison_markdown
from compressbench.reporting.plots import comparison_plots
from compressbench.reporting.tex import comparison_tex

Comparison = dict[str, Any]


def comparison_json(comparison: Comparison) -> str:
    """Strict JSON, indented, one comparison a file."""
    return json.dumps(comparison, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


_WRITERS: Mapping[str, Callable[[Comparison], str]] = {
    "md": comparison_markdown,
    "csv": comparison_csv,
    "json": comparison_json,
    "html": comparison_html,
    "tex": comparison_tex,
}
FORMATS = tuple(_WRITERS)


def write_reports(comparison: Comparison, to: Path, formats: Sequence[str]) -> list[Path]:
    """Write ``comparison.<format>`` for each format, and the plots under ``plots/``.

    Args:
        comparison: What `comparison.comparison` gives.
        to: A folder; made if absent.
        formats: Of `FORMATS`.

    Returns:
        The files written.

    Raises:
        UnknownName: If a format is unknown; then nothing is written.
    """
    for name in formats:
        if name not in _WRITERS:
            raise UnknownName("format", name, FORMATS)
    texts = {f"comparison.{name}": _WRITERS[name](comparison) for name in formats}
    texts |= {f"plots/{name}.svg": drawing for name, drawing in comparison_plots(comparison).items()}
    for name, text in texts.items():
        write_whole(to / name, text)
    return [to / name for name in texts]


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
