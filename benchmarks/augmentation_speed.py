"""Sentences a second of augmentation: the authors' loop of one forward pass a word, against both of our modes.

    python benchmarks/augmentation_speed.py --mlm DIR --vectors FILE --task CoLA --data-dir GLUE

All three augment the same sentences in each round, in random order of turns; ratios are paired by round. Targets: 8x
for `paired` (with `--blanks 1` the same input and so the same proposals), 18x for `masked`; 0.95 of the best 15 shared.
`--blanks 3` masks three words of a sentence at once, and the second table says what that changes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from transformers import BertForMaskedLM

from compressbench.environment import cpu_description, native_precision, usable_cores
from compressbench.memory import freed_memory_kept
from compressbench.methods.augment.candidates import CandidateSource, is_word, open_candidate_source
from compressbench.methods.augment.copies import draw_copies
from compressbench.methods.augment.proposals import Blank
from compressbench.methods.augment.settings import AugmentSettings, Mode, settings_from
from compressbench.methods.augment.vectors import WordVectors, open_vectors
from compressbench.methods.augment.words import Sentence, split_sentences
from compressbench.models.masked_lm import find_masked_lm, load_masked_lm
from compressbench.stats import RESAMPLES, Interval, ratio_interval
from compressbench.tasks.catalog import task_named
from compressbench.tasks.data import load_task_data

TARGETS: dict[Mode, float] = {"paired": 8.0, "masked": 18.0}
OVERLAP_TARGET = 0.95


@dataclass(frozen=True, kw_only=True)
class AuthorsLoop:
    """What the TinyBERT authors' script does, told in our words: each word by itself, in fp32, over every position.

    The sentence is cut into pieces anew for each word; the masked copy and the sentence are one pair; the scores of all
    positions are computed and the whole vocabulary is sorted for one of them. A word of several pieces is compared with
    all vectors, and all are sorted.
    """

    model: BertForMaskedLM
    source: CandidateSource
    vectors: WordVectors | None
    settings: AugmentSettings

    def augment(self, texts: Sequence[str]) -> list[list[tuple[str, ...]]]:
        """Copies of each text."""
        return [self._one(text, rng=np.random.default_rng(row)) for row, text in enumerate(texts)]

    def _one(self, text: str, *, rng: np.random.Generator) -> list[tuple[str, ...]]:
        (sentence,) = split_sentences([text], self.source.tokenizer)
        candidates = []
        for word in sentence.words:
            (again,) = split_sentences([text], self.source.tokenizer)
            if word.is_single_piece:
                ranked = self.ranked(Blank(pieces=again.pieces, place=word.piece))[: self.settings.candidates]
                pieces = [self.source.pieces[number] for number in ranked]
                candidates.append([piece for piece in pieces if not piece.startswith("##")])
            else:
                candidates.append(self._nearest(word.text))
        return draw_copies([sentence], [candidates], settings=self.settings, rng=rng)

    @cached_property
    def _special_ids(self) -> tuple[int, int, int]:
        vocabulary = self.source.tokenizer.get_vocab()
        return vocabulary["[CLS]"], vocabulary["[SEP]"], vocabulary["[MASK]"]

    def ranked(self, blank: Blank) -> list[int]:
        """Every piece, the most probable first."""
        opening, end, mask = self._special_ids
        masked = list(blank.pieces)
        masked[blank.place] = mask
        first = [opening, *masked, end]
        limit = self.model.config.max_position_embeddings
        ids = [*first, *blank.pieces, end][:limit]
        types = ([0] * len(first) + [1] * limit)[: len(ids)]
        with torch.inference_mode():
            scores = self.model(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types])).logits
        ranked: list[int] = torch.argsort(scores[0, blank.place + 1], descending=True).tolist()
        return ranked

    def _nearest(self, word: str) -> list[str]:
        place = self.vectors.place_of(word) if self.vectors else None
        if self.vectors is None or place is None:
            return []
        similarities = np.dot(self.vectors.unit, self.vectors.unit[place])
        similarities[place] = -np.inf
        return [self.vectors.words[row] for row in np.argsort(-similarities)[: self.settings.candidates]]


def batched(source: CandidateSource, settings: AugmentSettings, texts: Sequence[str]) -> list[list[tuple[str, ...]]]:
    """Copies of each text as `compressbench augment` makes them, without the file."""
    sentences = split_sentences(texts, source.tokenizer)
    found = source.of(sentences)
    return [
        draw_copies([each], [found[each.text]], settings=settings, rng=np.random.default_rng(row))
        for row, each in enumerate(sentences)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print two Markdown tables; exit 1 where a target is missed and `--check` was given."""
    given = _parser().parse_args(arguments)
    torch.set_num_threads(given.threads)
    texts = _texts(given)
    vectors = open_vectors(given.vectors) if given.vectors else None
    folder = find_masked_lm(given.mlm).path
    sources = {mode: _source(folder, vectors, mode=mode, given=given) for mode in TARGETS}
    loop = AuthorsLoop(
        model=load_masked_lm(folder), source=sources["paired"], vectors=vectors, settings=_settings("paired")
    )
    turns: dict[str, Callable[[Sequence[str]], object]] = {
        "authors' loop": loop.augment,
        "paired": lambda part: batched(sources["paired"], _settings("paired"), part),
        "masked": lambda part: batched(sources["masked"], _settings("masked"), part),
    }
    _describe(texts, sources["paired"], given)
    with freed_memory_kept():  # as the command does; the loop gains by it too
        seconds = measure(turns, texts, rounds=given.rounds, seed=given.seed)
    ratios = _tell_speed(seconds, size=given.sentences)
    overlaps = _tell_overlaps(loop, sources, texts[: given.sentences], count=given.overlap_words, seed=given.seed)
    missed: list[str] = [mode for mode, target in TARGETS.items() if ratios[mode].ratio < target]
    if overlaps < OVERLAP_TARGET:
        missed.append("overlap")
    print(f"\ntargets {'missed: ' + ', '.join(missed) if missed else 'reached'}")
    return 1 if missed and given.check else 0


