"""From a plan to a report on one machine: make every artifact, measure each, write what was found.

Every step asks first whether its result is there: an artifact in the store, a record in the folder. So a run that
was interrupted goes on, and a finished one measures latency anew and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.manifest import Manifest
from compressbench.artifacts.store import ArtifactStore, open_store
from compressbench.errors import CompressbenchError
from compressbench.measuring import Measurable, Measuring, measurable
from compressbench.methods.weak_teacher import check_strength
from compressbench.plan import BASELINE, Plan
from compressbench.plan_file import plan_text
from compressbench.plan_parts import MethodLine
from compressbench.progress import Progress
from compressbench.records.curves import read_curves
from compressbench.records.schema import CellRecord, CurveRecord
from compressbench.reporting.comparison import comparison
from compressbench.reporting.writers import write_reports
from compressbench.run_folder import RunFolder
from compressbench.tasks.data import TaskData
from compressbench.tasks.scores import predicted
from compressbench.units import format_points
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
    plan: Plan,
    *,
    out: Path,
    progress: Progress,
    fresh: bool = False,
    store: ArtifactStore | None = None,
    lock_timeout_s: float | None = None,
) -> Outcome:
    """Make and measure every cell of the plan that this session has no record of yet, and report.

    Args:
        plan: The resolved plan.
        out: The run folder, new or of the same plan.
        progress: Told of everything that takes longer than a moment.
        fresh: Whether to reuse nothing made or measured for this plan before.
        store: Where artifacts are; the user's store by default.
        lock_timeout_s: Seconds to wait for another measurement on this machine; None: as long as it takes.

    Raises:
        WeakTeacher: If a teacher is no better than the majority class and the plan does not allow that.
        BadInput: If the folder cannot be used.
    """
    store = store or open_store()
    store.prepare()
    folder = RunFolder.open(out, digest=plan.digest, plan_text=plan_text(plan), threads=plan.thread_counts, fresh=fresh)
    for warning in folder.ledger.warnings:
        progress.say(warning)
    measuring = Measuring(
        ledger=folder.ledger,
        session=folder.session,
        threads=plan.thread_counts,
        precision=plan.precision,
        concurrency=plan.concurrency,
        lock_timeout_s=lock_timeout_s,
        shapes=plan.shapes,
        runtimes=plan.runtimes,
        progress=progress,
    )
    workshop = Workshop(
        store=store,
        threads=plan.threads,
        device=plan.device,
        progress=progress,
        fresh=folder.fresh,
    )
    cells = Cells(plan=plan, workshop=workshop, measuring=measuring)
    models: list[Measurable] = []
    teachers = {}
    for data in plan.data:  # all teachers first: a weak one stops the run before anything is compressed
        measuring.describe_task(data)
        for seed in plan.seeds:
            teachers[data.task.name, seed] = cells.baseline(data, seed, models)
    for data in plan.data:
        for seed in plan.seeds:
            for line in plan.lines:
                cells.cell(line, data, seed, models, teacher=teachers[data.task.name, seed])
    measuring.latencies(models)
    folder.finish()
    return report(folder)


def report(folder: RunFolder) -> Outcome:
    """Write every report of a run into its folder, and say which cells failed."""
    result = comparison(folder.ledger.records, environment=folder.machine, folder=folder.path)
    index = folder.ledger.index
    write_reports(result, folder.path, ("json", "md", "csv", "html"), curves=list(index.curves.values()))
    cells = index.ordered_cells()
    failed = tuple(f"{cell.method} on {cell.task}: {cell.error}" for cell in cells if cell.error)
    return Outcome(folder=folder.path, comparison=result, failed=failed)


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Makes and measures the cells of a plan, and records each."""

    plan: Plan
    workshop: Workshop
    measuring: Measuring

    def baseline(self, data: TaskData, seed: int, models: list[Measurable]) -> Artifact:
        """The fine-tuned teacher of a task, measured; the baseline row.

        Raises:
            WeakTeacher: If it is no better than the majority class and the plan does not allow that.
        """
        source = self.plan.teachers[data.task.name]
        teacher = self.workshop.teacher(source, data, finetune=self.plan.finetune, seed=seed)
        measured = self._measure(teacher, data, models)
        quality = self.measuring.ledger.index.quality
        warning = check_strength(
            data.task,
            {split: np.asarray(quality[measured.key, data.task.name, split].logits) for split in data.task.dev_splits},
            {
                split: np.asarray(quality[measured.key, data.task.name, split].references)
                for split in data.task.dev_splits
            },
            allow_weak=self.plan.allow_weak_teacher,
        )
        self._add_cell(BASELINE, BASELINE, data, seed, teacher, measured, warnings=(*source.warnings, *warning))
        return teacher

    def cell(self, line: MethodLine, data: TaskData, seed: int, models: list[Measurable], *, teacher: Artifact) -> None:
        """Make and measure one cell; what goes wrong in it is recorded, and the run goes on."""
        try:
            source, pretrained = teacher, self.plan.teachers[data.task.name]
            if line.chain[0].name == "finetune":
                source = self.workshop.source_model(pretrained)
            artifact = self.workshop.chain(
                line.chain, data, source=source, teacher=teacher, seed=seed, pretrained=pretrained
            )
            measured = self._measure(artifact, data, models)
        except Exception as error:  # noqa: BLE001 - one cell's failure must not take the others with it
            reason = str(error) if isinstance(error, CompressbenchError) else f"{type(error).__name__}: {error}"
            self.workshop.progress.say(f"failed: {line.typed} on {data.task.name}: {reason}")
            self._add_cell(line.typed, line.canonical, data, seed, None, None, line=line, error=reason)
            return
        self._add_cell(line.typed, line.canonical, data, seed, artifact, measured, line=line)

    def _measure(self, artifact: Artifact, data: TaskData, models: list[Measurable]) -> Measurable:
        """Everything but latency, which is measured for all models together at the end."""
        model = measurable(self.workshop.as_onnx(artifact), exported_from=artifact)
        self._record_curves(artifact, data)
        is_new = (model.key, data.task.name, data.task.dev_splits[0]) not in self.measuring.ledger.index.quality
        self.measuring.model(model, data)
        if is_new:
            self._say_scores(model, data, artifact.manifest.chain)
        models.append(model)
        return model

    def _record_curves(self, artifact: Artifact, data: TaskData) -> None:
        """Copy what training showed into the run's records, which are all that a report reads."""
        index = self.measuring.ledger.index
        watched = data.watched.fingerprint if data.watched else ""
        for made in self.workshop.lineage(artifact):
            for record in curve_records(made, dev_fingerprint=watched):
                if (record.artifact_key, record.stage) not in index.curves:
                    self.measuring.ledger.add(record)

    def _say_scores(self, model: Measurable, data: TaskData, chain: str) -> None:
        """One line with what a new model scores, so that a long run tells how it goes before it ends."""
        from compressbench.tasks.evaluate_metric import TaskScores

        quality = self.measuring.ledger.index.quality[model.key, data.task.name, data.task.dev_splits[0]]
        predictions = predicted(np.asarray(quality.logits), data.task.is_regression)
        scores = TaskScores(data.task).compute(predictions=predictions, references=quality.references)
        told = ", ".join(f"{name} {format_points(value)}" for name, value in scores.items())
        self.workshop.progress.say(f"{data.task.name}, {chain or 'teacher'}: {told}")

    def _add_cell(
        self,
        typed: str,
        canonical: str,
        data: TaskData,
        seed: int,
        artifact: Artifact | None,
        measured: Measurable | None,
        *,
        line: MethodLine | None = None,
        warnings: Sequence[str] = (),
        error: str | None = None,
    ) -> None:
        """Append the cell's record."""
        made = artifact.manifest if artifact else None
        record = CellRecord(
            task=data.task.name,
            method=typed,
            chain=canonical,
            seed=seed,
            parameters=chain_parameters(line, self.workshop.lineage(artifact)) if artifact else asked_parameters(line),
            artifact_key=made.key if made else "",
            artifact_path=str(artifact.path) if artifact else "",
            format=made.format if made else "",
            measured_key=measured.key if measured else "",
            budget=chain_budget(line, self.workshop.lineage(artifact)) if artifact else {},
            warnings=(*warnings, *(made.warnings if made else ()), *(measured.warnings if measured else ())),
            error=error,
        )
        self.measuring.ledger.add_cell(record)


