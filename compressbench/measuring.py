"""Measures models and writes down what it finds, skipping what the ledger already tells; never asks whose they are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from compressbench.artifacts.artifact import Artifact
from compressbench.harness.int8_check import check_int8
from compressbench.harness.latency import measure_latency
from compressbench.harness.measuring_process import Subject
from compressbench.harness.quality import measure_quality
from compressbench.harness.shapes import Shape
from compressbench.harness.size import measure_size
from compressbench.ledger import Ledger
from compressbench.models.onnx_export import graph_key
from compressbench.progress import Progress
from compressbench.records.schema import GraphRecord, LatencyRecord, TaskRecord
from compressbench.runtimes.catalog import RUNTIMES
from compressbench.runtimes.onnxruntime import NAME as ONNXRUNTIME
from compressbench.tasks.data import TaskData


@dataclass(frozen=True, kw_only=True)
class Measurable:
    """An ONNX model and the tokenizer that feeds it."""

    key: str
    onnx_path: Path
    tokenizer_path: Path
    torch_path: Path | None = None
    """The Hugging Face folder it was exported from, for PyTorch runtimes; None: it does not run there."""


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
    )


def holds_int8(runtime: str) -> bool:
    """Whether INT8 in this runtime comes from the model's file, and not from the runtime itself."""
    return RUNTIMES[runtime].opens == "onnx"


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """How one session measures, and where it writes."""

    ledger: Ledger
    session: int
    threads: int
    shapes: Sequence[Shape]
    runtimes: Sequence[str]
    progress: Progress

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
        index = self.ledger.index
        if model.key not in index.graphs:
            self.ledger.add(GraphRecord(measured_key=model.key, graph_key=graph_key(model.onnx_path)))
        for split in data.task.dev_splits:
            if (model.key, data.task.name, split) not in index.quality:
                record = measure_quality(
                    model.onnx_path,
                    model.tokenizer_path,
                    data.task,
                    split=split,
                    rows=data.rows(split),
                    measured_key=model.key,
                    threads=self.threads,
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
        told = {(record.runtime, record.shape) for record in index.int8_of(model.key)}
        known_as_fp32 = model.key in index.sizes and not any(holds_int8(runtime) for runtime, _ in told)
        for runtime in dict.fromkeys((ONNXRUNTIME, *self.runtimes)):
            if known_as_fp32 and holds_int8(runtime):
                continue  # measured before, and found to hold no INT8 operator
            for shape in self.shapes:
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
                self.ledger.add(share)

    def latencies(self, models: Iterable[Measurable]) -> None:
        """One interleaved campaign over the distinct graphs among the models; blocks already measured are kept."""
        graphs = self.ledger.index.graphs
        subjects: dict[str, Subject] = {}
        for model in models:
            graph = graphs[model.key]
            subject = Subject(
                measured_key=model.key, graph_key=graph, onnx_path=model.onnx_path, torch_path=model.torch_path
            )
            subjects.setdefault(graph, subject)
        done = [
            each for each in self.ledger.records if isinstance(each, LatencyRecord) and each.session == self.session
        ]
        measure_latency(
            list(subjects.values()),
            runtimes=self.runtimes,
            shapes=self.shapes,
            threads=(self.threads,),
            session=self.session,
            done=done,
            on_record=self.ledger.add,
            progress=self.progress,
        )
