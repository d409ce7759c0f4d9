"""All rows of a task and their copies, streamed to a file chunk by chunk; an interruption loses one chunk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from compressbench.environment import major_minor
from compressbench.errors import BadInput
from compressbench.memory import freed_memory_kept
from compressbench.methods.augment.candidates import CandidateSource, open_candidate_source
from compressbench.methods.augment.copies import Candidates, draw_copies, row_key
from compressbench.methods.augment.journal import ResumableFile
from compressbench.methods.augment.row_file import RowLayout
from compressbench.methods.augment.settings import AugmentSettings
from compressbench.methods.augment.vectors import WordVectors
from compressbench.methods.augment.words import Sentence, split_sentences
from compressbench.models.masked_lm import MaskedLm
from compressbench.progress import Progress
from compressbench.tasks.task import Rows

REVISION = 1
"""Raised when the same settings make other rows."""
WINDOW_ROWS = 256
CHUNK_TOKENS = 1 << 15
"""About what two cores read in ten seconds: no more is lost by an interruption."""
MERGED_AT = 1 << 16
LIBRARIES = ("torch", "transformers", "tokenizers", "numpy")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What decides the rows that come out, beside those that go in."""

    settings: AugmentSettings
    masked_lm: MaskedLm
    vectors: WordVectors | None
    seed: int
    precision: str

    def digest(self, rows: Rows, layout: RowLayout) -> str:
        """sha256 over all that decides the bytes of the file."""
        content = {
            "revision": REVISION,
            "settings": asdict(self.settings),
            "masked_lm": self.masked_lm.fingerprint,
            "vectors": self.vectors.fingerprint if self.vectors else "",
            "seed": self.seed,
            "precision": self.precision,
            "rows": rows.fingerprint,
            "layout": asdict(layout),
            "libraries": {name: major_minor(name) for name in LIBRARIES},
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def augment_rows(
    rows: Rows,
    *,
    to: Path,
    layout: RowLayout,
    augmentation: Augmentation,
    name: str,
    threads: int,
    device: str,
    progress: Progress,
) -> dict[str, int]:
    """Write every row, its copies after it, to the new file `to`.

    The same call after an interruption goes on after the last complete chunk, and ends in the same bytes. A copy
    equal to any row of the task, or to a copy written before, is dropped; the rows themselves are all kept.

    Returns:
        Counts: `rows` read, `written`, `words` that might be replaced, and `unknown` ones of several pieces for which
        there was no neighbour.

    Raises:
        BadInput: If there are no labels, or the file cannot be written.
    """
    import torch

    if rows.labels is None:
        raise BadInput(f"the rows of {name} have no labels: augmented rows keep those of the rows they come from")
    torch.set_num_threads(threads)
    columns = [rows.first] if rows.second is None else [rows.first, rows.second]
    texts = [tuple(map(layout.writable, row)) for row in zip(*columns, strict=True)]
    source = open_candidate_source(
        augmentation.masked_lm.path,
        vectors=augmentation.vectors,
        settings=augmentation.settings,
        precision=augmentation.precision,
        device=device,
    )
    file = ResumableFile(to, digest=augmentation.digest(rows, layout))
    with freed_memory_kept(), file.opened() as standing:
        counts = dict.fromkeys(("rows", "written", "words", "unknown"), 0) | dict(standing)
        seen = SeenRows(row_key(row) for row in texts)
        if counts["written"]:
            seen.add(row_key(row) for row, _ in layout.read(file.partial))
        drawing = _Drawing(rows=texts, labels=rows.labels, layout=layout, augmentation=augmentation, seen=seen)
        with progress.stage(f"augment {name}", total=len(rows) - counts["rows"]) as advance:
            for start, chunk in chunks(texts, source, begin=counts["rows"]):
                found = source.of([sentence for row in chunk for sentence in row])
                lines = [line for place, row in enumerate(chunk, start) for line in drawing.lines(place, row, found)]
                _count(counts, chunk, found, written=len(lines))
                file.append("".join([layout.header, *lines] if start == 0 else lines), counts=counts)
                advance(len(chunk))
    return counts


@dataclass(frozen=True, kw_only=True)
class _Drawing:
    """Draws the copies of one row after the other."""

    rows: Sequence[tuple[str, ...]]
    labels: np.ndarray
    layout: RowLayout
    augmentation: Augmentation
    seen: SeenRows

    def lines(self, place: int, row: Sequence[Sentence], found: Mapping[str, Candidates]) -> list[str]:
        """The row at `place` and those of its copies that are new."""
        rng = np.random.default_rng((self.augmentation.seed, place))
        candidates = [found[sentence.text] for sentence in row]
        copies = draw_copies(row, candidates, settings=self.augmentation.settings, rng=rng)
        return [self.layout.line(each, self.labels[place]) for each in (self.rows[place], *self.seen.added(copies))]


class SeenRows:
    """Which rows were written, as 64-bit hashes: a sorted array of 8 bytes a row, and a small set of the latest."""

    def __init__(self, keys: Iterator[str]) -> None:
        self._sorted = np.empty(0, dtype=np.uint64)
        self._latest: set[int] = set()
        self.add(keys)

    def add(self, keys: Iterator[str]) -> None:
        """Remember rows by their keys."""
        hashes = np.unique(np.fromiter(map(_hash, keys), dtype=np.uint64))
        self._sorted = np.insert(self._sorted, np.searchsorted(self._sorted, hashes), hashes)

    def added(self, rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """Those of `rows` (different from one another) that are new; they are remembered."""
        hashes = np.fromiter((_hash(row_key(row)) for row in rows), dtype=np.uint64, count=len(rows))
        places = np.searchsorted(self._sorted, hashes)
        inside = places < len(self._sorted)
        is_old = np.zeros(len(rows), dtype=bool)
        is_old[inside] = self._sorted[places[inside]] == hashes[inside]
        new = [
            row
            for row, number, old in zip(rows, hashes.tolist(), is_old, strict=True)
            if not old and number not in self._latest
        ]
        self._latest.update(hashes[~is_old].tolist())
        if len(self._latest) > MERGED_AT:
            latest = np.array(sorted(self._latest), dtype=np.uint64)
            self._sorted = np.insert(self._sorted, np.searchsorted(self._sorted, latest), latest)
            self._latest = set()
        return new


def chunks(
    texts: Sequence[tuple[str, ...]], source: CandidateSource, *, begin: int = 0
) -> Iterator[tuple[int, list[tuple[Sentence, ...]]]]:
    """First row and sentences of each chunk from row `begin` on, which must be where a chunk begins.

    A chunk is as many rows as cost about `CHUNK_TOKENS`, and none crosses a multiple of `WINDOW_ROWS`: so where
    chunks begin follows from the rows alone, wherever the work was taken up.
    """
    for window in range(begin // WINDOW_ROWS * WINDOW_ROWS, len(texts), WINDOW_ROWS):
        rows = texts[window : window + WINDOW_ROWS]
        columns = [split_sentences(column, source.tokenizer) for column in zip(*rows, strict=True)]
        sentences = list(zip(*columns, strict=True))
        costs = [sum(len(each.words) * (2 * len(each.pieces) + 3) for each in row) for row in sentences]
        start = 0
        while start < len(rows):
            end, cost = start + 1, costs[start]
            while end < len(rows) and cost + costs[end] <= CHUNK_TOKENS:
                cost += costs[end]
                end += 1
            if window + start >= begin:
                yield window + start, sentences[start:end]
            start = end


def _count(
    counts: dict[str, int], chunk: Sequence[Sequence[Sentence]], found: Mapping[str, Candidates], *, written: int
) -> None:
    """Add a chunk to the counts."""
    counts["rows"] += len(chunk)
    counts["written"] += written
    for sentence in (each for row in chunk for each in row):
        options = zip(sentence.words, found[sentence.text], strict=True)
        counts["words"] += len(sentence.words)
        counts["unknown"] += sum(not words and not word.is_single_piece for word, words in options)


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
