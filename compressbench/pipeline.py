"""From a plan to a report on one machine: make every artifact, measure each, write what was found.

Every step asks first whether its result is there: an artifact in the store, a record in the folder. So a run that
was interrupted goes on, and a finished one measures latency anew and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compressbench.artifacts.artifact import ONNX_NAME, Artifact
from compressbench.artifacts.manifest import Manifest
from compressbench.artifacts.store import ArtifactStore, open_store
from compressbench.errors import CompressbenchError
from compressbench.harness.int8_check import check_int8
from compressbench.harness.latency import Subject, measure_latency
from compressbench.harness.quality import measure_quality
from compressbench.harness.size import measure_size
from compressbench.methods.weak_teacher import check_strength
from compressbench.models.onnx_export import graph_key
from compressbench.plan import BASELINE, MethodLine, Plan
from compressbench.progress import Progress
from compressbench.records.schema import CellRecord, GraphRecord, TaskRecord, to_json
from compressbench.reporting.comparison import comparison
from compressbench.reporting.run_folder import ENVIRONMENT_NAME
from compressbench.reporting.writers import write_reports
from compressbench.run_folder import RunFolder
from compressbench.tasks.data import TaskData
from compressbench.workshop import Workshop


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run leaves: its folder, the comparison, and the cells that failed."""

    folder: Path
    comparison: dict[str, Any]
    failed: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0, or 1 if some cells failed."""
        return 1 if self.failed else 0


def run(
    plan: Plan, *, out: Path, progress: Progress, fresh: bool = False, store: ArtifactStore | None = None
) -> Outcome:
    """Make and measure every cell of the plan that this session has no record of yet, and report.

    Args:
        plan: The resolved plan.
        out: The run folder, new or of the same plan.
        progress: Told of everything that takes longer than a moment.
        fresh: Whether to reuse nothing made or measured for this plan before.
        store: Where artifacts are; the user's store by default.

    Raises:
        WeakTeacher: If a teacher is no better than the majority class and the plan does not allow that.
        BadInput: If the folder cannot be used.
    """
    folder = RunFolder.open(out, plan, fresh=fresh)
    workshop = Workshop(
        store=store or open_store(), threads=plan.threads, device=plan.device, progress=progress, fresh=folder.fresh
    )
    bench = Bench(plan=plan, folder=folder, workshop=workshop, progress=progress)
    for data in plan.data:
        bench.describe_task(data)
    teachers = {(data.task.name, seed): bench.baseline(data, seed) for data in plan.data for seed in plan.seeds}
    for data in plan.data:
        for seed in plan.seeds:
            for line in plan.lines:
                bench.cell(line, data, seed, teacher=teachers[data.task.name, seed])
    bench.latencies()
    folder.finish()
    return bench.report()


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The steps of a run, each of which does what no record tells of yet."""

    plan: Plan
    folder: RunFolder
    workshop: Workshop
    progress: Progress

    def describe_task(self, data: TaskData) -> None:
        """Record what a report must know of a task."""
        task = data.task
        record = TaskRecord(
            task=task.name,
            suite=task.suite,
            labels=task.labels,
            metrics=task.metrics,
            dev_splits=task.dev_splits,
            data_fingerprint=data.fingerprint,
        )
        if task.name not in self.folder.index.tasks:
            self.folder.add(record)

    def baseline(self, data: TaskData, seed: int) -> Artifact:
        """The fine-tuned teacher of a task, measured; the baseline row.

        Raises:
            WeakTeacher: If it is no better than the majority class and the plan does not allow that.
        """
        source = self.plan.teachers[data.task.name]
        teacher = self.workshop.teacher(source, data, finetune=self.plan.finetune, seed=seed)
        measured = self.workshop.as_onnx(teacher)
        self.measure(measured, data)
        warning = check_strength(
            data.task,
            self.logits(measured, data),
            {split: data.rows(split).labels for split in data.task.dev_splits},
            allow_weak=self.plan.allow_weak_teacher,
        )
        self._add_cell(BASELINE, BASELINE, data, seed, teacher, measured, warnings=(*source.warnings, *warning))
        return teacher

    def cell(self, line: MethodLine, data: TaskData, seed: int, *, teacher: Artifact) -> None:
        """Make and measure one cell; what goes wrong in it is recorded, and the run goes on."""
        try:
            source = teacher
            if line.chain[0].name == "finetune":
                source = self.workshop.source_model(self.plan.teachers[data.task.name])
            artifact = self.workshop.chain(line.chain, data, source=source, teacher=teacher, seed=seed)
            measured = self.workshop.as_onnx(artifact)
            self.measure(measured, data)
        except Exception as error:  # noqa: BLE001 - one cell's failure must not take the others with it
            reason = str(error) if isinstance(error, CompressbenchError) else f"{type(error).__name__}: {error}"
            self.progress.say(f"failed: {line.typed} on {data.task.name}: {reason}")
            self._add_cell(line.typed, line.canonical, data, seed, None, None, error=reason)
            return
        self._add_cell(line.typed, line.canonical, data, seed, artifact, measured, line=line)

    def measure(self, measured: Artifact, data: TaskData) -> None:
        """Size, predictions and (of INT8 models) the share of INT8 kernels."""
        index = self.folder.index
        if measured.key not in index.graphs:
            self.folder.add(GraphRecord(measured_key=measured.key, graph_key=graph_key(measured.onnx_path)))
        for split in data.task.dev_splits:
            if (measured.key, data.task.name, split) not in index.quality:
                record = measure_quality(
                    measured.onnx_path,
                    measured.tokenizer_path,
                    data.task,
                    split=split,
                    rows=data.rows(split),
                    measured_key=measured.key,
                    threads=self.plan.threads,
                    progress=self.progress,
                )
                self.folder.add(record)
        if measured.key not in index.sizes:
            self.folder.add(measure_size(measured.onnx_path, measured_key=measured.key, progress=self.progress))
        if measured.format == "onnx-int8" and not index.int8_of(measured.key):
            for shape in self.plan.shapes:
                self.folder.add(check_int8(measured.onnx_path, shape=shape, measured_key=measured.key))

    def logits(self, measured: Artifact, data: TaskData) -> dict[str, np.ndarray]:
        """What a measured model answered, by split."""
        quality = self.folder.index.quality
        return {
            split: np.asarray(quality[measured.key, data.task.name, split].logits) for split in data.task.dev_splits
        }

    def latencies(self) -> None:
        """One interleaved campaign over every distinct graph that a cell stands on."""
        subjects: dict[str, Subject] = {}
        for cell in self.folder.index.ordered_cells():
            if cell.error is None and cell.measured_key in self.folder.index.graphs:
                graph = self.folder.index.graphs[cell.measured_key]
                path = self.workshop.store.root / cell.measured_key / ONNX_NAME
                subjects.setdefault(graph, Subject(measured_key=cell.measured_key, graph_key=graph, onnx_path=path))
        for runtime in self.plan.runtimes:
            measure_latency(
                list(subjects.values()),
                runtime=runtime,
                shapes=self.plan.shapes,
                threads=self.plan.threads,
                session=self.folder.session,
                done=self.folder.latency_records(),
                on_record=self.folder.add,
                progress=self.progress,
            )

    def report(self) -> Outcome:
        """Write every report the folder holds, and say which cells failed."""
        environment = json.loads((self.folder.path / ENVIRONMENT_NAME).read_text())
        result = comparison(self.folder.records, environment=environment, folder=self.folder.path)
        write_reports(result, self.folder.path, ("json", "md", "csv", "html"))
        cells = self.folder.index.ordered_cells()
        failed = tuple(f"{cell.method} on {cell.task}: {cell.error}" for cell in cells if cell.error)
        return Outcome(folder=self.folder.path, comparison=result, failed=failed)

    def _add_cell(
        self,
        typed: str,
        canonical: str,
        data: TaskData,
        seed: int,
        artifact: Artifact | None,
        measured: Artifact | None,
        *,
        line: MethodLine | None = None,
        warnings: Sequence[str] = (),
        error: str | None = None,
    ) -> None:
        """Append the cell's record, unless an equal one stands."""
        made = artifact.manifest if artifact else None
        record = CellRecord(
            task=data.task.name,
            method=typed,
            chain=canonical,
            seed=seed,
            parameters=_parameters(line, data, made),
            artifact_key=made.key if made else "",
            artifact_path=str(artifact.path) if artifact else "",
            format=made.format if made else "",
            measured_key=measured.key if measured else "",
            budget=dict(made.budget) if made else {},
            warnings=(*warnings, *(made.warnings if made else ())),
            error=error,
        )
        standing = self.folder.index.cells.get((record.task, record.chain, record.seed))
        if standing is None or to_json(standing) != to_json(record):
            self.folder.add(record)


def _parameters(line: MethodLine | None, data: TaskData, made: Manifest | None) -> Mapping[str, Any]:
    """Resolved parameters: of a single method as they are, of a chain by method name."""
    if line is None or len(line.chain) == 1:
        return dict(made.parameters) if made else {}
    return {method.name: asdict(method.resolved(task=data.task)) for method in line.chain}  # type: ignore[call-overload]
