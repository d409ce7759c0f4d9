"""Records of a run by what a row asks for; where one thing was recorded twice, the later record counts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from compressbench.records.schema import (
    CellRecord,
    ConcurrencyRecord,
    CurveRecord,
    GraphRecord,
    Int8Record,
    LatencyRecord,
    LeftOutRecord,
    LoadRecord,
    QualityRecord,
    Record,
    SessionRecord,
    SizeRecord,
    TaskRecord,
    TokenizationRecord,
    WorkerRecord,
)

BASELINE = "baseline"


@dataclass(frozen=True, kw_only=True)
class RunIndex:
    """Look-ups over a run's records."""

    tasks: dict[str, TaskRecord] = field(default_factory=dict)
    cells: dict[tuple[str, str, int], CellRecord] = field(default_factory=dict)
    """By task, canonical chain and seed."""
    sizes: dict[str, SizeRecord] = field(default_factory=dict)
    """By measured key, as `graphs`, `int8` and `quality`."""
    graphs: dict[str, str] = field(default_factory=dict)
    int8: dict[str, list[Int8Record]] = field(default_factory=dict)
    quality: dict[tuple[str, str, str], QualityRecord] = field(default_factory=dict)
    """By measured key, task and split."""
    latencies: list[LatencyRecord] = field(default_factory=list)
    curves: dict[tuple[str, str], CurveRecord] = field(default_factory=dict)
    """By artifact key and stage."""
    sessions: dict[int, SessionRecord] = field(default_factory=dict)
    workers: list[WorkerRecord] = field(default_factory=list)
    loads: list[LoadRecord] = field(default_factory=list)
    left_out: list[LeftOutRecord] = field(default_factory=list)
    tokenizations: list[TokenizationRecord] = field(default_factory=list)
    concurrencies: list[ConcurrencyRecord] = field(default_factory=list)

    def is_current(self, session: int) -> bool:
        """Whether a session ran in the newest session's environment: others' latencies are never put beside it."""
        return self._environment_of(session) == self._environment_of(max(self.sessions, default=session))

    def made_alike(self, one: int, other: int) -> bool:
        """Whether two sessions share what was made and counted: the later of them was not begun with ``--fresh``."""
        return self._fresh_of(one) == self._fresh_of(other)

    def other_environments(self) -> list[int]:
        """Sessions whose latencies are left out because machine or runtimes were others."""
        return sorted({each.session for each in self.latencies if not self.is_current(each.session)})

    def _environment_of(self, session: int) -> str:
        return self.sessions[session].environment if session in self.sessions else ""

    def _fresh_of(self, session: int) -> str:
        return self.sessions[session].fresh if session in self.sessions else ""

    def ordered_cells(self) -> list[CellRecord]:
        """Cells as a table shows them: task by task, the baseline first, a method's seeds beside each other."""
        tasks = list(dict.fromkeys([*self.tasks, *(cell.task for cell in self.cells.values())]))
        chains = list(dict.fromkeys(cell.chain for cell in self.cells.values()))
        return sorted(
            self.cells.values(),
            key=lambda cell: (
                tasks.index(cell.task),
                cell.chain != BASELINE,
                chains.index(cell.chain),
                cell.seed,
            ),
        )

    def baseline_of(self, cell: CellRecord) -> CellRecord | None:
        """The baseline of a cell's task and seed; of another seed where one teacher serves all."""
        own = self.cells.get((cell.task, BASELINE, cell.seed))
        others = (each for each in self.cells.values() if each.task == cell.task and each.chain == BASELINE)
        return own or next(others, None)

    def int8_of(self, measured_key: str) -> Sequence[Int8Record]:
        """INT8 shares of a model, or of another with the same graph: they are the graph's."""
        if measured_key in self.int8:
            return self.int8[measured_key]
        return next((found for key, found in self.int8.items() if self._have_one_graph(key, measured_key)), ())

    def flops_of(self, measured_key: str) -> int | None:
        """FLOPs of a model's graph, counted on it or on another model with the same graph; None: not counted yet."""
        sizes = self.sizes.items()
        return next((size.flops for key, size in sizes if self._have_one_graph(key, measured_key)), None)

    def _have_one_graph(self, one: str, other: str) -> bool:
        graph = self.graphs.get(one)
        return graph is not None and graph == self.graphs.get(other)


def index_records(records: Iterable[Record]) -> RunIndex:
    """Sort records into the look-ups of a `RunIndex`."""
    index = RunIndex()
    for record in records:
        match record:
            case TaskRecord():
                index.tasks[record.task] = record
            case CellRecord():
                index.cells[(record.task, record.chain, record.seed)] = record
            case SizeRecord():
                index.sizes[record.measured_key] = record
            case GraphRecord():
                index.graphs[record.measured_key] = record.graph_key
            case QualityRecord():
                index.quality[(record.measured_key, record.task, record.split)] = record
            case Int8Record():
                kept = [
                    each
                    for each in index.int8.get(record.measured_key, [])
                    if (each.runtime, each.shape) != (record.runtime, record.shape)
                ]
                index.int8[record.measured_key] = [*kept, record]
            case LatencyRecord():
                index.latencies.append(record)
                index.graphs.setdefault(record.measured_key, record.graph_key)
            case CurveRecord():
                index.curves[(record.artifact_key, record.stage)] = record
            case SessionRecord():
                index.sessions[record.session] = record
            case WorkerRecord():
                index.workers.append(record)
            case LoadRecord():
                index.loads.append(record)
            case LeftOutRecord():
                index.left_out.append(record)
            case TokenizationRecord():
                index.tokenizations.append(record)
            case ConcurrencyRecord():
                index.concurrencies.append(record)
    return index
