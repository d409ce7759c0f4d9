"""The grammars against readers written apart from them: a tiny model of the world, a parser, a calculator."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from compressbench.errors import UnknownName
from compressbench.tasks.synthetic import (
    LABEL_NOISE,
    SYNTHETIC_TASKS,
    VOCABULARY_SIZE,
    clean_labels,
    synthetic_rows,
    write_tokenizer,
)
from compressbench.tasks.synthetic_words import ADJECTIVES, BLAME, KINDS, NOUNS, PLACES, PRAISE, TIMES, VERBS
from compressbench.tasks.task import Rows, majority_share

NAMES = tuple(SYNTHETIC_TASKS)


def texts_of(rows: Rows) -> list[tuple[str, ...]]:
    return list(zip(rows.first, rows.second, strict=True)) if rows.second else [(text,) for text in rows.first]


@pytest.mark.parametrize("name", NAMES)
class TestEveryTask:
    def test_no_row_is_in_both_splits_or_twice(self, name: str) -> None:
        dev, train = (texts_of(synthetic_rows(name, split)) for split in ("dev", "train"))
        assert len(dev) >= 500
        assert len(set(dev) | set(train)) == len(dev) + len(train)

    def test_rows_are_short(self, name: str) -> None:
        most = max(sum(len(text.split()) for text in texts) for texts in texts_of(synthetic_rows(name, "train")))
        assert most <= (26 if SYNTHETIC_TASKS[name].is_pair else 16)

    def test_noise_flips_the_stated_share(self, name: str) -> None:
        labels, clean = synthetic_rows(name, "train").labels, clean_labels(name, "train")
        assert float(np.mean(labels != clean)) == pytest.approx(LABEL_NOISE[name], abs=0.01)

    def test_both_splits_are_balanced_as_the_task_says(self, name: str) -> None:
        share = {"synthetic-acceptability": 0.68, "synthetic-paraphrase": 0.66}.get(name, 0.5)
        for split in ("train", "dev"):
            labels = synthetic_rows(name, split).labels
            assert labels is not None
            assert majority_share(labels) == pytest.approx(share, abs=0.04)

    def test_the_value_says_it_is_generated(self, name: str) -> None:
        task = SYNTHETIC_TASKS[name]
        assert task.is_generated
        assert "not GLUE" in task.reference
        assert len(task.labels) == 2


def test_rows_do_not_depend_on_the_process() -> None:
    program = (
        "import json; from compressbench.tasks.synthetic import *;"
        "print(json.dumps({n: synthetic_rows(n, 'train').fingerprint for n in SYNTHETIC_TASKS}))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    answer = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert json.loads(answer.stdout) == {name: synthetic_rows(name, "train").fingerprint for name in NAMES}


def test_metrics_and_shapes_are_those_of_the_models() -> None:
    assert [task.metrics for task in SYNTHETIC_TASKS.values()] == [
        ("matthews_correlation", "accuracy"),
        ("accuracy",),
        ("accuracy", "f1"),
        ("accuracy",),
    ]
    assert [task.is_pair for task in SYNTHETIC_TASKS.values()] == [False, False, True, True]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownName, match="did you mean 'synthetic-sentiment'"):
        synthetic_rows("synthetic-sentimint", "dev")
    with pytest.raises(UnknownName, match="did you mean 'train'"):
        synthetic_rows("synthetic-sentiment", "trains")


class TestTokenizer:
    def test_it_opens_with_transformers_and_knows_every_word(self, tmp_path: Path) -> None:
        from transformers import AutoTokenizer

        write_tokenizer(tmp_path)
        tokenizer = AutoTokenizer.from_pretrained(tmp_path)
        assert len(tokenizer) == VOCABULARY_SIZE == len((tmp_path / "vocab.txt").read_text().splitlines()) == 30_522
        for name in NAMES:
            for split in ("train", "dev"):
                for column in zip(*texts_of(synthetic_rows(name, split)), strict=True):
                    ids = tokenizer(list(column))["input_ids"]
                    assert not any(tokenizer.unk_token_id in each for each in ids)
                    assert tokenizer.decode(ids[0], skip_special_tokens=True) == column[0]

    def test_pairs_are_written_as_bert_writes_them(self, tmp_path: Path) -> None:
        from transformers import AutoTokenizer

        write_tokenizer(tmp_path)
        tokenizer = AutoTokenizer.from_pretrained(tmp_path)
        encoded = tokenizer("The dogs", "a cat")
        assert tokenizer.convert_ids_to_tokens(encoded["input_ids"]) == [
            "[CLS]", "the", "dog", "##s", "[SEP]", "a", "cat", "[SEP]",
        ]  # fmt: skip
        assert encoded["token_type_ids"] == [0, 0, 0, 0, 0, 1, 1, 1]


# ---- acceptability: number of determiner, noun, verb and pronoun must agree


PLURAL_DETERMINERS, SINGULAR_DETERMINERS = {"these", "many", "several"}, {"this", "every", "each"}
SINGULARS, PLURALS = {noun.singular for noun in NOUNS}, {noun.plural for noun in NOUNS}
BASES, THIRDS, PASTS = ({getattr(verb, form) for verb in VERBS} for form in ("base", "third", "past"))


def is_acceptable(text: str) -> bool:
    words = text.split()
    determiner = words.pop(0)
    if words[0] in ADJECTIVES:
        words.pop(0)
    noun = words.pop(0)
    if noun not in SINGULARS | PLURALS:
        return False
    plural = noun in PLURALS
    if determiner in (SINGULAR_DETERMINERS if plural else PLURAL_DETERMINERS):
        return False
    if words[0] in ("near", "behind"):
        if words[1] != "the" or words[2] not in SINGULARS | PLURALS:
            return False
        words = words[3:]
    if words[-1] in ("itself", "themselves"):
        return (words[-1] == "themselves") == plural and words[0] in PASTS
    if words[:2] in (["has", "ever"], ["have", "ever"]):
        return determiner == "no" and (words[0] == "have") == plural and words[2] in PASTS
    if words[0] == "will":
        return words[1] in BASES and is_object(words[2:])
    if words[0] in ("has", "have"):
        return (words[0] == "have") == plural and words[1] in PASTS and is_object(words[2:])
    return words[0] in (BASES if plural else THIRDS) and is_object(words[1:])


def is_object(words: list[str]) -> bool:
    plain = not words[2:] or (words[2:4] == ["near", "the"] and words[4] in PLACES)
    return len(words) in (2, 5) and plain and words[0] in ("the", "some") and words[1] in SINGULARS | PLURALS


@pytest.mark.parametrize("split", ["train", "dev"])
def test_acceptability_is_what_a_parser_finds(split: str) -> None:
    name = "synthetic-acceptability"
    for text, label in zip(synthetic_rows(name, split).first, clean_labels(name, split), strict=True):
        assert is_acceptable(text) == bool(label), text


# ---- sentiment: strengths, negation and contrast, added up


def side_of(text: str) -> bool:
    text = text.removeprefix("overall ").removeprefix("to me ")
    weights = (1.0, 1.0)
    if text.startswith("although "):
        first, second = text.removeprefix("although the ").split(" the ")
        weights = (1.0, 2.5)
    elif " but " in text:
        first, second = text.split(" but ")
        weights = (1.0, 2.5)
    else:
        first, _, second = text.partition(" and ")
    return weights[0] * worth(first) + weights[1] * (worth(second) if second else 0.0) > 0


def worth(clause: str) -> float:
    *_, adjective = clause.split()
    strength = PRAISE.get(adjective, 0) - BLAME.get(adjective, 0)
    for words, factor in (("very", 1.5), ("a bit", 0.5), ("not", -0.75), ("never", -1.0), ("hardly", -0.75)):
        if f" {words} {adjective}" in clause:
            return factor * strength
    return strength


@pytest.mark.parametrize("split", ["train", "dev"])
def test_sentiment_is_what_a_calculator_finds(split: str) -> None:
    name = "synthetic-sentiment"
    for text, label in zip(synthetic_rows(name, split).first, clean_labels(name, split), strict=True):
        assert side_of(text) == bool(label), text


# ---- paraphrase: back to who did what, in one wording


ONE_WORDING = {
    **{noun.synonym[0]: noun.singular for noun in NOUNS if noun.synonym},
    **{verb.synonym: verb.past for verb in VERBS if verb.synonym},
    **{synonym: word for word, synonym in (*ADJECTIVES.items(), *TIMES.items()) if synonym},
}


def event_of(sentence: str) -> tuple[object, ...]:
    words = [ONE_WORDING.get(word, word) for word in sentence.split()]
    time = words.pop() if words[-1] in TIMES else None
    place = tuple(words[-3:]) if words[-3] in ("near", "behind") else None
    words = words[:-3] if place else words
    denied = "never" in words
    words = [word for word in words if word != "never"]
    verb = next(word for word in words if word in PASTS)
    at = words.index(verb)
    front, back = tuple(words[:at]), tuple(words[at + 1 :])
    if front[-1] == "was":
        front, back = back[1:], front[:-1]
    return front, verb, back, denied, time, place


@pytest.mark.parametrize("split", ["train", "dev"])
def test_paraphrases_are_sentences_about_one_event(split: str) -> None:
    name = "synthetic-paraphrase"
    for texts, label in zip(texts_of(synthetic_rows(name, split)), clean_labels(name, split), strict=True):
        first, second = map(event_of, texts)
        assert (first == second) == bool(label), texts


# ---- entailment: true in every world in which the premise is true


KIND_OF = {noun.singular: noun.kind for noun in NOUNS}


def claim_of(text: str) -> tuple[str, str | None, str, str, str, str | None]:
    words = text.split()
    quantifier = words.pop(0)
    adjective = words.pop(0) if words[0] in ADJECTIVES else None
    subject, verb, _, thing = words[:4]
    return quantifier, adjective, subject, verb, thing, " ".join(words[4:]) or None


def holds(text: str, world: list[tuple[str, str | None, set[tuple[str, str, str]]]]) -> bool:
    quantifier, adjective, subject, verb, thing, place = claim_of(text)
    answers = [
        any(
            did == verb and thing in (what, KIND_OF[what]) and (place is None or place == where)
            for did, what, where in deeds
        )
        for noun, look, deeds in world
        if subject in (noun, KIND_OF[noun]) and (adjective is None or adjective == look)
    ]
    assert answers  # a claim is about someone
    return {"every": all(answers), "some": any(answers), "no": not any(answers)}[quantifier]


def worlds(
    texts: tuple[str, str], rng: random.Random
) -> Iterator[list[tuple[str, str | None, set[tuple[str, str, str]]]]]:
    """Worlds in which someone of each noun and look does few or many of the deeds that the two claims speak of."""
    claims = [claim_of(text) for text in texts]
    things = {noun for claim in claims for noun in members(claim[4])}
    deeds = [(claim[3], thing, place) for claim in claims for thing in things for place in places(claims)]
    nouns = {noun for claim in claims for noun in members(claim[2])}
    looks = {None, *(claim[1] for claim in claims)}
    for _ in range(300):
        densities = {deed: rng.choice((0.0, 0.0, 0.3, 1.0)) for deed in deeds}
        lazy = rng.choice((0.0, 0.5, 1.0))
        keen = {each: rng.choice((1.0, 1.0, lazy)) for each in (*nouns, *looks)}
        yield [
            (noun, look, {deed for deed in deeds if rng.random() < densities[deed] * keen[noun] * keen[look] * zeal})
            for noun in nouns
            for look in looks
            for zeal in rng.choice(((1.0,), (1.0, lazy)))
        ]


def members(word: str) -> list[str]:
    return [noun.singular for noun in NOUNS if noun.kind == word] if word in KINDS else [word]


def places(claims: list[tuple[str, str | None, str, str, str, str | None]]) -> set[str]:
    return {"elsewhere", *(claim[5] for claim in claims if claim[5])}


def test_what_is_entailed_is_true_in_every_world_and_the_rest_is_false_in_some() -> None:
    name, rng = "synthetic-entailment", random.Random(3)
    rows, labels = synthetic_rows(name, "dev").take(range(300)), clean_labels(name, "dev")
    for texts, label in zip(texts_of(rows), labels, strict=False):
        follows = all(holds(texts[1], world) for world in worlds(texts, rng) if holds(texts[0], world))
        assert follows == bool(label), texts
