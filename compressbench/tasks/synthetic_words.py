"""The words of the synthetic suite: nouns with their kinds, verbs, adjectives, synonyms. About 150 forms in all."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Noun:
    """A countable noun, the kind it belongs to, and a word that means the same."""

    singular: str
    plural: str
    kind: str
    synonym: tuple[str, str] | None = None
    """Singular and plural of the synonym."""

    def form(self, *, plural: bool, synonym: bool = False) -> str:
        """The noun in one number, or its synonym where it has one."""
        pair = self.synonym if synonym and self.synonym else (self.singular, self.plural)
        return pair[plural]


@dataclass(frozen=True, kw_only=True)
class Verb:
    """A transitive verb: base, third person, past (and participle), and a verb that means the same."""

    base: str
    third: str
    past: str
    synonym: str | None = None
    """Past form of the synonym."""


def _nouns(kind: str, text: str) -> list[Noun]:
    nouns = []
    for entry in text.split():
        word, _, other = entry.partition("=")
        synonym = (other, other + "s") if other else None
        nouns.append(Noun(singular=word, plural=word + "s", kind=kind, synonym=synonym))
    return nouns


KINDS = {"animal": "animals", "worker": "workers", "vehicle": "vehicles", "tool": "tools"}
"""Hypernyms, singular to plural."""

NOUNS: tuple[Noun, ...] = (
    *_nouns("animal", "dog=hound cat=feline horse rabbit=bunny goat"),
    *_nouns("worker", "doctor=physician lawyer=attorney teacher=instructor farmer pilot"),
    *_nouns("vehicle", "car truck boat"),
    *_nouns("tool", "hammer ladder shovel"),
)
AGENTS = tuple(noun for noun in NOUNS if noun.kind in ("animal", "worker"))
THINGS = tuple(noun for noun in NOUNS if noun.kind in ("vehicle", "tool"))


def _verbs(text: str) -> tuple[Verb, ...]:
    verbs = []
    for entry in text.split():
        forms, _, synonym = entry.partition("=")
        base, third, past = forms.split("/")
        verbs.append(Verb(base=base, third=third, past=past, synonym=synonym or None))
    return tuple(verbs)


VERBS = _verbs(
    "chase/chases/chased=pursued help/helps/helped=assisted notice/notices/noticed=spotted "
    "follow/follows/followed=trailed greet/greets/greeted admire/admires/admired "
    "lift/lifts/lifted=hoisted kick/kicks/kicked"
)
ADJECTIVES = {"big": "large", "small": "tiny", "old": "ancient", "red": None, "green": None, "young": None}
"""Adjective to a synonym, where it has one."""

PLACES = ("river", "park", "barn", "station")
PREPOSITIONS = ("near", "behind")
TIMES = {"yesterday": None, "today": None, "often": "frequently"}
"""Adverbs that may stand first or last, to a synonym."""

ASPECTS = ("plot", "acting", "music", "script", "ending", "story", "pace", "cast")
PRAISE = {
    "brilliant": 3, "superb": 3, "moving": 2, "charming": 2, "clever": 2, "funny": 2, "decent": 1, "watchable": 1,
}  # fmt: skip
BLAME = {
    "dreadful": 3, "awful": 3, "boring": 2, "clumsy": 2, "stale": 2, "tedious": 2, "uneven": 1, "forgettable": 1,
}  # fmt: skip

MANY_PIECES: dict[str, tuple[str, ...]] = {
    "physician": ("phys", "##ician"),
    "attorney": ("attor", "##ney"),
    "instructor": ("instruct", "##or"),
    "forgettable": ("forget", "##table"),
    "watchable": ("watch", "##able"),
    "frequently": ("frequent", "##ly"),
    "itself": ("it", "##self"),
    "themselves": ("them", "##selves"),
    **{noun.plural: (noun.singular, "##s") for noun in NOUNS},
    **{verb.third: (verb.base, "##s") for verb in VERBS},
}
"""Words the tokenizer spells in several pieces, number and person among them; all others are one piece."""
