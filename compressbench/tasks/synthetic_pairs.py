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

CHANGES = ("negation", "negation", "detail", "detail", "roles", "agent", "patient", "verb")
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
        return dataclasses.replace(event, place=None if event.place else _place(rng))
    if change == "roles":
        return dataclasses.replace(event, agent=event.patient, patient=event.agent)
    if change == "verb":
        return dataclasses.replace(event, verb=rng.choice([each for each in VERBS if each != event.verb]))
    noun = rng.choice([each for each in AGENTS if each not in (event.agent, event.patient)])
    return dataclasses.replace(event, agent=noun) if change == "agent" else dataclasses.replace(event, patient=noun)


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


EDITS = ("quantifier", "subject", "adjective", "object", "place", "verb", "other object")


def entailment_texts(rng: random.Random, *, entailed: bool) -> tuple[str, str]:
    """A premise and a hypothesis that follows from it, or does not."""
    while True:
        premise = _claim(rng)
        hypothesis, follows = premise, True
        for edit in rng.sample(EDITS, rng.choice((1, 1, 2))):
            hypothesis, step_follows = _edited(hypothesis, edit, rng)
            follows = follows and step_follows
        if follows == entailed and hypothesis != premise:
            return str(premise), str(hypothesis)


def _claim(rng: random.Random) -> Claim:
    return Claim(
        quantifier=rng.choice(("every", "every", "some", "some", "some", "no")),
        subject=rng.choice(AGENTS) if rng.random() < 0.7 else rng.choice(("animal", "worker")),
        adjective=rng.choice(list(ADJECTIVES)) if rng.random() < 0.4 else None,
        verb=rng.choice(VERBS),
        object=rng.choice(NOUNS) if rng.random() < 0.7 else rng.choice(list(KINDS)),
        place=_place(rng) if rng.random() < 0.4 else None,
    )


def _edited(claim: Claim, edit: str, rng: random.Random) -> tuple[Claim, bool]:
    """The claim with one edit, and whether the edited claim follows from it (each kind has members)."""
    narrow_subject_follows = claim.quantifier in ("every", "no")
    wide_predicate_follows = claim.quantifier != "no"
    if edit == "quantifier":
        if claim.quantifier == "every":
            quantifier = rng.choice(("some", "some", "no"))
        else:
            quantifier = rng.choice([each for each in ("every", "some", "no") if each != claim.quantifier])
        return dataclasses.replace(claim, quantifier=quantifier), (claim.quantifier, quantifier) == ("every", "some")
    if edit == "subject":
        narrower = isinstance(claim.subject, str)
        subject = _moved(claim.subject, rng)
        return dataclasses.replace(claim, subject=subject), narrower == narrow_subject_follows
    if edit == "adjective":
        narrower = claim.adjective is None
        adjective = rng.choice(list(ADJECTIVES)) if narrower else None
        return dataclasses.replace(claim, adjective=adjective), narrower == narrow_subject_follows
    if edit == "object":
        narrower = isinstance(claim.object, str)
        return dataclasses.replace(claim, object=_moved(claim.object, rng)), narrower != wide_predicate_follows
    if edit == "place":
        narrower = claim.place is None
        place = _place(rng) if narrower else None
        return dataclasses.replace(claim, place=place), narrower != wide_predicate_follows
    if edit == "verb":
        return dataclasses.replace(claim, verb=rng.choice([each for each in VERBS if each != claim.verb])), False
    return dataclasses.replace(claim, object=rng.choice([each for each in NOUNS if each != claim.object])), False


def _moved(thing: Noun | str, rng: random.Random) -> Noun | str:
    """Up to a noun's kind, or down to a member of the kind."""
    if isinstance(thing, str):
        return rng.choice([noun for noun in NOUNS if noun.kind == thing])
    return thing.kind
