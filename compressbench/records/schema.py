"""Records: what was made and measured, frozen, versioned and complete; statistics are the report's business."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

SCHEMA_VERSION = 4
"""1: first. 2: curves. 3: layers of INT8 and sparsity, workers' load and memory, several runtimes. 4: in every line its
session, beside logits predictions. The reader keeps reading all: what an older log does not have takes the default."""


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
    environment: str = ""
    """Fingerprint of machine and runtimes; latencies of sessions that differ in it are never put together."""
    threads: Sequence[int] = ()
    """Thread counts that latency is measured with, the main one first."""


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
    layers: Sequence[Mapping[str, Any]] = ()
    """Of each Linear layer ``name``, ``weights`` and how many are ``nonzero``, in the order of the graph."""


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

    @property
    def predictions(self) -> list[float]:
        """Class ids or, of a single logit, the real number."""
        return [row[0] if len(row) == 1 else max(range(len(row)), key=row.__getitem__) for row in self.logits]


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
    """``1x128``: batch x tokens; ``task``, ``8xtask``: the lengths that rows of `task` have."""
    threads: int
    process: int
    round: int
    """Blocks of one round and shape were run one after another in random order: pair them."""
    samples_ns: Sequence[int]
    task: str = ""
    """Whose rows they were, for the shapes of real lengths; empty for the others, whose inputs are no text."""


@dataclass(frozen=True, kw_only=True)
class WorkerRecord:
    """One measuring process: what loading the model took, and how much memory it had at most."""

    kind: ClassVar[str] = "worker"
    session: int
    measured_key: str
    runtime: str
    threads: int
    process: int
    cores: Sequence[int]
    """Numbers of the cores it was bound to; empty where the system does not bind."""
    load_ns: int
    """From the file to a session that is ready to run; loading the runtime itself is not in it."""
    start_memory_bytes: int
    """Peak resident memory before the model was opened: the interpreter and its libraries."""
    peak_memory_bytes: int
    """Peak resident memory in the end."""
    unsettled: Sequence[str] = ()
    """Shapes that had not come to a steady level when warming up was given up."""


@dataclass(frozen=True, kw_only=True)
class LoadRecord:
    """What else the machine did while one generation was measured."""

    kind: ClassVar[str] = "load"
    session: int
    process: int
    """The generation."""
    elapsed_ns: int
    cores: int
    """Cores that this program may use; the others are not looked at."""
    others_cpu_ns: int
    """CPU time on these cores that was not this program's, the time that a hypervisor took away included."""
    throttled_ns: int
    """Time that the container's CPU quota held this program back."""
    load_average: float | None
    """Over the last minute, when the generation ended."""


@dataclass(frozen=True, kw_only=True)
class LeftOutRecord:
    """A runtime that could not time a model, and why."""

    kind: ClassVar[str] = "left-out"
    session: int
    measured_key: str
    runtime: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class TokenizationRecord:
    """What turning a task's texts into token ids takes, which is in no latency."""

    kind: ClassVar[str] = "tokenization"
    session: int
    task: str
    shape: str
    """``task``: one row a call; ``8xtask``: eight."""
    samples_ns: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class ConcurrencyRecord:
    """Several processes of one model working at the same time, each as fast as it can."""

    kind: ClassVar[str] = "concurrency"
    session: int
    measured_key: str
    graph_key: str
    runtime: str
    shape: str
    threads: int
    """Of each process."""
    concurrency: int
    """Processes side by side."""
    round: int
    wall_ns: int
    """In which the samples were taken."""
    samples_ns: Sequence[int]
    """Of all processes together."""
    task: str = ""


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
    layers: Mapping[str, float] = field(default_factory=dict)
    """By layer, share of its multiply-adds in INT8; products of two computed sides go by their node."""
    session: int = 0
    """When it was read; another machine or runtime picks other kernels. 0: not recorded."""


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
    | WorkerRecord
    | LoadRecord
    | LeftOutRecord
    | TokenizationRecord
    | ConcurrencyRecord
)
SideRecord = WorkerRecord | LoadRecord | LeftOutRecord
"""What a latency campaign tells beside the latencies."""
RECORD_TYPES: dict[str, type[Record]] = {
    each.kind: each
    for each in (
        TaskRecord, SessionRecord, CellRecord, SizeRecord, QualityRecord, LatencyRecord, GraphRecord, Int8Record,
        CurveRecord, WorkerRecord, LoadRecord, LeftOutRecord, TokenizationRecord, ConcurrencyRecord,
    )
}  # fmt: skip


def to_json(record: Record) -> dict[str, Any]:
    """The record as one JSON object, kind and schema version first."""
    return {"schema_version": SCHEMA_VERSION, "kind": record.kind, **asdict(record)}
