"""Which cores a measuring process is bound to."""

import os
from collections.abc import Iterable
from pathlib import Path

SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def cores_for(threads: int, *, place: int = 0) -> tuple[int, ...]:
    """Numbers of `threads` cores that this process may use; empty where the system does not bind, or has too few.

    Hardware threads of one core come last, so that two threads get two cores where there are two.

    Args:
        threads: Of the process to bind.
        place: Processes side by side that were given theirs before.
    """
    if not hasattr(os, "sched_getaffinity"):
        return ()
    allowed = _physical_first(os.sched_getaffinity(0))
    chosen = allowed[place * threads : (place + 1) * threads]
    return tuple(sorted(chosen)) if len(chosen) == threads else ()


def bind(cores: Iterable[int]) -> None:
    """Bind this process, and the threads it will start, to these cores; nothing where there are none."""
    if cores := set(cores):
        os.sched_setaffinity(0, cores)


def _physical_first(cores: Iterable[int]) -> list[int]:
    """The first hardware thread of every core, then the second ones."""
    rank: dict[int, int] = {}
    seen: dict[str, int] = {}
    for core in sorted(cores):
        try:
            siblings = Path(SIBLINGS.format(core)).read_text().strip()
        except OSError:
            siblings = str(core)
        rank[core] = seen.get(siblings, 0)
        seen[siblings] = rank[core] + 1
    return sorted(rank, key=lambda core: (rank[core], core))
