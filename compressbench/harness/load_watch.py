"""Who else used the cores while latency was measured."""

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from compressbench.records.schema import LoadRecord

CPU_STAT = Path("/sys/fs/cgroup/cpu.stat")


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Counters of the machine at one moment, in nanoseconds."""

    clock_ns: int
    busy_ns: int
    """Of the cores this program may use, whoever used them."""
    own_ns: int
    """Of this process and its measuring processes."""
    throttled_ns: int


def snapshot(worker_pids: Iterable[int]) -> Snapshot:
    """The counters now.

    Args:
        worker_pids: Processes that are this program's own; one that has ended counts nothing.
    """
    own_s = time.process_time()
    for pid in worker_pids:
        with suppress(psutil.NoSuchProcess):
            times = psutil.Process(pid).cpu_times()
            own_s += times.user + times.system
    return Snapshot(
        clock_ns=time.perf_counter_ns(),
        busy_ns=int(sum(map(_busy_s, _own_cores())) * 1e9),
        own_ns=int(own_s * 1e9),
        throttled_ns=_throttled_ns(),
    )


def load_between(before: Snapshot, after: Snapshot, *, session: int, process: int) -> LoadRecord:
    """What others did between two snapshots of the same processes."""
    busy, own = after.busy_ns - before.busy_ns, after.own_ns - before.own_ns
    return LoadRecord(
        session=session,
        process=process,
        elapsed_ns=after.clock_ns - before.clock_ns,
        cores=len(_own_cores()),
        others_cpu_ns=max(0, busy - own),  # the two are counted in ticks of 10 ms, at different moments
        throttled_ns=after.throttled_ns - before.throttled_ns,
        load_average=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )


def _own_cores() -> Sequence[object]:
    """CPU times of each core this process may use; in a container the others are its neighbours' business."""
    times = psutil.cpu_times(percpu=True)
    if not hasattr(os, "sched_getaffinity"):
        return times
    return [each for core, each in enumerate(times) if core in os.sched_getaffinity(0)]


def _busy_s(times: object) -> float:
    """Seconds that a core was not free to work for this program: waiting for a disk is free, a hypervisor is not."""
    return sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))


def _throttled_ns() -> int:
    """Time a container's CPU quota held its processes back so far; 0 where there is none."""
    try:
        fields = dict(line.split() for line in CPU_STAT.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(fields.get("throttled_usec", 0)) * 1000
