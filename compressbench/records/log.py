"""`records.jsonl`: one record a line, appended and on disk before the next measurement begins."""

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compressbench.errors import BadInput
from compressbench.records.schema import RECORD_TYPES, SCHEMA_VERSION, QualityRecord, Record, to_json

LOG_NAME = "records.jsonl"


@dataclass(frozen=True, kw_only=True)
class LogContents:
    """What a log holds, and what had to be left out."""

    records: list[Record]
    warnings: list[str]
    """One sentence for each line that a stopped writer left unfinished."""


class RecordLog:
    """An append-only file of records; one writer at a time, any number of readers."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Record, *, session: int = 0) -> None:
        """Write one record; when this returns it survives a crash of program or machine.

        A line that an earlier writer left unfinished keeps its place and is ended first.

        Args:
            record: What to write.
            session: That it was found in, for records that do not say it themselves.

        Raises:
            BadInput: If it cannot be written.
        """
        line = json.dumps(_line(record, session), default=_plain, separators=(",", ":")).encode() + b"\n"
        try:
            with self.path.open("ab+") as stream:
                end = stream.seek(0, os.SEEK_END)
                if end:
                    stream.seek(end - 1)
                    if stream.read(1) != b"\n":
                        line = b"\n" + line
                stream.write(line)  # one write: a crash leaves at most this line unfinished
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise BadInput(
                f"{self.path} cannot be written ({error.strerror}): make that possible, and the same command goes on"
            ) from None

    def read(self) -> LogContents:
        """All records in the order they were written; an absent file holds none.

        A line that is cut short (a writer was stopped in it) is named in `warnings` and the rest is used; it may
        stand before others, for whoever goes on ends it and writes on.

        Raises:
            BadInput: If a line is damaged, is of another schema version or holds no record.
        """
        records: list[Record] = []
        warnings: list[str] = []
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return LogContents(records=[], warnings=[])
        except OSError as error:
            raise BadInput(f"{self.path} cannot be read: {error.strerror}") from None
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{self.path}, line {number}"
            try:
                values = json.loads(line)
            except ValueError as error:
                if not line.startswith(b"{"):  # a cut line still begins as a record does
                    raise BadInput(f"{where} is no record: this file was not written by compressbench") from None
                if not _is_cut(line):
                    place = getattr(error, "pos", getattr(error, "start", 0)) + 1
                    raise BadInput(
                        f"{where} is damaged at character {place}: restore the file, or delete the line to use the rest"
                    ) from None
                warnings.append(f"{where} is cut short, because writing it was interrupted; the other records are used")
                continue
            records.append(from_json(values, where=where))
        return LogContents(records=records, warnings=warnings)


def from_json(values: Any, *, where: str) -> Record:
    """The record that `to_json` made these values from.

    Args:
        values: A parsed JSON value.
        where: File and line, for the error.

    Raises:
        BadInput: If the schema version or the kind is unknown, or fields are missing or unknown.
    """
    if not isinstance(values, Mapping) or "schema_version" not in values:
        raise BadInput(f"{where} is no record: it has no schema_version")
    if values["schema_version"] not in range(1, SCHEMA_VERSION + 1):
        raise BadInput(
            f"{where} is of schema version {values['schema_version']!r} and this program reads 1 to {SCHEMA_VERSION}: "
            "use the version of compressbench that wrote it, or run anew"
        )
    record_type = RECORD_TYPES.get(str(values.get("kind")))
    if record_type is None:
        raise BadInput(f"{where} holds a record of unknown kind {values.get('kind')!r}: was it written by a plug-in?")
    known = {each.name for each in dataclasses.fields(record_type)}
    beside = {"schema_version", "kind", "session", "predictions"} - known
    try:
        return record_type(**{name: value for name, value in values.items() if name not in beside})
    except TypeError as error:
        raise BadInput(f"{where} is no complete {record_type.kind!r} record ({error})") from None


def _line(record: Record, session: int) -> dict[str, Any]:
    """A record as its line tells it: with its session and, beside logits, what they predict."""
    values = {"session": session, **to_json(record)}
    if isinstance(record, QualityRecord):
        values["predictions"] = record.predictions
    return values


def _is_cut(line: bytes) -> bool:
    """Whether a line that is no JSON is the beginning of some: with an end put to it, it is read."""
    # Strings empty, the last one ended where it was cut; then a number or a word that may be cut left out.
    bare = re.sub(rb'"(?:[^"\\]|\\.)*(?:"|\\?$)', b'""', line)
    bare = re.sub(rb"[-+.\w]+$", b"", bare)
    ends: list[bytes] = []
    for bracket in re.findall(rb"[][{}]", bare):
        if bracket in b"[{":
            ends.append(b"]" if bracket == b"[" else b"}")
        elif not ends or ends.pop() != bracket:
            return False
    return bool(ends) and any(_is_json(bare + end + b"".join(reversed(ends))) for end in (b"", b"0", b":0", b'"":0'))


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _plain(value: Any) -> Any:
    """Numbers and arrays of numpy as JSON's own."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no part of a record")
