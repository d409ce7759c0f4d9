"""Progress of long work: chosen once from the output stream and handed down; work itself never prints."""

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

from compressbench.units import format_seconds


class Advance(Protocol):
    """Tells a stage that steps are done."""

    def __call__(self, steps: int = 1, *, note: str = "") -> None:
        """Count `steps` as done; `note` (a loss, a file name) is shown beside the bar."""


class Progress(Protocol):
    """Where long work says how far it is."""

    def stage(self, name: str, *, total: int, done: int = 0) -> AbstractContextManager[Advance]:
        """Open a stage of `total` steps, `done` of them long ago; the context yields the function that advances it."""

    def say(self, text: str) -> None:
        """Print one line above whatever bar is shown."""

    @property
    def durations_s(self) -> dict[str, float]:
        """Seconds each finished stage took, in order."""


class Quiet:
    """Shows nothing; for tests and for callers from Python."""

    def __init__(self) -> None:
        self.durations_s: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, *, total: int, done: int = 0) -> Iterator[Advance]:  # noqa: ARG002
        """See `Progress.stage`."""

        def advance(steps: int = 1, *, note: str = "") -> None:
            pass

        start = time.perf_counter()
        yield advance
        self.durations_s[name] = self.durations_s.get(name, 0.0) + time.perf_counter() - start

    def say(self, text: str) -> None:
        """See `Progress.say`."""


class Lines(Quiet):
    """For a CI log: a line when a stage begins, one now and then with the time left, one when it ends."""

    def __init__(self, stream: TextIO, *, every_s: float = 15.0) -> None:
        super().__init__()
        self._stream = stream
        self._every_s = every_s

    def say(self, text: str) -> None:
        """See `Progress.say`."""
        print(text, file=self._stream, flush=True)

    @contextmanager
    def stage(self, name: str, *, total: int, done: int = 0) -> Iterator[Advance]:
        """See `Progress.stage`."""
        start = told = time.perf_counter()
        done_before = done

        def advance(steps: int = 1, *, note: str = "") -> None:
            nonlocal done, told
            done += steps
            now = time.perf_counter()
            if now - told >= self._every_s and done_before < done < total:
                told = now
                left = format_seconds((now - start) / (done - done_before) * (total - done))
                self.say(f"  {name}: {done}/{total}, about {left} left{', ' + note if note else ''}")

        yield advance
        took = time.perf_counter() - start
        self.durations_s[name] = self.durations_s.get(name, 0.0) + took
        self.say(f"{name}: {format_seconds(took)}")


class Bars(Quiet):
    """For a terminal: live bars with the time left."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        from rich.console import Console

        self._console = Console(file=stream)

    def say(self, text: str) -> None:
        """See `Progress.say`."""
        self._console.print(text, highlight=False, markup=False)

    @contextmanager
    def stage(self, name: str, *, total: int, done: int = 0) -> Iterator[Advance]:
        """See `Progress.stage`."""
        from rich import progress

        columns = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[note]}"),
        )
        start = time.perf_counter()
        with progress.Progress(*columns, console=self._console, transient=True) as bars:
            bar = bars.add_task(name, total=total, completed=done, note="")

            def advance(steps: int = 1, *, note: str = "") -> None:
                bars.update(bar, advance=steps, note=note)

            yield advance
        took = time.perf_counter() - start
        self.durations_s[name] = self.durations_s.get(name, 0.0) + took
        self.say(f"{name}: {format_seconds(took)}")


def choose_progress(stream: TextIO | None = None) -> Progress:
    """Bars on a terminal, lines elsewhere; standard error by default, so that tables on standard output stay clean."""
    stream = stream or sys.stderr
    return Bars(stream) if stream.isatty() else Lines(stream)
