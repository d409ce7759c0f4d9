"""Files of one's own as columns: CSV, TSV, JSON lines, Parquet, or a folder that `datasets` saved."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compressbench.errors import BadInput, listed

KINDS = (".csv", ".tsv", ".jsonl", ".parquet")


@dataclass(frozen=True, kw_only=True)
class Table:
    """One file's columns."""

    path: Path
    columns: Mapping[str, Sequence[Any]]
    """Values by column, in file order; all of one length."""
    lines: Sequence[int] = ()
    """The line each row begins on, where the file has lines."""
    is_text: bool = False
    """Whether numbers are spelled as text, as in CSV."""
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of class ids by column, where the file says them (a `ClassLabel` of `datasets`)."""

    def where(self, row: int) -> str:
        """Where a row stands, for messages: file and line, or file and row."""
        return f"{self.path}, line {self.lines[row]}" if self.lines else f"{self.path}, row {row + 1}"


def read_table(path: Path, *, split: str) -> Table:
    """Read a file, or one split of a `datasets` folder.

    Args:
        path: A ``.csv``, ``.tsv``, ``.jsonl`` (or ``.json`` of lines) or ``.parquet`` file, or a folder that
            ``save_to_disk`` wrote.
        split: ``train`` or ``validation``: which part of a folder that holds several.

    Raises:
        BadInput: If it is not there, is of another kind, or is malformed; with file and line where there are lines.
    """
    if path.is_dir():
        table = _read_folder(path, split)
    elif not path.is_file():
        raise BadInput(f"{path} is not there")
    else:
        reader = _READERS.get(path.suffix.lower())
        if reader is None:
            kinds = listed((*KINDS, "a folder that datasets saved"))
            raise BadInput(f"{path}: cannot read a {path.suffix or 'nameless'} file; give {kinds}")
        table = reader(path)
    if not table.columns or not len(next(iter(table.columns.values()))):
        raise BadInput(f"{path} has no rows")
    return table


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadInput(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from error


def _read_csv(path: Path) -> Table:
    return _delimited(path, _text(path).split("\n"), delimiter=",", is_quoted=True)


def _read_tsv(path: Path) -> Table:
    """Quoted like CSV, unless quotes are plain text there: then rows are lines, as in GLUE's files."""
    lines = _text(path).split("\n")
    width = lines[0].count("\t")
    misfit = next((at for at, line in enumerate(lines, 1) if line.strip("\r") and line.count("\t") != width), None)
    try:
        quoted = _delimited(path, lines, delimiter="\t", is_quoted=True)
    except BadInput as error:
        if misfit and isinstance(error.__cause__, csv.Error):
            found = lines[misfit - 1].count("\t") + 1
            raise BadInput(
                f"{error} (or, where quotes are plain text: line {misfit} has {found} columns, the header {width + 1})"
            ) from error
        if misfit:
            raise
        return _delimited(path, lines, delimiter="\t", is_quoted=False)
    row_count = sum(1 for line in lines if line.strip("\r")) - 1
    if not misfit and len(quoted.lines) != row_count:
        return _delimited(path, lines, delimiter="\t", is_quoted=False)
    return quoted


def _delimited(path: Path, lines: Sequence[str], *, delimiter: str, is_quoted: bool) -> Table:
    numbered = (f"{line}\n" for line in lines)
    if is_quoted:
        reader = csv.reader(numbered, delimiter=delimiter, strict=True)
    else:
        reader = csv.reader(numbered, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    names: list[str] = []
    values: list[list[str]] = []
    starts: list[int] = []
    line = 1
    try:
        for fields in reader:
            start, line = line, reader.line_num + 1
            if not fields:
                continue
            if not names:
                names = _header(path, fields)
                values = [[] for _ in names]
                continue
            if len(fields) != len(names):
                raise BadInput(f"{path}, line {start}: {len(fields)} columns where the header has {len(names)}")
            starts.append(start)
            for column, value in zip(values, fields, strict=True):
                column.append(value)
    except csv.Error as error:
        mend = "a text with quotes, separators or line ends must be quoted"
        raise BadInput(f"{path}, line {line}: {error}; {mend}") from error
    return Table(path=path, columns=dict(zip(names, values, strict=True)), lines=starts, is_text=True)


def _header(path: Path, fields: Sequence[str]) -> list[str]:
    names = [name.strip() for name in fields]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise BadInput(f"{path}, line 1: two columns are named {twice[0]!r}")
    return names


def _read_jsonl(path: Path) -> Table:
    rows: list[dict[str, Any]] = []
    starts: list[int] = []
    for line, text in enumerate(_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{path}, line {line}: not JSON ({error}); one object a line is expected") from error
        if not isinstance(row, dict):
            raise BadInput(f"{path}, line {line}: one JSON object a line is expected")
        rows.append(row)
        starts.append(line)
    names = {name: None for row in rows for name in row}
    return Table(path=path, columns={name: [row.get(name) for row in rows] for name in names}, lines=starts)


def _read_parquet(path: Path) -> Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"{path} is not a Parquet file: {_first_line(error)}") from error
    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice:
        raise BadInput(f"{path} has two columns named {twice[0]!r}: rename one")
    return Table(path=path, columns={name: table.column(name).to_pylist() for name in table.column_names})


def _read_folder(path: Path, split: str) -> Table:
    import datasets

    try:
        saved = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{path} is not a folder that datasets' save_to_disk wrote: {_first_line(error)}") from error
    if isinstance(saved, datasets.DatasetDict):
        names = (split, "dev") if split == "validation" else (split,)
        found = next((name for name in names if name in saved), None)
        if found is None:
            raise BadInput(f"{path} has no split {split!r}: it has {listed(map(repr, saved), last='and')}")
        saved = saved[found]
    features = saved.features
    return Table(
        path=path,
        columns={name: saved[name][:] for name in saved.column_names},
        class_names={
            name: tuple(feature.names) for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)
        },
    )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:160]


_READERS: Mapping[str, Callable[[Path], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".json": _read_jsonl,
    ".parquet": _read_parquet,
}
