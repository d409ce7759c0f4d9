"""Which cores a measuring process and each of its threads are bound to."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

TASKS = Path("/proc/self/task")
PIN_NS = 50_000_000
"""How long is run to tell the threads that work from those that wait."""
WORKING_SHARE = 0.1
"""Of the busiest thread's time, from which on a thread counts as working."""
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


def pin_threads(run_once: Callable[[], object], cores: Sequence[int]) -> list[int]:
    """Bind the threads that do the work to one core each, so that no two of them wake up on the same one.

    A runtime's threads sleep between two blocks, and where the scheduler wakes them up decides for some runs whether
    they work side by side or in turn. Which threads work is told by the time they spend on a core, for any runtime.

    Args:
        run_once: Runs the model.
        cores: As many as the runtime has threads.

    Returns:
        The threads that were bound, the busiest first; none where the system does not tell or does not bind.
    """
    if not cores or not hasattr(os, "sched_setaffinity"):
        return []
    before, end_ns = _busy_ns(), time.perf_counter_ns() + PIN_NS
    while time.perf_counter_ns() < end_ns:
        run_once()
    worked = {thread: ns - before.get(thread, 0) for thread, ns in _busy_ns().items()}
    least_ns = max(1.0, WORKING_SHARE * max(worked.values(), default=0))
    working = sorted((each for each in worked if worked[each] >= least_ns), key=lambda each: -worked[each])
    bound = dict(zip(working, cores, strict=False))
    for thread, core in bound.items():
        os.sched_setaffinity(thread, {core})
    return list(bound)


def _busy_ns() -> dict[int, int]:
    """Nanoseconds that each thread of this process has spent on a core; empty where the kernel does not tell."""
    found = {}
    for task in TASKS.glob("*"):
        with suppress(OSError, ValueError, IndexError):
            found[int(task.name)] = int((task / "schedstat").read_text().split()[0])
    return found


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
