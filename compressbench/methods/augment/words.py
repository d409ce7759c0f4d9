"""A sentence as words and their pieces, with where each word stands in the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compressbench.methods.augment.stop_words import STOP_WORDS

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word that may be replaced."""

    start: int
    """First character in the text."""
    end: int
    """One past the last."""
    text: str
    piece: int
    """Place of its first piece in the sentence."""
    is_single_piece: bool


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """A text, its piece numbers (no special ones), and the words of it that may be replaced."""

    text: str
    pieces: tuple[int, ...]
    words: tuple[Word, ...]

    def with_words(self, replacements: dict[int, str]) -> str:
        """The text with some of its words (by their place in `words`) replaced; all else stays as it was written."""
        parts, written = [], 0
        for place in sorted(replacements):
            word = self.words[place]
            parts += [self.text[written : word.start], replacements[place]]
            written = word.end
        return "".join([*parts, self.text[written:]])


def split_sentences(texts: Sequence[str], tokenizer: Tokenizer) -> list[Sentence]:
    """Each text as a `Sentence`. Words of letters alone that are no stop words may be replaced."""
    return [
        Sentence(text=text, pieces=tuple(encoding.ids), words=tuple(_words(text, encoding)))
        for text, encoding in zip(texts, tokenizer.encode_batch(list(texts), add_special_tokens=False), strict=True)
    ]


def is_replaceable(word: str) -> bool:
    """Whether a word is of letters alone and carries content."""
    return word.isalpha() and word.lower() not in STOP_WORDS


def _words(text: str, encoding: object) -> list[Word]:
    """Groups of pieces with the same word number; offsets are characters of the text as written."""
    groups: dict[int, list[int]] = {}
    for piece, number in enumerate(encoding.word_ids):  # type: ignore[attr-defined]
        groups.setdefault(number, []).append(piece)
    offsets = encoding.offsets  # type: ignore[attr-defined]
    words = []
    for pieces in groups.values():
        start, end = offsets[pieces[0]][0], offsets[pieces[-1]][1]
        if is_replaceable(text[start:end]):
            words.append(
                Word(start=start, end=end, text=text[start:end], piece=pieces[0], is_single_piece=len(pieces) == 1)
            )
    return words
