"""Measures models and writes down what it finds, skipping what the ledger already tells; never asks whose they are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.manifest import Manifest
from compressbench.encodings import Encodings
from compressbench.harness.concurrency import concurrency_key, measure_concurrency
from compressbench.harness.int8_check import check_int8
from compressbench.harness.latency import measure_latency
from compressbench.harness.measuring_process import OnTask, Subject
from compressbench.harness.quality import measure_quality
from compressbench.harness.shapes import AnyShape, TaskShape, fixed_shapes
from compressbench.harness.size import measure_size
from compressbench.harness.tokenization import measure_tokenization
from compressbench.ledger import Ledger
from compressbench.models.onnx_graph import graph_key
from compressbench.progress import Progress
from compressbench.records.latencies import widest_interval
from compressbench.records.schema import GraphRecord, LatencyRecord, LeftOutRecord, SideRecord, TaskRecord
from compressbench.runtimes.catalog import RUNTIMES
from compressbench.runtimes.onnxruntime import NAME as ONNXRUNTIME
from compressbench.targets import misfit
from compressbench.tasks.data import TaskData
from compressbench.units import format_percent

MOST_GENERATIONS = 24
"""Where --precision gives up: eight times the processes and rounds of a run without it."""


@dataclass(frozen=True, kw_only=True)
class Measurable:
    """An ONNX model and the tokenizer that feeds it."""

    key: str
    onnx_path: Path
    tokenizer_path: Path
    torch_path: Path | None = None
    """The Hugging Face folder it was exported from, for PyTorch runtimes; None: it does not run there."""
    warnings: tuple[str, ...] = ()
    """What its row must say before anything is measured: that it was made for another CPU."""


def target_warnings(target: str | None, *, reduce_range: object = None) -> tuple[str, ...]:
    """A sentence where a model of this target and `reduce_range`, as a manifest holds them, does not fit this CPU."""
    reason = misfit(target, has_8_bit_weights=reduce_range is False) if target else None
    return (reason,) if reason else ()


def manifest_warnings(made: Manifest) -> tuple[str, ...]:
    """`target_warnings` of an artifact."""
    return target_warnings(made.target, reduce_range=made.parameters.get("reduce_range"))


def measurable(artifact: Artifact, *, exported_from: Artifact) -> Measurable:
    """An ONNX artifact as the harness takes it.

    Args:
        artifact: ONNX.
        exported_from: What it was exported from; itself, where it was made as ONNX.
    """
    return Measurable(
        key=artifact.key,
        onnx_path=artifact.onnx_path,
        tokenizer_path=artifact.tokenizer_path,
        torch_path=exported_from.path if exported_from.format == "torch" else None,
        warnings=manifest_warnings(artifact.manifest),
    )


def holds_int8(runtime: str) -> bool:
    """Whether INT8 in this runtime comes from the model's file, and not from the runtime itself."""
    return RUNTIMES[runtime].opens == "onnx"


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """How one session measures, and where it writes."""

    ledger: Ledger
    session: int
    threads: Sequence[int]
    """Thread counts of the latencies, the main one first."""
    shapes: Sequence[AnyShape]
    runtimes: Sequence[str]
    progress: Progress
    lock_timeout_s: float | None = None
    """How long to wait for another campaign on this machine; None: as long as it takes."""
    precision: float | None = None
    """Half width of the speedups' intervals, as a share, at which there are rounds enough; None: a fixed number."""
    concurrency: int = 1
    """Processes of one model to run side by side, too; 1: none."""
    encodings: Encodings = field(default_factory=Encodings)
    tasks: dict[str, list[TaskData]] = field(default_factory=dict)
    """By the key of every model measured, the tasks it answers."""

    def describe_task(self, data: TaskData) -> None:
        """Record what a report must know of a task."""
        task = data.task
        if task.name not in self.ledger.index.tasks:
            record = TaskRecord(
                task=task.name,
                suite=task.suite,
                labels=task.labels,
                metrics=task.metrics,
                dev_splits=task.dev_splits,
                data_fingerprint=data.fingerprint,
            )
            self.ledger.add(record)

    def model(self, model: Measurable, data: TaskData) -> None:
        """Graph, predictions, size and share of INT8 kernels of one model on one task."""
        for warning in model.warnings:
            self.progress.say(f"warning: {model.onnx_path}: {warning}")
        index = self.ledger.index
        self.tasks.setdefault(model.key, []).append(data)
        if model.key not in index.graphs:
            self.ledger.add(GraphRecord(measured_key=model.key, graph_key=graph_key(model.onnx_path)))
        for split in data.task.dev_splits:
            if (model.key, data.task.name, split) not in index.quality:
                record = measure_quality(
                    model.onnx_path,
                    data.task,
                    split=split,
                    rows=data.rows(split),
                    encoded=self.encodings.split(data, split, tokenizer_path=model.tokenizer_path),
                    measured_key=model.key,
                    threads=max(self.threads),
                    progress=self.progress,
                )
                self.ledger.add(record)
        self._int8_shares(model)
        if model.key not in index.sizes:
            flops = self.ledger.index.flops_of(model.key)
            size = measure_size(model.onnx_path, measured_key=model.key, progress=self.progress, flops=flops)
            self.ledger.add(size)

    def _int8_shares(self, model: Measurable) -> None:
        """What each runtime computes in INT8: ONNX Runtime, which scores every model, and those that are timed."""
        index = self.ledger.index
        found = index.int8_of(model.key)
        told = {
            (record.runtime, record.shape)
            for record in found
            if index.is_current(record.session) and index.made_alike(record.session, self.session)
        }
        known_as_fp32 = model.key in index.sizes and not any(holds_int8(record.runtime) for record in found)
        for runtime in dict.fromkeys((ONNXRUNTIME, *self.runtimes)):
            if known_as_fp32 and holds_int8(runtime):
                continue  # measured before, and found to hold no INT8 operator
            for shape in fixed_shapes(self.shapes):
                if (runtime, str(shape)) in told:
                    continue
                share = check_int8(
                    model.onnx_path,
                    shape=shape,
                    measured_key=model.key,
                    runtime=runtime,
                    torch_path=model.torch_path,
                )
                if share is None:
                    break
                self.ledger.add(replace(share, session=self.session))

    def latencies(self, models: Iterable[Measurable]) -> None:
        """One interleaved campaign over the distinct graphs among the models; blocks already measured are kept."""
        models = list(models)
        self._tokenizations(models)
        records = [each for each in self.ledger.records if getattr(each, "session", None) == self.session]
        subjects = self._subjects(models)
        measure_latency(
            subjects,
            runtimes=self.runtimes,
            shapes=self.shapes,
            threads=self.threads,
            session=self.session,
            done=[each for each in records if isinstance(each, LatencyRecord)],
            on_record=self.ledger.add,
            on_side_record=self._add_once,
            progress=self.progress,
            lock_timeout_s=self.lock_timeout_s,
            wants_more=None if self.precision is None else self._is_too_wide,
        )
        if self.concurrency > 1:
            self._side_by_side(subjects)

    def _is_too_wide(self, generations: int) -> bool:
        """Whether a speedup's interval is wider than asked for; its width decides, never where it lies.

        After `MOST_GENERATIONS` the answer is no, and what was reached is said.
        """
        assert self.precision is not None  # nobody asks otherwise
        widest = widest_interval(self.ledger.index)
        if widest <= self.precision:
            return False
        if generations < MOST_GENERATIONS:
            return True
        self.progress.say(
            f"--precision {format_percent(self.precision)} is not reached after {generations} processes of each model: "
            f"the widest interval is +-{format_percent(widest)}; a quieter machine would help more than further rounds"
        )
        return False

    def _side_by_side(self, subjects: Sequence[Subject]) -> None:
        known = {concurrency_key(each) for each in self.ledger.index.concurrencies if each.session == self.session}
        measure_concurrency(
            subjects,
            shapes=self.shapes,
            runtimes=self.runtimes,
            threads=self.threads[0],
            concurrency=self.concurrency,
            session=self.session,
            known=known,
            on_record=self.ledger.add,
            progress=self.progress,
            lock_timeout_s=self.lock_timeout_s,
        )

    def _subjects(self, models: Sequence[Measurable]) -> list[Subject]:
        """One model for each graph, one that PyTorch can open where there is one, with the tasks of all of them."""
        graphs = self.ledger.index.graphs
        by_graph: dict[str, list[Measurable]] = {}
        for model in models:
            by_graph.setdefault(graphs[model.key], []).append(model)
        subjects = []
        for graph, same in by_graph.items():
            standing = next((each for each in same if each.torch_path is not None), same[0])
            on_tasks = {each.rows.task: each for model in reversed(same) for each in self.on_tasks(model)}
            subjects.append(
                Subject(
                    measured_key=standing.key,
                    graph_key=graph,
                    onnx_path=standing.onnx_path,
                    torch_path=standing.torch_path,
                    on_tasks=list(on_tasks.values())[::-1],
                )
            )
        return subjects

    def on_tasks(self, model: Measurable) -> list[OnTask]:
        """The model on the rows of each of its tasks, where a shape of real lengths is measured."""
        if len(fixed_shapes(self.shapes)) == len(self.shapes):
            return []
        return [
            OnTask(
                measured_key=model.key,
                rows=self.encodings.real_rows(data, tuple(self.shapes), tokenizer_path=model.tokenizer_path),
            )
            for data in self.tasks.get(model.key, ())
        ]

    def _tokenizations(self, models: Sequence[Measurable]) -> None:
        """Time the tokenizer of each task's first model at each shape of real lengths, once a session."""
        known = {(each.task, each.shape) for each in self.ledger.index.tokenizations if each.session == self.session}
        for model in models:
            for data in self.tasks.get(model.key, ()):
                for shape in self.shapes:
                    if not isinstance(shape, TaskShape) or (data.task.name, str(shape)) in known:
                        continue
                    rows = data.rows(data.task.dev_splits[0])
                    known.add((data.task.name, str(shape)))
                    self.ledger.add(
                        measure_tokenization(rows, model.tokenizer_path, data.task, shape=shape, session=self.session)
                    )

    def _add_once(self, record: SideRecord) -> None:
        """Add what a campaign tells; a resumed one tells again which models it leaves out."""
        if not (isinstance(record, LeftOutRecord) and record in self.ledger.index.left_out):
            self.ledger.add(record)
