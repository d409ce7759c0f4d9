"""Which words may take a word's place: proposals of the masked LM for single pieces, neighbours for several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressbench.errors import BadInput, InvalidParameter
from compressbench.methods.augment.copies import Candidates
from compressbench.methods.augment.settings import AugmentSettings
from compressbench.methods.augment.vectors import WordVectors
from compressbench.methods.augment.words import Sentence
from compressbench.models.masked_lm import load_masked_lm, load_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from compressbench.methods.augment.proposals import Proposer


@dataclass(frozen=True, kw_only=True)
class CandidateSource:
    """Proposes words for whole sentences."""

    tokenizer: Tokenizer
    proposer: Proposer
    pieces: Sequence[str]
    """By number."""
    vectors: WordVectors | None
    count: int
    """K."""

    def of(
        self, sentences: Sequence[Sentence], *, on_batch: Callable[[int], None] | None = None
    ) -> dict[str, Candidates]:
        """By a sentence's text: for each of its words, the words that may take its place."""
        from compressbench.methods.augment.proposals import Blank

        different = {sentence.text: sentence for sentence in sentences}
        single = [
            (sentence, place)
            for sentence in different.values()
            for place, word in enumerate(sentence.words)
            if word.is_single_piece
        ]
        blanks = [Blank(pieces=sentence.pieces, place=sentence.words[place].piece) for sentence, place in single]
        proposed = self.proposer.propose(blanks, on_batch=on_batch)
        several = {word.text for each in different.values() for word in each.words if not word.is_single_piece}
        near = self.vectors.neighbours(sorted(several), count=self.count) if self.vectors else {}
        candidates: dict[str, list[Sequence[str]]] = {
            text: [() if word.is_single_piece else near.get(word.text, ()) for word in sentence.words]
            for text, sentence in different.items()
        }
        for (sentence, place), numbers in zip(single, proposed.tolist(), strict=True):
            candidates[sentence.text][place] = [self.pieces[number] for number in numbers if number >= 0]
        return dict(candidates)


def open_candidate_source(
    folder: Path, *, vectors: WordVectors | None, settings: AugmentSettings, precision: str, device: str
) -> CandidateSource:
    """Load the masked LM in `folder`.

    Raises:
        BadInput: If its tokenizer is of another kind, or knows pieces that the model does not.
        InvalidParameter: If K is more than the words it knows.
    """
    from compressbench.methods.augment.proposals import Proposer, SpecialPieces

    tokenizer = load_tokenizer(folder)
    model = load_masked_lm(folder)
    size = int(model.config.vocab_size)
    numbers = tokenizer.get_vocab()
    if max(numbers.values()) >= size:
        raise BadInput(
            f"{folder} has a tokenizer of {max(numbers.values()) + 1} pieces and a model of {size}: "
            "use the tokenizer that the model was trained with"
        )
    pieces = [""] * size
    for piece, number in numbers.items():
        pieces[number] = piece
    words = np.array([is_word(piece) for piece in pieces])
    if settings.candidates > words.sum():
        raise InvalidParameter(
            f"candidates={settings.candidates} (K) is more than the {words.sum()} words that {folder} knows"
        )
    special = SpecialPieces(cls=numbers["[CLS]"], sep=numbers["[SEP]"], mask=numbers["[MASK]"])
    return CandidateSource(
        tokenizer=tokenizer,
        proposer=Proposer(
            model,
            words=words,
            special=special,
            count=settings.candidates,
            mode=settings.mode,
            together=settings.blanks,
            precision=precision,
            device=device,
        ),
        pieces=pieces,
        vectors=vectors,
        count=settings.candidates,
    )


def is_word(piece: str) -> bool:
    """Whether a piece begins a word and is none of BERT's own, as ``[SEP]`` and ``[unused7]``."""
    is_own = piece.startswith("[") and piece.endswith("]") and len(piece) > 1
    return bool(piece) and not piece.startswith("##") and not is_own
