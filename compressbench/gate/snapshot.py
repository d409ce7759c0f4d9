"""One side of the gate: the rows of a run with everything that is compared, read from records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from compressbench.errors import BadInput
from compressbench.records.latencies import Blocks, LatencyIndex, latency_index
from compressbench.records.run_folder import read_run
from compressbench.records.run_index import RunIndex, index_records
from compressbench.records.schema import CellRecord, Record, TaskRecord
from compressbench.scoring import Answers, split_answers
from compressbench.stats import Rounds

PACKAGE_OF = {"onnxruntime": "onnxruntime", "openvino": "openvino", "torch": "torch"}
"""Whose version decides whether two latencies in a runtime compare, by the first word of the runtime's name."""


class RowKey(NamedTuple):
    """What rows of two sides match on."""

    task: str
    chain: str
    seed: int


class Place(NamedTuple):
    """Where a latency was taken."""

    runtime: str
    shape: str
    threads: int


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One model at one place: block medians by process and round, and the raw samples where they are kept."""

    medians_ns: Mapping[tuple[int, int], float]
    samples_ns: Mapping[tuple[int, int], Sequence[int]] = field(default_factory=dict)

    def rounds(self) -> Rounds:
        """Medians per process, in order."""
        processes: dict[int, list[float]] = {}
        for place in sorted(self.medians_ns):
            processes.setdefault(place[0], []).append(self.medians_ns[place])
        return list(processes.values())


@dataclass(frozen=True, kw_only=True)
class Int8Share:
    """How much of a graph runs in INT8 kernels."""

    gemm_share: float
    constant_gemm_share: float


@dataclass(frozen=True, kw_only=True)
class GateRow:
    """Everything of one row that the gate compares; what was not measured is empty."""

    key: RowKey
    method: str
    """As typed."""
    answers: Mapping[str, Answers]
    """By dev split, the primary one first."""
    size_bytes: int | None
    latency: Mapping[Place, Timed]
    int8: Mapping[tuple[str, str], Int8Share]
    """By runtime and shape; empty for models that are not quantized."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One side: a run, or what was recorded of one."""

    name: str
    environment: Mapping[str, Any]
    tasks: Mapping[str, TaskRecord]
    rows: Mapping[RowKey, GateRow]
    failed: Mapping[RowKey, str] = field(default_factory=dict)
    """Rows of which there is no artifact, with the reason."""
    warnings: Sequence[str] = ()


def read_snapshot(path: Path) -> Snapshot:
    """A run's folder, or a baseline that `gate --record` wrote.

    Raises:
        BadInput: If it is neither, is of another schema version, or holds no usable samples or answers.
    """
    if path.is_dir():
        run = read_run(path)
        return snapshot_of(run.records, environment=run.environment, name=str(path), warnings=run.warnings)
    if not path.is_file():
        raise BadInput(f"{path} is not there: give a run's folder, or a file that `compressbench gate --record` wrote")
    from compressbench.gate.recorded import read_recorded

    return read_recorded(path)


def snapshot_of(
    records: Sequence[Record], *, environment: Mapping[str, Any], name: str, warnings: Sequence[str] = ()
) -> Snapshot:
    """The rows of a run's records.

    Raises:
        BadInput: If a block holds no durations, a model answered NaN, or there is no row.
    """
    index = index_records(records)
    latencies = latency_index(index)
    cells = index.ordered_cells()
    if not cells:
        raise BadInput(f"{name} holds no row: the run was stopped before its first model; run the plan again")
    return Snapshot(
        name=name,
        environment=environment,
        tasks=index.tasks,
        rows={key_of(cell): row_of(cell, index, latencies, name=name) for cell in cells if not cell.error},
        failed={key_of(cell): cell.error for cell in cells if cell.error},
        warnings=warnings,
    )


def key_of(cell: CellRecord) -> RowKey:
    """What a cell's row matches on."""
    return RowKey(cell.task, cell.chain, cell.seed)


def row_of(cell: CellRecord, index: RunIndex, latencies: LatencyIndex, *, name: str) -> GateRow:
    """Everything recorded of one cell that the gate compares.

    Raises:
        BadInput: If the model answered NaN.
    """
    answers = split_answers(cell, index)
    for split, each in answers.items():
        if each.undefined_rows:
            raise BadInput(
                f"{name}: {cell.task}/{cell.chain} answers NaN or infinity on {each.undefined_rows} of "
                f"{len(each.references)} rows of {split}, so it has no score: make the model anew"
            )
    size = index.sizes.get(cell.measured_key)
    timed = {}
    for place in latencies.places:
        for threads in (None, *latencies.further_threads(place)):
            blocks = latencies.find(cell.measured_key, place, task=cell.task, threads=threads)
            if blocks is not None:
                timed[Place(*place, blocks.threads)] = _timed(blocks)
    shares = {
        (record.runtime, record.shape): Int8Share(
            gemm_share=record.gemm_share, constant_gemm_share=record.constant_gemm_share
        )
        for record in index.int8_of(cell.measured_key)
    }
    return GateRow(
        key=key_of(cell),
        method=cell.method,
        answers=answers,
        size_bytes=size.size_bytes if size else None,
        latency=timed,
        int8=shares,
    )


def _timed(blocks: Blocks) -> Timed:
    return Timed(
        medians_ns={place: float(np.median(samples)) for place, samples in blocks.samples_ns.items()},
        samples_ns=dict(blocks.samples_ns),
    )


def latency_obstacle(baseline: Snapshot, current: Snapshot, place: Place) -> str | None:
    """Why latencies of two sides that were not measured together do not compare at a place, or None."""
    ours, theirs = baseline.environment, current.environment
    package = PACKAGE_OF.get(place.runtime.split("-")[0], place.runtime)
    pairs = (
        ("instruction sets", ours.get("isa_class"), theirs.get("isa_class")),
        (f"versions of {package}", *(each.get("packages", {}).get(package) for each in (ours, theirs))),
    )
    for words, before, after in pairs:
        if before is None or before != after:
            told = " and ".join("unknown" if value is None else str(value) for value in (before, after))
            return f"the {words} differ or are not known ({told})"
    return None
