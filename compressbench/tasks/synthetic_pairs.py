"""Grammars of the sentence-pair tasks: paraphrase (synonyms, voice, roles) and entailment (quantifiers, kinds)."""

import dataclasses
import random
from dataclasses import dataclass

from compressbench.tasks.synthetic_words import (
    ADJECTIVES,
    AGENTS,
    KINDS,
    NOUNS,
    PLACES,
    PREPOSITIONS,
    TIMES,
    VERBS,
    Noun,
    Verb,
)

CHANGES = ("negation", "negation", "detail", "detail", "detail", "detail", "roles", "agent", "verb")
"""What sets two sentences of a pair apart, as often as it stands here."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Who did what to whom: what two paraphrases share."""

    agent: Noun
    patient: Noun
    verb: Verb
    adjective: str | None
    """Of the agent."""
    time: str | None
    place: str | None
    negated: bool


def paraphrase_texts(rng: random.Random, *, same: bool) -> tuple[str, str]:
    """Two sentences about one event, or about two that differ in one thing."""
    event = _event(rng)
    other = event if same else _changed(event, rng)
    return _sentence(event, rng, passive=rng.random() < 0.2), _sentence(other, rng, passive=rng.random() < 0.3)


def _event(rng: random.Random) -> Event:
    agent, patient = rng.sample(AGENTS, 2)
    return Event(
        agent=agent,
        patient=patient,
        verb=rng.choice(VERBS),
        adjective=rng.choice(list(ADJECTIVES)) if rng.random() < 0.3 else None,
        time=rng.choice(list(TIMES)) if rng.random() < 0.3 else None,
        place=_place(rng) if rng.random() < 0.15 else None,
        negated=rng.random() < 0.03,
    )


def _changed(event: Event, rng: random.Random) -> Event:
    change = rng.choice(CHANGES)
    if change == "negation":
        return dataclasses.replace(event, negated=not event.negated)
    if change == "detail":
        if rng.random() < 0.5:
            return dataclasses.replace(event, time=None if event.time else rng.choice(list(TIMES)))
        return dataclasses.replace(event, place=None if event.place else _place(rng))
    if change == "roles":
        return dataclasses.replace(event, agent=event.patient, patient=event.agent)
    if change == "verb":
        return dataclasses.replace(event, verb=rng.choice([each for each in VERBS if each != event.verb]))
    noun = rng.choice([each for each in AGENTS if each not in (event.agent, event.patient)])
    return dataclasses.replace(event, agent=noun)


def _place(rng: random.Random) -> str:
    return f"{rng.choice(PREPOSITIONS)} the {rng.choice(PLACES)}"


