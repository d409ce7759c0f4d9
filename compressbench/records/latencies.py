"""Latency and speedup of a row: which blocks are its own, which of a model with the same graph, which pair up."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compressbench.errors import BadInput
from compressbench.records.schema import LatencyRecord
from compressbench.stats import SAME, Interval, Rounds, percentile, ratio_interval

BASELINE_RUNTIME = "onnxruntime"
BOOTSTRAP_SEED = 0
"""Fixed, so that the same records always give the same report."""
REAL_LENGTHS = "task"
"""The shape that depends on the task's rows, so that it is not the graph's alone."""

Place = tuple[str, str]
"""Runtime and shape."""


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """All blocks of one model in one session, runtime and shape."""

    session: int
    measured_key: str
    threads: int
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
    """Blocks by place, session and model, and the way from a model to the blocks that stand for it."""

    def __init__(self, records: Iterable[LatencyRecord], graphs: Mapping[str, str]) -> None:
        self._graphs = graphs
        self._places: dict[Place, dict[int, dict[str, Blocks]]] = {}
        for record in records:
            _check_samples(record)
            session = self._places.setdefault((record.runtime, record.shape), {}).setdefault(record.session, {})
            blocks = session.get(record.measured_key)
            if blocks is None or blocks.threads != record.threads:  # another thread count is another measurement
                blocks = Blocks(session=record.session, measured_key=record.measured_key, threads=record.threads)
                session[record.measured_key] = blocks
            blocks.samples_ns[(record.process, record.round)] = record.samples_ns

    @property
    def places(self) -> list[Place]:
        """Every runtime and shape that was measured, in that order."""
        return list(self._places)

    def latest_session(self, place: Place) -> int:
        """Number of the last session that measured anything at `place`."""
        return max(self._places[place])

    def find(self, measured_key: str, place: Place, *, session: int | None = None) -> Blocks | None:
        """Blocks of the model, else of a model with its graph, from the latest session that has them.

        Args:
            measured_key: The model.
            place: Runtime and shape.
            session: Look in this session alone.
        """
        sessions = self._places.get(place, {})
        for number in sorted(sessions if session is None else {session} & sessions.keys(), reverse=True):
            if measured_key in sessions[number]:
                return sessions[number][measured_key]
            graph = self._graphs.get(measured_key)
            if graph is None or place[1] == REAL_LENGTHS:
                continue
            for key, blocks in sessions[number].items():
                if self._graphs.get(key) == graph:
                    return blocks
        return None

    def speedup(self, baseline_key: str, candidate_key: str, place: Place, *, against: Place) -> Interval | None:
        """Paired ratio baseline / candidate; None where the two have no rounds in common.

        Args:
            baseline_key: Measured at `against`.
            candidate_key: Measured at `place`.
            place: Runtime and shape of the candidate.
            against: Runtime and shape of the baseline.
        """
        candidate = self.find(candidate_key, place)
        if candidate is None:
            return None
        baseline = self.find(baseline_key, against, session=candidate.session)
        if baseline is None:
            return None
        if baseline is candidate:  # one graph, one measurement: nothing to compare
            return SAME
        if baseline.threads != candidate.threads:
            return None
        places = baseline.samples_ns.keys() & candidate.samples_ns.keys()
        if not places:
            return None
        return ratio_interval(baseline.rounds(places), candidate.rounds(places), seed=BOOTSTRAP_SEED)


def _check_samples(record: LatencyRecord) -> None:
    """Refuse a block that holds no durations."""
    if not record.samples_ns or not all(isinstance(value, int) and value > 0 for value in record.samples_ns):
        raise BadInput(
            f"the latency record of {record.measured_key[:12]} ({record.runtime}, {record.shape}, process "
            f"{record.process}, round {record.round}) holds no positive durations: measure it again"
        )
