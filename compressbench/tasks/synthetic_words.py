"""The words of the synthetic suite: nouns with their kinds, verbs, adjectives, synonyms. About 350 forms in all."""

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


KINDS = {"animal": "animals", "worker": "workers", "vehicle": "vehicles", "fruit": "fruits", "tool": "tools"}
"""Hypernyms, singular to plural."""

NOUNS: tuple[Noun, ...] = (
    *_nouns("animal", "dog=hound cat=feline horse=stallion rabbit=bunny parrot goat snake"),
    *_nouns("worker", "doctor=physician lawyer=attorney teacher=instructor farmer=grower pilot=aviator singer baker"),
    *_nouns("vehicle", "car=automobile truck=lorry boat=vessel tractor train plane"),
    *_nouns("fruit", "apple pear lemon melon grape"),
    *_nouns("tool", "hammer ladder drill shovel=spade bucket=pail"),
)
AGENTS = tuple(noun for noun in NOUNS if noun.kind in ("animal", "worker"))
THINGS = tuple(noun for noun in NOUNS if noun.kind in ("vehicle", "fruit", "tool"))


def _verbs(text: str) -> tuple[Verb, ...]:
    verbs = []
    for entry in text.split():
        forms, _, synonym = entry.partition("=")
        base, third, past = forms.split("/")
        verbs.append(Verb(base=base, third=third, past=past, synonym=synonym or None))
    return tuple(verbs)


VERBS = _verbs(
    "chase/chases/chased=pursued help/helps/helped=assisted notice/notices/noticed=spotted "
    "follow/follows/followed=trailed cover/covers/covered=concealed watch/watches/watched=observed "
    "carry/carries/carried=transported admire/admires/admired=adored push/pushes/pushed=shoved "
    "avoid/avoids/avoided=evaded lift/lifts/lifted=hoisted kick/kicks/kicked touch/touches/touched "
    "paint/paints/painted visit/visits/visited"
)
ADJECTIVES = {
    "big": "large",
    "small": "tiny",
    "old": "ancient",
    "strange": "odd",
    "fast": "quick",
    "red": None,
    "green": None,
    "young": None,
    "heavy": None,
    "quiet": "silent",
}
"""Adjective to a synonym, where it has one."""

PLACES = ("river", "park", "barn", "market", "bridge", "garden", "station", "tower")
PREPOSITIONS = ("near", "behind", "beside", "above")
TIMES = {"yesterday": None, "today": None, "quickly": "rapidly", "often": "frequently", "finally": "eventually"}
"""Adverbs that may stand first or last, to a synonym."""

ASPECTS = (
    "plot", "acting", "music", "script", "ending", "dialogue", "story", "pace", "humor", "cast", "camera", "editing",
)  # fmt: skip
PRAISE = {
    "brilliant": 3, "superb": 3, "wonderful": 3, "moving": 2, "charming": 2, "clever": 2, "fresh": 2, "funny": 2,
    "touching": 2, "decent": 1, "pleasant": 1, "watchable": 1, "fine": 1, "solid": 1,
}  # fmt: skip
BLAME = {
    "dreadful": 3, "terrible": 3, "awful": 3, "boring": 2, "dull": 2, "clumsy": 2, "stale": 2, "lazy": 2,
    "tedious": 2, "uneven": 1, "thin": 1, "slow": 1, "bland": 1, "forgettable": 1,
}  # fmt: skip

MANY_PIECES = {
    "veterinarian": ("veter", "##inar", "##ian"),
    "automobile": ("auto", "##mobile"),
    "physician": ("phys", "##ician"),
    "attorney": ("attor", "##ney"),
    "instructor": ("instruct", "##or"),
    "transported": ("transport", "##ed"),
    "concealed": ("conceal", "##ed"),
    "forgettable": ("forget", "##table"),
    "watchable": ("watch", "##able"),
    "frequently": ("frequent", "##ly"),
    "eventually": ("eventual", "##ly"),
    "herself": ("her", "##self"),
    "themselves": ("them", "##selves"),
}
"""Words the tokenizer spells in several pieces; all others are one piece."""
