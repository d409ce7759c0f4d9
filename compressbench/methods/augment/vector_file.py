"""From GloVe's text format to numbers on disk: one word and its numbers a line, parsed in blocks."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from compressbench.errors import BadInput
from compressbench.progress import Progress

BLOCK_LINES = 4096


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """What the first line says of the file."""

    dimension: int
    has_header: bool
    """Whether it holds two counts, as word2vec and fastText write them."""


def convert_vectors(path: Path, *, index: Path, numbers: Path, progress: Progress) -> None:
    """Write the vectors of `path`, scaled to length 1, to `numbers` and their words to `index`, which is written last.

    Of a word that stands twice the first line counts. A word may hold blanks, as some of GloVe's do.

    Raises:
        BadInput: If a line has another number of numbers than the first, or holds what is none; with its number.
    """
    words: dict[str, None] = {}
    shape: _Shape | None = None
    with (
        path.open("rb") as source,
        numbers.open("wb") as target,
        progress.stage(f"read vectors {path.name}", total=path.stat().st_size) as advance,
    ):
        for first_line, block in _blocks(source):
            shape, read, vectors = _read(path, block, first_line=first_line, shape=shape)
            is_new = [_is_added(word, words) for word in read]
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            unit = vectors / np.where(lengths > 0, lengths, 1.0)
            target.write(unit[is_new].astype(np.float32).tobytes())
            advance(sum(map(len, block)))
    if shape is None or not words:
        raise BadInput(f"the vectors file {path} holds no vectors: give word vectors in GloVe's text format")
    partial = index.with_suffix(".partial")
    partial.write_text(json.dumps({"dimension": shape.dimension, "words": list(words)}), encoding="utf-8")
    os.replace(partial, index)  # noqa: PTH105


def check_beginning(path: Path) -> None:
    """Refuse a file whose first block cannot be read.

    Raises:
        BadInput: As `convert_vectors` does.
    """
    with path.open("rb") as source:
        for first_line, block in islice(_blocks(source), 1):
            _read(path, block, first_line=first_line, shape=None)


def _blocks(source: Iterator[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Line number of the first line, and the lines, of one block after the other."""
    first_line = 1
    while block := list(islice(source, BLOCK_LINES)):
        yield first_line, block
        first_line += len(block)


def _read(
    path: Path, block: list[bytes], *, first_line: int, shape: _Shape | None
) -> tuple[_Shape, list[str], np.ndarray]:
    """Words and vectors of a block; the first one tells the shape."""
    lines = [_decoded(path, number, line) for number, line in enumerate(block, start=first_line)]
    if shape is None:
        shape = _shape_of(path, lines[0])
        if shape.has_header:
            lines[0] = ""
    return shape, *_parse(path, lines, first_line=first_line, dimension=shape.dimension)


def _decoded(path: Path, number: int, line: bytes) -> str:
    try:
        return line.decode("utf-8").rstrip("\r\n").rstrip(" ")
    except UnicodeDecodeError:
        raise BadInput(
            f"{path}, line {number}: not UTF-8 text; give word vectors in GloVe's text format, unpacked"
        ) from None


def _shape_of(path: Path, line: str) -> _Shape:
    fields = line.split(" ")
    if len(fields) == 2 and all(field.isascii() and field.isdigit() for field in fields):
        return _Shape(dimension=int(fields[1]), has_header=True)
    count = 0
    while count < len(fields) - 1 and _is_number(fields[-1 - count]):
        count += 1
    if not count:
        raise BadInput(f"{path}, line 1: no vector; a word and its numbers, between single blanks, are expected")
    return _Shape(dimension=count, has_header=False)


def _parse(path: Path, lines: list[str], *, first_line: int, dimension: int) -> tuple[list[str], np.ndarray]:
    """Words and float64 [words, dimension] of some lines; empty ones count for nothing."""
    words, tails, numbers = [], [], []
    for number, line in enumerate(lines, start=first_line):
        if not line:
            continue
        word, _, tail = line.partition(" ")
        if tail.count(" ") != dimension - 1:
            word, tail = _split_from_the_end(path, number, line, dimension=dimension)
        words.append(word)
        tails.append(tail)
        numbers.append(number)
    values = _numbers(" ".join(tails))
    if values is None or len(values) != len(words) * dimension or not np.isfinite(values).all():
        _raise_for_the_line(path, tails, numbers, dimension=dimension)
    assert values is not None
    return words, values.reshape(-1, dimension)


def _split_from_the_end(path: Path, number: int, line: str, *, dimension: int) -> tuple[str, str]:
    """A word with blanks in it and its numbers; further numbers before the last ones are too many."""
    fields = line.split(" ")
    extra = fields[1 : len(fields) - dimension]
    if len(fields) <= dimension or _is_number(extra[-1] if extra else "0"):
        count = len([field for field in fields[1:] if _is_number(field)])
        raise _wrong_dimension(path, number, count=count, dimension=dimension)
    return " ".join(fields[:-dimension]), " ".join(fields[-dimension:])


def _is_added(word: str, words: dict[str, None]) -> bool:
    count = len(words)
    words.setdefault(word)
    return len(words) > count


def _numbers(text: str) -> np.ndarray | None:
    """Numbers between blanks; None if something else stands among them."""
    if not text:
        return np.empty(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # older numpy warns where newer raises
        try:
            return np.fromstring(text, dtype=np.float64, sep=" ")
        except (ValueError, DeprecationWarning):
            return None


def _raise_for_the_line(path: Path, tails: list[str], numbers: list[int], *, dimension: int) -> None:
    """Find the line that is to blame.

    Raises:
        BadInput: With its number.
    """
    for number, tail in zip(numbers, tails, strict=True):
        fields = tail.split(" ")
        if len(fields) != dimension:
            raise _wrong_dimension(path, number, count=len(fields), dimension=dimension)
        wrong = next((field for field in fields if not _is_number(field)), None)
        if wrong is not None:
            raise BadInput(f"{path}, line {number}: {wrong!r} is not a finite number")


def _wrong_dimension(path: Path, number: int, *, count: int, dimension: int) -> BadInput:
    return BadInput(
        f"{path}, line {number}: a vector of dimension {count} where the file has {dimension}; "
        "give word vectors of one dimension"
    )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
