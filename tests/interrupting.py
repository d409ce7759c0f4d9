"""Progress that interrupts the work it is told of."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from compressbench.progress import Advance, Quiet


class Interrupting(Quiet):
    """Progress that stops the work after some steps of one stage, and remembers where stages began."""

    def __init__(
        self, stage: str = "", after: float = math.inf, error: type[BaseException] = KeyboardInterrupt
    ) -> None:
        super().__init__()
        self.began: dict[str, int] = {}
        self.notes: list[str] = []
        self.said: list[str] = []
        self._stage, self._after, self._error = stage, after, error

    def say(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def stage(self, name: str, *, total: int, done: int = 0) -> Iterator[Advance]:
        self.began[name] = done

        def advance(steps: int = 1, *, note: str = "") -> None:
            nonlocal done
            done += steps
            self.notes.append(f"{name} {note}")
            if name == self._stage and done == self._after:
                raise self._error

        yield advance
        assert done == total
