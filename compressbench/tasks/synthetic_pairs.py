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

CHANGES = ("roles", "roles", "agent", "patient", "verb", "adjective", "negation")
"""What sets two sentences of a pair apart; a swap of roles is drawn twice as often."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Who did what to whom: what two paraphrases share."""

    agent: Noun
    patient: Noun
    verb: Verb
    agent_adjective: str | None
    patient_adjective: str | None
    time: str | None
    negated: bool


def paraphrase_texts(rng: random.Random, *, same: bool) -> tuple[str, str]:
    """Two sentences about one event, or about two that differ in one thing."""
    event = _event(rng)
    other = event if same else _changed(event, rng)
    first, second = (
        _sentence(event, rng, passive=rng.random() < 0.25),
        _sentence(other, rng, passive=rng.random() < 0.5),
    )
    return first, second


def _event(rng: random.Random) -> Event:
    agent, patient = rng.sample(AGENTS, 2)
    adjectives = list(ADJECTIVES)
    return Event(
        agent=agent,
        patient=patient,
        verb=rng.choice(VERBS),
        agent_adjective=rng.choice(adjectives) if rng.random() < 0.4 else None,
        patient_adjective=rng.choice(adjectives) if rng.random() < 0.4 else None,
        time=rng.choice(list(TIMES)) if rng.random() < 0.4 else None,
        negated=rng.random() < 0.1,
    )


def _changed(event: Event, rng: random.Random) -> Event:
    change = rng.choice(CHANGES)
    if change == "roles":
        return dataclasses.replace(
            event,
            agent=event.patient,
            patient=event.agent,
            agent_adjective=event.patient_adjective,
            patient_adjective=event.agent_adjective,
        )
    if change in ("agent", "patient"):
        noun = rng.choice([each for each in AGENTS if each not in (event.agent, event.patient)])
        return dataclasses.replace(event, **{change: noun})
    if change == "verb":
        return dataclasses.replace(event, verb=rng.choice([each for each in VERBS if each != event.verb]))
    if change == "adjective":
        place = rng.choice(("agent_adjective", "patient_adjective"))
        adjective = rng.choice([each for each in ADJECTIVES if each != getattr(event, place)])
        return dataclasses.replace(event, **{place: adjective})
    return dataclasses.replace(event, negated=not event.negated)


def _sentence(event: Event, rng: random.Random, *, passive: bool) -> str:
    agent = _noun_phrase(event.agent, event.agent_adjective, rng)
    patient = _noun_phrase(event.patient, event.patient_adjective, rng)
    verb = event.verb.synonym if event.verb.synonym and rng.random() < 0.4 else event.verb.past
    auxiliary = ("was never" if passive else "never") if event.negated else ("was" if passive else "")
    words = [patient, auxiliary, verb, "by", agent] if passive else [agent, auxiliary, verb, patient]
    if event.time:
        synonym = TIMES[event.time]
        time = synonym if synonym and rng.random() < 0.4 else event.time
        words = [time, *words] if rng.random() < 0.5 else [*words, time]
    return " ".join(word for word in words if word)


def _noun_phrase(noun: Noun, adjective: str | None, rng: random.Random) -> str:
    if adjective and ADJECTIVES[adjective] and rng.random() < 0.4:
        adjective = ADJECTIVES[adjective]
    words = ["the", adjective, noun.form(plural=False, synonym=rng.random() < 0.4)]
    return " ".join(word for word in words if word)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A quantified sentence: ``all red dogs near the barn chased a cat``."""

    quantifier: str
    subject: Noun | str
    """A noun, or the name of a kind."""
    adjective: str | None
    verb: Verb
    object: Noun | str
    place: str | None

    def __str__(self) -> str:
        words = [
            self.quantifier,
            self.adjective,
            KINDS[self.subject] if isinstance(self.subject, str) else self.subject.plural,
            self.verb.past,
            "some",
            KINDS[self.object] if isinstance(self.object, str) else self.object.plural,
            self.place,
        ]
        return " ".join(word for word in words if word)


EDITS = ("quantifier", "subject", "adjective", "object", "place", "verb", "other object")


def entailment_texts(rng: random.Random, *, entailed: bool) -> tuple[str, str]:
    """A premise and a hypothesis that follows from it, or does not."""
    while True:
        premise = _claim(rng)
        hypothesis, follows = premise, True
        for edit in rng.sample(EDITS, rng.choice((1, 2, 2))):
            hypothesis, step_follows = _edited(hypothesis, edit, rng)
            follows = follows and step_follows
        if follows == entailed and hypothesis != premise:
            return str(premise), str(hypothesis)


def _claim(rng: random.Random) -> Claim:
    return Claim(
        quantifier=rng.choice(("all", "all", "some", "some", "no")),
        subject=rng.choice(AGENTS) if rng.random() < 0.7 else rng.choice(("animal", "worker")),
        adjective=rng.choice(list(ADJECTIVES)) if rng.random() < 0.4 else None,
        verb=rng.choice(VERBS),
        object=rng.choice(NOUNS) if rng.random() < 0.7 else rng.choice(list(KINDS)),
        place=f"{rng.choice(PREPOSITIONS)} the {rng.choice(PLACES)}" if rng.random() < 0.4 else None,
    )


def _edited(claim: Claim, edit: str, rng: random.Random) -> tuple[Claim, bool]:
    """The claim with one edit, and whether the edited claim follows from it (each kind has members)."""
    narrow_subject_follows = claim.quantifier in ("all", "no")
    wide_predicate_follows = claim.quantifier != "no"
    if edit == "quantifier":
        if claim.quantifier == "all":
            quantifier = rng.choice(("some", "some", "no"))
        else:
            quantifier = rng.choice([each for each in ("all", "some", "no") if each != claim.quantifier])
        return dataclasses.replace(claim, quantifier=quantifier), (claim.quantifier, quantifier) == ("all", "some")
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
        place = f"{rng.choice(PREPOSITIONS)} the {rng.choice(PLACES)}" if narrower else None
        return dataclasses.replace(claim, place=place), narrower != wide_predicate_follows
    if edit == "verb":
        return dataclasses.replace(claim, verb=rng.choice([each for each in VERBS if each != claim.verb])), False
    return dataclasses.replace(claim, object=rng.choice([each for each in NOUNS if each != claim.object])), False


def _moved(thing: Noun | str, rng: random.Random) -> Noun | str:
    """Up to a noun's kind, or down to a member of the kind."""
    if isinstance(thing, str):
        return rng.choice([noun for noun in NOUNS if noun.kind == thing])
    return thing.kind
