"""Grammars of the single-sentence tasks: acceptability (agreement, order) and sentiment (scope, contrast)."""

import random

from compressbench.tasks.synthetic_words import (
    ADJECTIVES,
    AGENTS,
    ASPECTS,
    BLAME,
    NOUNS,
    PLACES,
    PRAISE,
    PREPOSITIONS,
    VERBS,
)

BREAKS = ("agreement", "agreement", "determiner", "reflexive", "ever", "participle", "order")
"""What makes a sentence unacceptable; agreement is drawn twice as often."""


def acceptability_text(rng: random.Random, *, acceptable: bool) -> str:
    """One sentence; an unacceptable one breaks exactly one rule, often across an attractor."""
    broken = None if acceptable else rng.choice(BREAKS)
    pattern = broken or rng.choice(BREAKS)
    plural = rng.random() < 0.5
    subject = _subject(rng, plural=plural, broken=broken == "determiner")
    words = [*subject, *_attractor(rng)]
    verb = rng.choice(VERBS)
    if pattern == "reflexive":
        pronoun = "themselves" if plural != (broken == "reflexive") else "itself"
        return " ".join([*words, verb.past, pronoun])
    if pattern == "ever":
        opening = rng.choice(("no",) if broken is None else ("every", "the", "some"))
        noun = rng.choice(AGENTS).form(plural=plural and opening != "every")
        auxiliary = "have" if plural and opening != "every" else "has"
        return " ".join([opening, noun, *_attractor(rng), auxiliary, "ever", verb.past, *_object(rng)])
    if pattern == "participle":
        auxiliary = rng.choice(("will", "have" if plural else "has"))
        right = verb.base if auxiliary == "will" else verb.past
        wrong = verb.past if auxiliary == "will" else verb.base
        return " ".join([*words, auxiliary, wrong if broken else right, *_object(rng)])
    form = verb.base if plural != (broken == "agreement") else verb.third
    words += [form, *_object(rng)]
    if broken == "order":
        at = rng.randrange(len(words) - 1)
        words[at], words[at + 1] = words[at + 1], words[at]
    return " ".join(words)


def _subject(rng: random.Random, *, plural: bool, broken: bool) -> list[str]:
    determiners = (("these", "many", "several"), ("this", "every", "each"))
    right = determiners[not plural]
    wrong = determiners[plural]
    chosen = rng.choice(wrong) if broken else rng.choice((*right, "the"))
    adjective = [rng.choice(list(ADJECTIVES))] if rng.random() < 0.3 else []
    return [chosen, *adjective, rng.choice(AGENTS).form(plural=plural)]


def _attractor(rng: random.Random) -> list[str]:
    if rng.random() < 0.65:
        return []
    return [rng.choice(PREPOSITIONS), "the", rng.choice(NOUNS).form(plural=rng.random() < 0.5)]


def _object(rng: random.Random) -> list[str]:
    plural = rng.random() < 0.5
    words = [rng.choice(("the", "some") if plural else ("the",)), rng.choice(NOUNS).form(plural=plural)]
    return words if rng.random() < 0.7 else [*words, "near", "the", rng.choice(PLACES)]


def sentiment_text(rng: random.Random, *, positive: bool) -> str:
    """One film review whose weighed clauses come out on the asked side."""
    while True:
        text, score = _review(rng)
        if score and (score > 0) == positive:
            return text


def _review(rng: random.Random) -> tuple[str, float]:
    first, first_score = _clause(rng)
    form = rng.random()
    if form < 0.3:
        opening = rng.choice(("", "overall ", "to me "))
        return opening + first, first_score
    second, second_score = _clause(rng)
    if form < 0.5:
        return f"{first} and {second}", first_score + second_score
    if form < 0.75:
        return f"{first} but {second}", first_score + 2.5 * second_score
    return f"although {first} {second}", first_score + 2.5 * second_score


def _clause(rng: random.Random) -> tuple[str, float]:
    praise = rng.random() < 0.5
    adjective, strength = rng.choice(list((PRAISE if praise else BLAME).items()))
    score = float(strength if praise else -strength)
    modifier = rng.choice(("", "", "", "", "", "", "very", "a bit", "not", "never", "hardly"))
    factor = {"very": 1.5, "a bit": 0.5, "not": -0.75, "never": -1.0, "hardly": -0.75}.get(modifier, 1.0)
    words = ["the", rng.choice(ASPECTS), "was", modifier, adjective]
    return " ".join(word for word in words if word), factor * score
