"""What a row says of latency: blocks summed up, speedups, what loading took, and why to doubt any of it.

``latency`` and ``speedup`` are of the main thread count. Others stand in ``latency_by_threads`` and
``speedup_by_threads`` under the count (``{"2": {runtime: {shape: ...}}}``), what processes side by side did in
``concurrency``, what loading took in ``loading``; each of these keys is there only where it was measured.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from compressbench.records.latencies import BASELINE_RUNTIME, Blocks, LatencyIndex, Place
from compressbench.records.run_index import RunIndex
from compressbench.records.schema import CellRecord, ConcurrencyRecord, WorkerRecord
from compressbench.reporting.row_warnings import (
    BusyMachine,
    EarlierSession,
    NotSteady,
    NotTimed,
    OtherEnvironment,
    RowWarning,
    Throttled,
)
from compressbench.stats import Interval, percentile

Row = dict[str, Any]
BUSY_SHARE = 0.1
"""Of the cores' time that others used, from which a row is warned about."""
THROTTLED_SHARE = 0.01
FEWEST_FOR_P99 = 1000
"""Below this many samples the hundredth slowest is a handful of runs."""


def latency_part(
    cell: CellRecord,
    baseline: CellRecord | None,
    index: RunIndex,
    latencies: LatencyIndex,
    warnings: list[RowWarning | str],
) -> Row:
    """All keys of a row that are of latency; adds to `warnings` why its figures may not be what they seem."""
    part: Row = {"latency": {}, "speedup": {}, "speedup_over_onnxruntime": {}}
    if cell.error:
        return part
    standing = baseline if baseline is not None and not baseline.error else None
    sessions = set()
    for place in latencies.places:
        blocks = latencies.find(cell.measured_key, place, task=cell.task)
        if blocks is None:
            continue
        sessions.add(blocks.session)
        latest = latencies.latest_session(place)
        if blocks.session != latest:
            warnings.append(EarlierSession(used=blocks.session, latest=latest))
        _put(part, "latency", place, _summary(blocks, cell, index))
        if standing is not None:
            for name, against in (("speedup", place), ("speedup_over_onnxruntime", (BASELINE_RUNTIME, place[1]))):
                _put(part, name, place, _speedup(latencies, standing, cell, place, against=against))
        for count in latencies.further_threads(place):
            _put_threads(part, cell, standing, index, latencies, place, count)
    loading, concurrency = _loading(cell, index, sessions), _concurrency(cell, index)
    part |= ({"loading": loading} if loading else {}) | ({"concurrency": concurrency} if concurrency else {})
    warnings.extend(_doubts(cell, index, sessions))
    return part


def _put(part: Row, name: str, place: Place, value: Any) -> None:
    if value is not None:
        part[name].setdefault(place[0], {})[place[1]] = value


def _put_threads(
    part: Row,
    cell: CellRecord,
    baseline: CellRecord | None,
    index: RunIndex,
    latencies: LatencyIndex,
    place: Place,
    threads: int,
) -> None:
    """Latency and speedup with a further thread count; the baseline had as many."""
    blocks = latencies.find(cell.measured_key, place, task=cell.task, threads=threads)
    if blocks is None:
        return
    for name in ("latency_by_threads", "speedup_by_threads"):
        part.setdefault(name, {}).setdefault(str(threads), {})
    _put(part["latency_by_threads"], str(threads), place, _summary(blocks, cell, index))
    if baseline is not None:
        found = _speedup(latencies, baseline, cell, place, against=place, threads=threads)
        _put(part["speedup_by_threads"], str(threads), place, found)


def _summary(blocks: Blocks, cell: CellRecord, index: RunIndex) -> Row:
    shared = None if blocks.measured_key == cell.measured_key else name_of(blocks.measured_key, index)
    return {**blocks.summary(), "shared_with": shared}


def _speedup(
    latencies: LatencyIndex,
    baseline: CellRecord,
    cell: CellRecord,
    place: Place,
    *,
    against: Place,
    threads: int | None = None,
) -> dict[str, float] | None:
    found: Interval | None = latencies.speedup(
        baseline.measured_key, cell.measured_key, place, against=against, task=cell.task, threads=threads
    )
    return None if found is None else {"ratio": found.ratio, "low": found.low, "high": found.high}


