"""Algorithm 1 of the paper: copies of a row in which some words are replaced."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compressbench.methods.augment.settings import AugmentSettings
from compressbench.methods.augment.words import Sentence

Candidates = Sequence[Sequence[str]]
"""For each word of a sentence the words that may take its place; none where nothing is proposed."""


def draw_copies(
    sentences: Sequence[Sentence],
    candidates: Sequence[Candidates],
    *,
    settings: AugmentSettings,
    rng: np.random.Generator,
) -> list[tuple[str, ...]]:
    """Draw N_a copies of a row and keep those that are new, at most ``factor - 1``.

    In each copy every word is replaced with probability p_t, by one of its candidates, each as likely. Both sentences
    of a pair are drawn anew in each copy. A copy equal to the row or to an earlier copy, whatever the case of its
    letters, is dropped.

    Args:
        sentences: The row's text, or both of a pair.
        candidates: For each sentence.
        settings: p_t, N_a and the factor.
        rng: Of this row alone, so that no other row and no batch size changes what is drawn.

    Reference:
        Jiao et al. 2020, arXiv:1909.10351, algorithm 1. Candidates are those of the unchanged sentence, as in the
        authors' code: the printed algorithm asks the model again after each replacement.
    """
    slots = [
        (sentence, word, options)
        for sentence, of_words in enumerate(candidates)
        for word, options in enumerate(of_words)
        if options
    ]
    is_replaced = rng.random((settings.copies, len(slots))) < settings.probability
    choices = rng.integers(0, [len(options) for _, _, options in slots], size=is_replaced.shape)
    seen = {row_key([sentence.text for sentence in sentences])}
    kept: list[tuple[str, ...]] = []
    for replaced, chosen in zip(is_replaced, choices, strict=True):
        replacements: list[dict[int, str]] = [{} for _ in sentences]
        for place in np.flatnonzero(replaced):
            sentence, word, options = slots[place]
            replacements[sentence][word] = options[chosen[place]]
        texts = tuple(each.with_words(changed) for each, changed in zip(sentences, replacements, strict=True))
        key = row_key(texts)
        if key not in seen:
            seen.add(key)
            kept.append(texts)
        if len(kept) == settings.factor - 1:
            break
    return kept


def row_key(texts: Sequence[str]) -> str:
    """What makes two rows the same: their texts, whatever the case of letters."""
    return "\x1f".join(texts).lower()
