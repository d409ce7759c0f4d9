"""One measuring campaign at a time on a machine: two would time each other."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from compressbench.errors import BadInput
from compressbench.progress import Progress

LOCK_NAME = "compressbench-latency.lock"


@contextmanager
def machine_to_itself(progress: Progress, *, timeout_s: float | None = None) -> Iterator[None]:
    """Hold the machine-wide lock; say so when another run has it, and wait.

    The lock is the operating system's, on a file in the folder for temporary files: it goes with the process that
    holds it, however that ends.

    Args:
        progress: Told when there is something to wait for.
        timeout_s: Seconds to wait at most; None: as long as it takes.

    Raises:
        BadInput: If the other run still measures after `timeout_s`.
    """
    lock = FileLock(str(Path(tempfile.gettempdir()) / LOCK_NAME), mode=0o666)  # other users measure here too
    try:
        lock.acquire(timeout=0)
    except TimeoutError:
        limit = "" if timeout_s is None else f", {timeout_s:g} s at most"
        progress.say(f"another run on this machine is measuring; waiting for it to end{limit}")
        try:
            lock.acquire(timeout=-1 if timeout_s is None else timeout_s)
        except TimeoutError:
            raise BadInput(
                f"another run on this machine still measures after --lock-timeout {timeout_s:g} s: "
                "run this again when it has ended, or give a longer --lock-timeout"
            ) from None
    try:
        yield
    finally:
        lock.release()
