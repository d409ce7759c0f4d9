"""Latency and speedup of a row: which blocks are its own, which of a model with the same graph, which pair up."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compressbench.errors import BadInput
from compressbench.records.run_index import RunIndex
from compressbench.records.schema import LatencyRecord
from compressbench.stats import SAME, Interval, Rounds, percentile, ratio_interval

BASELINE_RUNTIME = "onnxruntime"
BOOTSTRAP_SEED = 0
"""Fixed, so that the same records always give the same report."""
REAL_LENGTHS = "task"
"""How the shapes end that depend on a task's rows: their latency is the graph's on that task alone."""

Place = tuple[str, str]
"""Runtime and shape."""
Owner = tuple[str, str]
"""Measured key, and the task where the shape depends on one."""


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """All blocks of one model in one session, runtime and shape."""

    session: int
    measured_key: str
    threads: int
    task: str = ""
    """Whose rows, where the shape depends on them."""
    samples_ns: dict[tuple[int, int], Sequence[int]] = field(default_factory=dict)
    """Raw samples by process and round."""

    def summary(self) -> dict[str, Any]:
        """Median and percentiles over all raw samples, and how they were taken."""
        samples = np.concatenate([np.asarray(block) for block in self.samples_ns.values()])
        return {
            "median_ns": percentile(samples, 50),
            "p05_ns": percentile(samples, 5),
            "p95_ns": percentile(samples, 95),
            "samples": len(samples),
            "processes": len({process for process, _ in self.samples_ns}),
            "threads": self.threads,
        }

    def rounds(self, places: Iterable[tuple[int, int]] | None = None) -> Rounds:
        """Block medians per process, at `places` (process, round) or everywhere."""
        processes: dict[int, list[float]] = {}
        for place in sorted(self.samples_ns if places is None else places):
            processes.setdefault(place[0], []).append(float(np.median(self.samples_ns[place])))
        return list(processes.values())


class LatencyIndex:
    """Blocks by place, session, model and threads, and the way from a model to the blocks that stand for it.

    Args:
        records: Blocks of sessions that may be looked at.
        graphs: Graph by measured key.
        main_threads: By session, the thread count meant where none is named; the last one measured by default.
    """

    def __init__(
        self,
        records: Iterable[LatencyRecord],
        graphs: Mapping[str, str],
        *,
        main_threads: Mapping[int, int] | None = None,
    ) -> None:
        self._graphs = graphs
        self._main_threads: dict[int, int] = {}
        self._places: dict[Place, dict[int, dict[Owner, dict[int, Blocks]]]] = {}
        for record in records:
            _check_samples(record)
            self._main_threads[record.session] = record.threads
            session = self._places.setdefault((record.runtime, record.shape), {}).setdefault(record.session, {})
            counts = session.setdefault((record.measured_key, record.task), {})
            blocks = counts.setdefault(
                record.threads,
                Blocks(
                    session=record.session, measured_key=record.measured_key, threads=record.threads, task=record.task
                ),
            )
            blocks.samples_ns[(record.process, record.round)] = record.samples_ns
        self._main_threads |= main_threads or {}

    @property
    def places(self) -> list[Place]:
        """Every runtime and shape that was measured, in that order."""
        return list(self._places)

    def further_threads(self, place: Place) -> list[int]:
        """Thread counts of the last session at `place` beside its main one, in order."""
        session = self.latest_session(place)
        found = {count for counts in self._places[place][session].values() for count in counts}
        return sorted(found - {self._main_threads[session]})

    def latest_session(self, place: Place) -> int:
        """Number of the last session that measured anything at `place`."""
        return max(self._places[place])

    def find(
        self, measured_key: str, place: Place, *, session: int | None = None, task: str = "", threads: int | None = None
    ) -> Blocks | None:
        """Blocks of the model, else of a model with its graph, from the latest session that has them.

        Args:
            measured_key: The model.
            place: Runtime and shape.
            session: Look in this session alone.
            task: Whose rows, for the shapes of real lengths.
            threads: How many; the session's main count by default.
        """
        sessions = self._places.get(place, {})
        task = task if place[1].endswith(REAL_LENGTHS) else ""
        for number in sorted(sessions if session is None else {session} & sessions.keys(), reverse=True):
            count = self._main_threads[number] if threads is None else threads
            found = self._standing_for(measured_key, task, sessions[number])
            if found is not None and count in found:
                return found[count]
        return None

    def _standing_for(
        self, measured_key: str, task: str, session: Mapping[Owner, dict[int, Blocks]]
    ) -> dict[int, Blocks] | None:
        """The model's own blocks by threads, else those of a model with its graph on the same rows."""
        if (measured_key, task) in session:
            return session[measured_key, task]
        graph = self._graphs.get(measured_key)
        if graph is None:
            return None
        same = (counts for (key, of), counts in session.items() if of == task and self._graphs.get(key) == graph)
        return next(same, None)

    def speedup(
        self,
        baseline_key: str,
        candidate_key: str,
        place: Place,
        *,
        against: Place,
        task: str = "",
        threads: int | None = None,
    ) -> Interval | None:
        """Paired ratio baseline / candidate; None where the two have no rounds in common.

        Args:
            baseline_key: Measured at `against`.
            candidate_key: Measured at `place`.
            place: Runtime and shape of the candidate.
            against: Runtime and shape of the baseline.
            task: Whose rows, for the shapes of real lengths.
            threads: Of both sides; the session's main count by default.
        """
        candidate = self.find(candidate_key, place, task=task, threads=threads)
        if candidate is None:
            return None
        baseline = self.find(baseline_key, against, session=candidate.session, task=task, threads=candidate.threads)
        if baseline is None:
            return None
        if baseline is candidate:  # one graph, one measurement: nothing to compare
            return SAME
        places = baseline.samples_ns.keys() & candidate.samples_ns.keys()
        if not places:
            return None
        return ratio_interval(baseline.rounds(places), candidate.rounds(places), seed=BOOTSTRAP_SEED)


def latency_index(index: RunIndex) -> LatencyIndex:
    """The blocks of a run that may stand in one table: those of the newest environment (`RunIndex.is_current`)."""
    return LatencyIndex(
        (record for record in index.latencies if index.is_current(record.session)),
        index.graphs,
        main_threads={number: each.threads[0] for number, each in index.sessions.items() if each.threads},
    )


def widest_interval(index: RunIndex) -> float:
    """The largest half width among the speedups of all rows over their baselines, as a share of the speedup.

    Of every runtime, shape and thread count; 0 where nothing pairs up.
    """
    latencies = latency_index(index)
    widest = 0.0
    for cell in index.ordered_cells():
        baseline = index.baseline_of(cell)
        if cell.error or baseline is None or baseline.error:
            continue
        for place in latencies.places:
            for threads in (None, *latencies.further_threads(place)):
                found = latencies.speedup(
                    baseline.measured_key, cell.measured_key, place, against=place, task=cell.task, threads=threads
                )
                if found is not None:
                    widest = max(widest, (found.high - found.low) / (2 * found.ratio))
    return widest


def _check_samples(record: LatencyRecord) -> None:
    """Refuse a block that holds no durations."""
    if not record.samples_ns or not all(isinstance(value, int) and value > 0 for value in record.samples_ns):
        raise BadInput(
            f"the latency record of {record.measured_key[:12]} ({record.runtime}, {record.shape}, process "
            f"{record.process}, round {record.round}) holds no positive durations: measure it again"
        )