def _sentence(event: Event, rng: random.Random, *, passive: bool) -> str:
    adjective = event.adjective
    if adjective and ADJECTIVES[adjective] and rng.random() < 0.3:
        adjective = ADJECTIVES[adjective]
    agent = f"the {adjective or ''} {event.agent.form(plural=False, synonym=rng.random() < 0.3)}"
    patient = f"the {event.patient.form(plural=False, synonym=rng.random() < 0.3)}"
    verb = event.verb.synonym if event.verb.synonym and rng.random() < 0.3 else event.verb.past
    denial = "never" if event.negated else ""
    clause = f"{patient} was {denial} {verb} by {agent}" if passive else f"{agent} {denial} {verb} {patient}"
    synonym = TIMES[event.time] if event.time else None
    time = synonym if synonym and rng.random() < 0.3 else event.time or ""
    return " ".join(f"{clause} {event.place or ''} {time}".split())


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A quantified sentence: ``every red dog chased a cat near the barn``."""

    quantifier: str
    subject: Noun | str
    """A noun, or the name of a kind."""
    adjective: str | None
    verb: Verb
    object: Noun | str
    place: str | None

    def __str__(self) -> str:
        subject, thing = (each if isinstance(each, str) else each.singular for each in (self.subject, self.object))
        words = (self.quantifier, self.adjective, subject, self.verb.past, "a", thing, self.place)
        return " ".join(word for word in words if word)


EDITS = (
    "quantifier",
    "quantifier",
    "subject",
    "subject",
    "adjective",
    "adjective",
    "object",
    "object",
    "place",
    "place",
    "verb",
)


def entailment_texts(rng: random.Random, *, entailed: bool) -> tuple[str, str]:
    """A premise and a hypothesis that follows from it, or does not."""
    while True:
        premise = hypothesis = _claim(rng)
        for edit in rng.sample(EDITS, rng.choice((1, 1, 2))):
            hypothesis = _edited(hypothesis, edit, rng)
        if follows(premise, hypothesis) == entailed:
            return str(premise), str(hypothesis)


def follows(premise: Claim, hypothesis: Claim) -> bool:
    """Whether the hypothesis is true wherever the premise is; there is someone of every kind and look."""
    widened = (_within(premise.subject, hypothesis.subject), hypothesis.adjective in (None, premise.adjective))
    narrowed = (_within(hypothesis.subject, premise.subject), premise.adjective in (None, hypothesis.adjective))
    more_is_said = _does(hypothesis, as_much_as=premise)
    less_is_said = _does(premise, as_much_as=hypothesis)
    match premise.quantifier, hypothesis.quantifier:
        case "every", "every":
            return all(narrowed) and less_is_said
        case "some", "some":
            return all(widened) and less_is_said
        case "no", "no":
            return all(narrowed) and more_is_said
        case "every", "some":  # true of whoever is both
            return all(wide or narrow for wide, narrow in zip(widened, narrowed, strict=True)) and less_is_said
    return False


def _within(part: Noun | str, whole: Noun | str) -> bool:
    return part == whole or (isinstance(part, Noun) and part.kind == whole)


def _does(claim: Claim, *, as_much_as: Claim) -> bool:
    """Whether what `claim` says is done is at least what the other says."""
    other = as_much_as
    return claim.verb == other.verb and _within(claim.object, other.object) and other.place in (None, claim.place)


def _claim(rng: random.Random) -> Claim:
    return Claim(
        quantifier=rng.choice(("every", "every", "some", "some", "some", "no")),
        subject=rng.choice(AGENTS) if rng.random() < 0.7 else rng.choice(("animal", "worker")),
        adjective=rng.choice(list(ADJECTIVES)) if rng.random() < 0.4 else None,
        verb=rng.choice(VERBS),
        object=rng.choice(NOUNS) if rng.random() < 0.7 else rng.choice(list(KINDS)),
        place=_place(rng) if rng.random() < 0.4 else None,
    )


def _edited(claim: Claim, edit: str, rng: random.Random) -> Claim:
    """The claim with one thing about it changed."""
    if edit == "quantifier":
        others = {"every": ("some", "some", "no"), "some": ("every", "no"), "no": ("every", "some")}
        return dataclasses.replace(claim, quantifier=rng.choice(others[claim.quantifier]))
    if edit == "subject":
        return dataclasses.replace(claim, subject=_moved(claim.subject, rng))
    if edit == "adjective":
        return dataclasses.replace(claim, adjective=None if claim.adjective else rng.choice(list(ADJECTIVES)))
    if edit == "object":
        move = _other if rng.random() < 0.3 else _moved
        return dataclasses.replace(claim, object=move(claim.object, rng))
    if edit == "place":
        return dataclasses.replace(claim, place=None if claim.place else _place(rng))
    return dataclasses.replace(claim, verb=rng.choice([each for each in VERBS if each != claim.verb]))


def _moved(thing: Noun | str, rng: random.Random) -> Noun | str:
    """Up to a noun's kind, or down to a member of the kind."""
    if isinstance(thing, str):
        return rng.choice([noun for noun in NOUNS if noun.kind == thing])
    return thing.kind


def _other(thing: Noun | str, rng: random.Random) -> Noun:
    """Another noun, not of the kind where the thing is a kind."""
    kind = thing if isinstance(thing, str) else thing.kind
    return rng.choice([noun for noun in NOUNS if noun != thing and (noun.kind != kind or isinstance(thing, Noun))])
