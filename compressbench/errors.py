"""Every error a user can cause, in one place; each knows the exit code it ends the program with."""

import difflib
from collections.abc import Collection, Iterable
from typing import ClassVar


class CompressbenchError(Exception):
    """Base of all errors that are told in one sentence, without a traceback."""

    exit_code: ClassVar[int] = 1


class BadInput(CompressbenchError):
    """A file, folder, option or value the user gave cannot be used; the message says what, where and the mend."""

    exit_code: ClassVar[int] = 2


class InvalidParameter(BadInput):
    """A parameter's value is outside what it may be."""


class ChainMismatch(BadInput):
    """One method of a chain makes what the next cannot take."""


class UnknownName(BadInput):
    """A name that is not registered, told with the nearest that is."""

    def __init__(self, kind: str, name: str, known: Collection[str], *, listing: str | None = None) -> None:
        near = difflib.get_close_matches(name.lower(), [word.lower() for word in known], n=1, cutoff=0.5)
        spelled = {word.lower(): word for word in known}
        hint = f"did you mean {spelled[near[0]]!r}?" if near else f"known are {', '.join(sorted(known))}"
        where = f" (`compressbench {listing}` explains each)" if listing else ""
        super().__init__(f"unknown {kind} {name!r}: {hint}{where}")


class DuplicateName(CompressbenchError):
    """Two packages register the same name."""

    def __init__(self, kind: str, name: str, holder: object, newcomer: object) -> None:
        super().__init__(f"two {kind}s are named {name!r}: {holder!r} and {newcomer!r}; uninstall or rename one")


class WeakTeacher(BadInput):
    """The teacher is no better than answering the most frequent class; compressing it would measure nothing."""


class StoreDamaged(CompressbenchError):
    """A stored artifact's files differ from its manifest."""


class MethodFailed(CompressbenchError):
    """A method could not make its artifact; the cell is reported as failed and the run goes on."""


def listed(words: Iterable[str], *, last: str = "or") -> str:
    """Join words for a sentence: ``a``, ``a or b``, ``a, b or c``."""
    *front, tail = sorted(words)
    return f"{', '.join(front)} {last} {tail}" if front else tail
