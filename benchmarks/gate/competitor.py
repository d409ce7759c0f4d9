"""A process that keeps one core busy half of the time, in spells of random length: a neighbour on a CI machine."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

MEAN_SPELL_S = 2.0


@contextmanager
def competing(*, core: int, seed: int) -> Iterator[subprocess.Popen[bytes]]:
    """Let a competitor run until the context ends.

    Args:
        core: Where it runs; free to move where the system has no affinity.
        seed: Of its spells.
    """
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.gate.competitor", str(core), str(seed)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def spells(seed: int) -> Iterator[tuple[float, float]]:
    """Seconds busy and seconds idle, both exponential with the same mean."""
    draw = random.Random(seed)
    while True:
        yield draw.expovariate(1 / MEAN_SPELL_S), draw.expovariate(1 / MEAN_SPELL_S)


def _compete(core: int, seed: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    for busy_s, idle_s in spells(seed):
        end = time.monotonic() + busy_s
        while time.monotonic() < end:
            sum(range(1000))
        time.sleep(idle_s)


if __name__ == "__main__":
    _compete(int(sys.argv[1]), int(sys.argv[2]))