def name_of(measured_key: str, index: RunIndex) -> str:
    """``<task>/<method>`` of the cell a model was measured for, the seed added where it tells cells apart."""
    owners = [each for each in index.ordered_cells() if each.measured_key == measured_key and not each.error]
    if not owners:
        return measured_key
    owner = owners[0]
    many_seeds = len({each.seed for each in index.cells.values()}) > 1
    return f"{owner.task}/{owner.method}" + (f" (seed {owner.seed})" if many_seeds else "")


def _workers(cell: CellRecord, index: RunIndex, sessions: set[int]) -> list[WorkerRecord]:
    """The processes that timed the row's graph in these sessions."""
    graph = index.graphs.get(cell.measured_key)
    return [
        each
        for each in index.workers
        if each.session in sessions
        and (each.measured_key == cell.measured_key or (graph and index.graphs.get(each.measured_key) == graph))
    ]


def _loading(cell: CellRecord, index: RunIndex, sessions: set[int]) -> Row:
    """By runtime: the median time to open the model, and the most memory any of its processes had."""
    runtimes: dict[str, list[WorkerRecord]] = {}
    for worker in _workers(cell, index, sessions):
        runtimes.setdefault(worker.runtime, []).append(worker)
    return {
        runtime: {
            "load_ns": percentile([each.load_ns for each in workers], 50),
            "peak_memory_bytes": max(each.peak_memory_bytes for each in workers),
            "start_memory_bytes": max(each.start_memory_bytes for each in workers),
        }
        for runtime, workers in runtimes.items()
    }


def _concurrency(cell: CellRecord, index: RunIndex) -> Row:
    """By runtime and shape: percentiles over all requests of the processes side by side, and requests a second."""
    graph = index.graphs.get(cell.measured_key)
    own = [
        each
        for each in index.concurrencies
        if index.is_current(each.session)
        and each.task in ("", cell.task)
        and (each.measured_key == cell.measured_key or (graph and each.graph_key == graph))
    ]
    found: dict[Place, list[ConcurrencyRecord]] = {}
    for each in own:
        if each.session == max(other.session for other in own):
            found.setdefault((each.runtime, each.shape), []).append(each)
    part: Row = {"all": {}}
    for place, records in found.items():
        _put(part, "all", place, served(records))
    result: Row = part["all"]
    return result


def served(records: Sequence[ConcurrencyRecord]) -> Row:
    """What processes side by side did over all rounds; no 99th percentile of fewer than `FEWEST_FOR_P99` samples."""
    samples = np.concatenate([np.asarray(each.samples_ns) for each in records])
    batch = records[0].shape.partition("x")[0]
    rows_each = int(batch) if batch.isdigit() else 1
    return {
        "concurrency": records[0].concurrency,
        "threads": records[0].threads,
        "p50_ns": percentile(samples, 50),
        "p95_ns": percentile(samples, 95),
        "p99_ns": percentile(samples, 99) if len(samples) >= FEWEST_FOR_P99 else None,
        "rows_per_s": rows_each * len(samples) / (sum(each.wall_ns for each in records) / 1e9),
        "samples": len(samples),
    }


def _doubts(cell: CellRecord, index: RunIndex, sessions: set[int]) -> Iterator[RowWarning]:
    """Why the row's latencies may not be what they seem."""
    if others := index.other_environments():
        yield OtherEnvironment(sessions=tuple(others))
    loads = [each for each in index.loads if each.session in sessions]
    if loads:
        elapsed_ns = sum(each.elapsed_ns for each in loads)
        busy = sum(each.others_cpu_ns for each in loads) / sum(each.elapsed_ns * each.cores for each in loads)
        throttled = sum(each.throttled_ns for each in loads) / elapsed_ns
        if busy > BUSY_SHARE:
            yield BusyMachine(share=busy)
        if throttled > THROTTLED_SHARE:
            yield Throttled(share=throttled)
    unsettled = dict.fromkeys(
        f"{worker.runtime} {shape}" for worker in _workers(cell, index, sessions) for shape in worker.unsettled
    )
    if unsettled:
        yield NotSteady(places=tuple(unsettled))
    graph = index.graphs.get(cell.measured_key)
    for record in index.left_out:
        if record.session in sessions and index.graphs.get(record.measured_key, record.measured_key) == graph:
            yield NotTimed(runtime=record.runtime, reason=record.reason)