def curve_records(artifact: Artifact, *, dev_fingerprint: str) -> list[CurveRecord]:
    """The curves beside an artifact; dev scores only where they are of the rows of that fingerprint."""
    made, curves = artifact.manifest, read_curves(artifact.path)
    is_same = curves.dev_fingerprint == dev_fingerprint
    return [
        CurveRecord(
            artifact_key=made.key,
            task=made.task,
            chain=made.chain,
            seed=made.seed,
            stage=curve.stage,
            steps=curve.steps,
            learning_rates=curve.learning_rates,
            terms=curve.terms,
            score_steps=curve.score_steps if is_same else [],
            scores=curve.scores if is_same else {},
        )
        for curve in curves.stages.values()
    ]


def chain_parameters(line: MethodLine | None, lineage: Iterable[Artifact]) -> Mapping[str, Any]:
    """Resolved parameters, from the manifests of what was made: of a single method as they are, of a chain by name."""
    return _by_link(line, [(each.method, each.parameters) for each in _links(line, lineage)])


def asked_parameters(line: MethodLine | None) -> Mapping[str, Any]:
    """Parameters of a cell that failed, in the same form, ``auto`` where they were not resolved."""
    return _by_link(line, [(method.name, asdict(method)) for method in line.chain]) if line else {}  # type: ignore[call-overload]


def _by_link(line: MethodLine | None, links: Sequence[tuple[str, Mapping[str, Any]]]) -> Mapping[str, Any]:
    if line is None or len(line.chain) == 1:
        return dict(links[0][1])
    named: dict[str, Any] = {}
    for method, parameters in links:
        again = sum(name.split(" ")[0] == method for name in named)
        named[f"{method} ({again + 1})" if again else method] = dict(parameters)
    return named


def chain_budget(line: MethodLine | None, lineage: Iterable[Artifact]) -> Mapping[str, int | float]:
    """What the training of all links of a chain had: counts add up, but for rows and zeros, which links share."""
    total: dict[str, int | float] = {}
    for link in _links(line, lineage):
        for name, count in link.budget.items():
            known = total.get(name, 0)
            total[name] = max(known, count) if name.endswith(("rows", "pruned_weights")) else known + count
    return total


def _links(line: MethodLine | None, lineage: Iterable[Artifact]) -> list[Manifest]:
    """The manifests of what a chain's methods made, first link first; of a single method or a teacher, its own."""
    made = [artifact.manifest for artifact in lineage]
    if line is None or len(line.chain) == 1:
        return made[:1]
    names = {method.name for method in line.chain}
    return [each for each in reversed(made) if each.method in names]