def measure(
    turns: dict[str, Callable[[Sequence[str]], object]], texts: Sequence[str], *, rounds: int, seed: int
) -> dict[str, list[float]]:
    """Seconds of each turn in each round, after one untimed turn each on a few sentences."""
    size = len(texts) // rounds
    rng = np.random.default_rng(seed)
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for run in turns.values():
        run(texts[: min(4, size)])
    for number in range(rounds):
        part = texts[number * size : (number + 1) * size]
        for name in rng.permutation(list(turns)):
            start = time.perf_counter()
            turns[name](part)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def overlap(ours: np.ndarray, theirs: Sequence[Sequence[int]]) -> list[float]:
    """For each blank the share of their words that is among ours."""
    return [len(set(row.tolist()) & set(other)) / len(other) for row, other in zip(ours, theirs, strict=True)]


def _tell_speed(seconds: dict[str, list[float]], *, size: int) -> dict[Mode, Interval]:
    base = seconds["authors' loop"]
    print("\n| Way | Sentences/s | Against the loop [95 %] | Target |\n| --- | ---: | ---: | ---: |")
    print(f"| authors' loop | {size / np.median(base):.2f} | 1x | |")
    ratios = {}
    for mode, target in TARGETS.items():
        ratios[mode] = found = ratio_interval([base], [seconds[mode]], seed=0)
        print(
            f"| {mode} | {size / np.median(seconds[mode]):.2f} | "
            f"{found.ratio:.1f}x [{found.low:.1f}, {found.high:.1f}] | {target:g}x |"
        )
    return ratios


def _tell_overlaps(
    loop: AuthorsLoop, sources: dict[Mode, CandidateSource], texts: Sequence[str], *, count: int, seed: int
) -> float:
    """Shares of the best words in common with the loop's fp32 ranking (words alone); returns that of `paired`."""
    blanks = _blanks(split_sentences(texts, loop.source.tokenizer))
    chosen = np.random.default_rng(seed).permutation(len(blanks))[:count]
    best = loop.settings.candidates
    words = [is_word(piece) for piece in loop.source.pieces]
    theirs = [
        [piece for piece in loop.ranked(blank) if words[piece]][:best] for blank in map(blanks.__getitem__, chosen)
    ]
    print(f"\n| Mode | Of the loop's best {best} words among ours, {len(chosen)} words [95 %] |\n| --- | ---: |")
    means = {}
    for mode, source in sources.items():
        shares = np.array(overlap(source.proposer.propose(blanks)[chosen], theirs))
        drawn = np.random.default_rng(seed).choice(shares, size=(RESAMPLES, len(shares))).mean(axis=1)
        low, high = np.percentile(drawn, (2.5, 97.5))
        means[mode] = float(shares.mean())
        print(f"| {mode} | {means[mode]:.3f} [{low:.3f}, {high:.3f}] |")
    return means["paired"]


def _blanks(sentences: Sequence[Sentence]) -> list[Blank]:
    return [
        Blank(pieces=each.pieces, place=word.piece) for each in sentences for word in each.words if word.is_single_piece
    ]


def _describe(texts: Sequence[str], source: CandidateSource, given: argparse.Namespace) -> None:
    sentences = split_sentences(texts, source.tokenizer)
    pieces, words = (np.mean([len(getattr(each, name)) for each in sentences]) for name in ("pieces", "words"))
    print(
        f"{given.rounds} rounds of {given.sentences} sentences, on average {pieces:.1f} pieces and {words:.1f} words "
        f"to replace, {given.blanks} masked at once; {cpu_description()[0]}, {given.threads} threads, "
        f"ours in {given.precision}"
    )


def _texts(given: argparse.Namespace) -> list[str]:
    """Sentences of the task's training rows (first texts), drawn by the seed, of a length where batches matter."""
    rows = load_task_data(task_named(given.task), data_dir=given.data_dir, offline=True).rows("train")
    wanted = given.rounds * given.sentences
    fitting = [text for text in dict.fromkeys(rows.first) if len(text.split()) >= given.least_words]
    if len(fitting) < wanted:
        sys.exit(f"{given.task} has {len(fitting)} sentences of {given.least_words} words or more, not {wanted}")
    drawn = np.random.default_rng(given.seed).choice(len(fitting), size=wanted, replace=False)
    return [fitting[row] for row in drawn]


def _settings(mode: Mode, *, blanks: int = 1) -> AugmentSettings:
    return settings_from(mode=mode, blanks=blanks)


def _source(folder: Path, vectors: WordVectors | None, *, mode: Mode, given: argparse.Namespace) -> CandidateSource:
    return open_candidate_source(
        folder,
        vectors=vectors,
        settings=_settings(mode, blanks=given.blanks),
        precision=given.precision,
        device="cpu",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mlm", required=True, help="masked LM: folder or hub name")
    parser.add_argument("--vectors", type=Path, help="word vectors in GloVe's text format")
    parser.add_argument("--task", default="CoLA", help="whose training sentences are augmented")
    parser.add_argument("--data-dir", type=Path, help="GLUE's TSV files")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sentences", type=int, default=32, help="sentences a round")
    parser.add_argument("--least-words", type=int, default=12, help="blank-separated words a sentence must have")
    parser.add_argument("--blanks", type=int, default=1, help="words of a sentence masked at once")
    parser.add_argument("--overlap-words", type=int, default=200, help="words whose proposals are compared")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default=native_precision())
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
