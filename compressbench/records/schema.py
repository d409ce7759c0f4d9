"""Records: what was made and measured, frozen, versioned and complete; statistics are the report's business."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

SCHEMA_VERSION = 2  # 1: first. 2: curves. Later ones are told here; the reader keeps reading all.


@dataclass(frozen=True, kw_only=True)
class TaskRecord:
    """What a report must know of a task without loading it."""

    kind: ClassVar[str] = "task"
    task: str
    suite: str
    labels: Sequence[str]
    """Empty for regression."""
    metrics: Sequence[str]
    """The first is primary."""
    dev_splits: Sequence[str]
    data_fingerprint: str


@dataclass(frozen=True, kw_only=True)
class SessionRecord:
    """Begins and ends a session: one pass of latency measurements over a plan."""

    kind: ClassVar[str] = "session"
    session: int
    """1, 2, ...; a finished plan run again gets the next."""
    state: str
    """``begun`` or ``finished``."""
    time_utc: str
    fresh: str = ""
    """The text that sets this session's artifacts apart from earlier ones of the same plan (``--fresh``)."""


@dataclass(frozen=True, kw_only=True)
class CellRecord:
    """One chain on one task with one seed, and the artifact it made."""

    kind: ClassVar[str] = "cell"
    task: str
    method: str
    """As the user typed it; ``baseline`` for the teacher."""
    chain: str
    """Canonical spelling; ``baseline`` for the teacher."""
    seed: int
    parameters: Mapping[str, Any]
    """Resolved, by method name for chains of several."""
    artifact_key: str
    artifact_path: str
    format: str
    measured_key: str
    """Of the ONNX model that stands for it in every measurement; equal to `artifact_key` for ONNX artifacts."""
    budget: Mapping[str, int | float]
    warnings: Sequence[str] = ()
    error: str | None = None
    """Why there is no artifact (then the keys are empty)."""


@dataclass(frozen=True, kw_only=True)
class SizeRecord:
    """Bytes and counts of one measured model."""

    kind: ClassVar[str] = "size"
    measured_key: str
    size_bytes: int
    compressed_bytes: int
    parameter_count: int
    nonzero_count: int
    linear_count: int
    """Weights of Linear layers."""
    linear_nonzero_count: int
    flops: int
    """2 x multiply-adds at 1x128."""


@dataclass(frozen=True, kw_only=True)
class QualityRecord:
    """What one measured model answers on one dev split; scores are computed from this."""

    kind: ClassVar[str] = "quality"
    measured_key: str
    task: str
    split: str
    logits: Sequence[Sequence[float]]
    references: Sequence[float]
    """Class ids or real numbers, in the same row order."""


@dataclass(frozen=True, kw_only=True)
class LatencyRecord:
    """One block: the same model run several times in a row in one process."""

    kind: ClassVar[str] = "latency"
    session: int
    measured_key: str
    graph_key: str
    """Equal for models that differ in their weights' values alone; they share latency."""
    runtime: str
    shape: str
    """``1x128``: batch x tokens."""
    threads: int
    process: int
    round: int
    """Blocks of one round and shape were run one after another in random order: pair them."""
    samples_ns: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class GraphRecord:
    """Which graph a measured model has; models of one graph share the latency of whichever was measured."""

    kind: ClassVar[str] = "graph"
    measured_key: str
    graph_key: str


@dataclass(frozen=True, kw_only=True)
class Int8Record:
    """How much of a quantized graph runs in INT8 kernels, read off the runtime's optimized graph."""

    kind: ClassVar[str] = "int8"
    measured_key: str
    runtime: str
    shape: str
    gemm_share: float
    """Share of all GEMM multiply-adds."""
    constant_gemm_share: float
    """The same of GEMMs with constant weights."""
    leftover_qdq_pairs: int


@dataclass(frozen=True, kw_only=True)
class CurveRecord:
    """What one stage of training showed; drawn, and read by no figure."""

    kind: ClassVar[str] = "curve"
    artifact_key: str
    task: str
    chain: str
    seed: int | None
    stage: str
    steps: Sequence[int]
    learning_rates: Sequence[float]
    terms: Mapping[str, Sequence[float]]
    """Loss terms by name, means up to each of `steps`; they add up to the loss."""
    score_steps: Sequence[int]
    scores: Mapping[str, Sequence[float]]
    """Of the dev rows that this run scores, by metric, at `score_steps`."""


Record = (
    TaskRecord
    | SessionRecord
    | CellRecord
    | SizeRecord
    | QualityRecord
    | LatencyRecord
    | GraphRecord
    | Int8Record
    | CurveRecord
)
RECORD_TYPES: dict[str, type[Record]] = {
    each.kind: each
    for each in (
        TaskRecord, SessionRecord, CellRecord, SizeRecord, QualityRecord, LatencyRecord, GraphRecord, Int8Record,
        CurveRecord,
    )
}  # fmt: skip


def to_json(record: Record) -> dict[str, Any]:
    """The record as one JSON object, kind and schema version first."""
    return {"schema_version": SCHEMA_VERSION, "kind": record.kind, **asdict(record)}
