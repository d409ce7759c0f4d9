"""A corpus in the teacher's token ids, packed once for every general distillation that reads it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.manifest import Format
from compressbench.artifacts.store import home
from compressbench.corpus import Corpus
from compressbench.errors import BadInput, InvalidParameter
from compressbench.methods.method import Compressed, Context, Method
from compressbench.models.geometry import Geometry
from compressbench.units import format_mib

if TYPE_CHECKING:
    from compressbench.progress import Advance

ROWS_NAME = "rows.safetensors"
BYTES_PER_CHARACTER = 0.6
"""Upper estimate for text in Latin letters: two bytes a token, four or five characters a token."""
UNKNOWN_SHARE = 0.2
"""Of unknown pieces, above which the corpus is hardly in the teacher's language."""


@dataclass(frozen=True, kw_only=True)
class PackedCorpus(Method):
    """Rows of one length in token ids, in the order of the text."""

    name: ClassVar[str] = "packed-corpus"
    revision: ClassVar[int] = 1
    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    produces: ClassVar[Format] = "rows"
    reference: ClassVar[str] = "https://arxiv.org/abs/1907.11692"
    libraries: ClassVar[tuple[str, ...]] = ("tokenizers",)
    reads_rows: ClassVar[bool] = False
    starts_from: ClassVar[Literal["source", "pretrained"]] = "pretrained"

    corpus: str
    length: int
    rows: int | Literal["all"]

    def check(self, source: Geometry) -> Geometry:
        """See `Method.check`: rows must not be longer than the teacher's positions."""
        if self.length > source.positions:
            raise InvalidParameter(
                f"general_length={self.length} is longer than the {source.positions} positions of the teacher"
            )
        return source

    def check_files(self, *, offline: bool) -> None:
        """See `Method.check_files`; the packed rows must fit on the disk."""
        corpus = Corpus(self.corpus)
        corpus.check(offline=offline)
        needed = corpus.size_bytes * BYTES_PER_CHARACTER
        if self.rows != "all":
            needed = min(needed, self.rows * self.length * 2)
        folder = next(each for each in (home(), *home().parents) if each.exists())
        free_bytes = shutil.disk_usage(folder).free
        if needed > free_bytes:
            raise BadInput(
                f"corpus={self.corpus} takes about {format_mib(int(needed))} MiB in tokens, and {folder} has "
                f"{format_mib(free_bytes)} MiB free: lower general_rows, or set COMPRESSBENCH_HOME to a larger disk"
            )

    def fingerprints(self) -> Mapping[str, str]:
        """See `Method.fingerprints`."""
        return {"corpus": Corpus(self.corpus).fingerprint}

    def compress(self, source: Artifact, context: Context) -> Compressed:
        """Read the corpus once, in bounded memory, and write its rows."""
        from compressbench.corpus.packing import packed_rows, special_ids, tokenized
        from compressbench.corpus.row_file import write_row_file

        corpus = Corpus(self.corpus)
        tokenizer, cls_id, sep_id, pad_id = special_ids(source.tokenizer_path)
        unknown_id = next((found for word in ("[UNK]", "<unk>") if (found := tokenizer.token_to_id(word))), -1)
        counted = Counted(unknown_id=unknown_id)
        with context.progress.stage("corpus to tokens", total=corpus.size_bytes) as advance:
            pieces = tokenized(told(corpus.lines(), advance), tokenizer)
            rows: Iterable[list[int]] = packed_rows(pieces, length=self.length, cls_id=cls_id, sep_id=sep_id)
            count = write_row_file(
                context.to / ROWS_NAME,
                counted.through(rows if self.rows == "all" else islice(rows, self.rows)),
                length=self.length,
                pad_id=pad_id,
                vocab=tokenizer.get_vocab_size(),
            )
        if not count:
            raise BadInput(f"corpus={self.corpus} holds no text: give a file with a sentence or paragraph a line")
        return Compressed(geometry=None, budget={"rows": count, "tokens": counted.tokens}, warnings=counted.warnings)


@dataclass
class Counted:
    """Counts tokens on their way, and how many of them the vocabulary does not know."""

    unknown_id: int
    tokens: int = 0
    unknown: int = 0

    def through(self, rows: Iterable[list[int]]) -> Iterator[list[int]]:
        """The same rows."""
        for row in rows:
            self.tokens += len(row)
            self.unknown += row.count(self.unknown_id)
            yield row

    @property
    def warnings(self) -> tuple[str, ...]:
        """One, if the corpus is hardly in the vocabulary's language."""
        share = self.unknown / max(1, self.tokens)
        if share <= UNKNOWN_SHARE:
            return ()
        return (f"the teacher's vocabulary does not know {share:.0%} of the corpus: is it in another language?",)


def told(lines: Iterable[str], advance: Advance, *, every: int = 1 << 16) -> Iterator[str]:
    """The same lines; `advance` hears of every `every` characters."""
    held = 0
    for line in lines:
        held += len(line) + 1
        if held >= every:
            advance(held)
            held = 0
        yield line
    advance(held)


def rows_path(artifact: Artifact) -> Path:
    """The file with the rows."""
    return artifact.path / ROWS_NAME
