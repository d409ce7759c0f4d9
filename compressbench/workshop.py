"""Makes the artifacts of a plan, each found by its content key or made once: teacher, chain, export to ONNX."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.keys import Recipe
from compressbench.artifacts.manifest import Manifest
from compressbench.artifacts.store import ArtifactStore
from compressbench.methods.chain import Chain, spell
from compressbench.methods.checkpoint import Checkpoint
from compressbench.methods.method import Compressed, Context, Method
from compressbench.methods.pretrain import REVISION, make_synthetic_teacher
from compressbench.models.geometry import Geometry
from compressbench.models.inspection import relevant_files
from compressbench.models.onnx_export import EXPORT_LIBRARIES, EXPORT_REVISION
from compressbench.progress import Progress
from compressbench.reporting.model_card import model_card
from compressbench.tasks.data import TaskData
from compressbench.tasks.synthetic import SYNTHETIC_TASKS, synthetic_rows
from compressbench.tasks.task import Rows, Task
from compressbench.teacher import TeacherSource

TRUNK_SEED = 0  # the generated pretrained teacher is a given, like any other: a run's seeds do not change it
IMPORT_REVISION = 1
NO_ROWS = Rows(first=(), second=None, labels=None)
NO_DATA = TaskData(
    Task(name="", suite="own", text_columns=("text",), labels=(), metrics=()), lambda _: NO_ROWS, (), "nowhere"
)
"""For what is made without a task."""


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Where artifacts are made; holds what is the same for all of them."""

    store: ArtifactStore
    threads: int
    device: str
    progress: Progress
    fresh: str = ""
    """Part of every key: a new text makes everything anew and deletes nothing."""

    def teacher(self, source: TeacherSource, data: TaskData, *, finetune: Method, seed: int) -> Artifact:
        """The fine-tuned teacher of a task; one that the user fine-tuned is taken as it is."""
        model = self.source_model(source)
        if source.kind == "fine-tuned":
            return model
        return self.apply(finetune, model, data, seed=seed, teacher=None, chain=spell([finetune]))

    def source_model(self, source: TeacherSource) -> Artifact:
        """The teacher before fine-tuning: generated, or the user's folder as an artifact."""
        return self._generated_teacher() if source.path is None else self._imported(source, source.path)

    def chain(
        self,
        chain: Chain,
        data: TaskData,
        *,
        source: Artifact,
        teacher: Artifact,
        seed: int,
        pretrained: TeacherSource | None = None,
    ) -> Artifact:
        """The artifact at the end of a chain that starts from `source`."""
        for length, method in enumerate(chain, start=1):
            name = spell(chain[:length])
            source = self.apply(method, source, data, seed=seed, teacher=teacher, chain=name, pretrained=pretrained)
        return source

    def apply(
        self,
        method: Method,
        source: Artifact,
        data: TaskData,
        *,
        seed: int,
        teacher: Artifact | None,
        chain: str,
        pretrained: TeacherSource | None = None,
    ) -> Artifact:
        """One method applied to one artifact.

        Args:
            method: Not yet resolved.
            source: What it works on; a method that takes ONNX models is given the export.
            data: The task and its rows.
            seed: Counts where the method draws.
            teacher: The fine-tuned teacher, where there is one.
            chain: What the artifact is called.
            pretrained: The teacher before fine-tuning, for ingredients that start from it.
        """
        if "onnx-fp32" in method.consumes:
            source = self.as_onnx(source)
        return self.make(
            *self._planned(method, source, data, seed=seed, teacher=teacher, chain=chain, pretrained=pretrained)
        )

    def ingredient(self, method: Method, *, pretrained: TeacherSource) -> Artifact:
        """An ingredient that reads no rows and starts from the pretrained teacher, made for its own sake."""
        source = self.source_model(pretrained)
        return self.make(
            *self._planned(method, source, NO_DATA, seed=0, teacher=None, chain=method.name, pretrained=pretrained)
        )

    def _planned(
        self,
        method: Method,
        source: Artifact,
        data: TaskData,
        *,
        seed: int,
        teacher: Artifact | None,
        chain: str,
        pretrained: TeacherSource | None,
    ) -> tuple[Recipe, Callable[[Path], Compressed]]:
        """The recipe of what a method would make, and how; ingredients are made no sooner than they are needed."""
        resolved = method.resolved_on(source, task=data.task, teacher=teacher)
        train = data.rows("train") if method.reads_rows else NO_ROWS
        parts = {}
        for name, ingredient in resolved.ingredients().items():
            start = source
            if ingredient.starts_from == "pretrained":
                assert pretrained is not None  # `plan_parts.check_chain` refuses a chain that cannot have it
                start = self.source_model(pretrained)
            parts[name] = self._planned(
                ingredient, start, data, seed=seed, teacher=None, chain=ingredient.name, pretrained=pretrained
            )
        recipe = Recipe(
            method=method.name,
            revision=method.revision,
            format=resolved.makes,
            parameters={**asdict(resolved), **resolved.fingerprints()},  # type: ignore[call-overload]
            inputs={
                **({"source": source.key} if method.consumes else {}),
                **({"teacher": teacher.key} if teacher else {}),
                **{name: part.key for name, (part, _) in parts.items()},
            },
            data_fingerprint=train.fingerprint if method.reads_rows else "",
            libraries=method.libraries,
            seed=seed if method.draws else None,
            task=data.task.name if method.reads_rows else "",
            labels=data.task.labels if method.reads_rows else (),
            chain=chain,
            base_model=source.manifest.base_model,
        )

        def compress(to: Path) -> Compressed:
            context = Context(
                task=data.task,
                train=train,
                to=to,
                seed=seed,
                threads=self.threads,
                device=self.device,
                progress=self.progress,
                teacher=teacher,
                checkpoint=self._checkpoint(recipe),
                watch=data.watched if method.reads_rows else None,
                ingredients={name: self.make(*part) for name, part in parts.items()},
            )
            made = resolved.compress(source, context)
            context.curves.write(to)
            return made

        return recipe, compress

    def lineage(self, artifact: Artifact) -> Iterator[Artifact]:
        """The artifact and, as far back as they are in the store, what it was made from."""
        found: Artifact | None = artifact
        while found is not None:
            yield found
            found = self.store.find(found.manifest.inputs.get("source", ""))

    def as_onnx(self, artifact: Artifact) -> Artifact:
        """The artifact as an fp32 ONNX model, exported by the same passes whatever made it; ONNX ones as they are."""
        if artifact.format != "torch":
            return artifact
        made = artifact.manifest
        recipe = Recipe(
            method="onnx-export",
            revision=EXPORT_REVISION,
            format="onnx-fp32",
            inputs={"source": artifact.key},
            libraries=EXPORT_LIBRARIES,
            task=made.task,
            labels=made.labels,
            chain=made.chain,
            base_model=made.base_model,
        )

        def export(to: Path) -> Compressed:
            from compressbench.models.onnx_export import export_classifier

            templates = self.store.root.parent / "export-templates"
            export_classifier(artifact.path, to=to, progress=self.progress, template_cache=templates)
            return Compressed(geometry=Geometry(**made.geometry), budget=made.budget, warnings=tuple(made.warnings))

        return self.make(recipe, export)

    def _generated_teacher(self) -> Artifact:
        rows = {name: synthetic_rows(name, "train") for name in SYNTHETIC_TASKS}
        recipe = Recipe(
            method="pretrain",
            revision=REVISION,
            format="torch",
            data_fingerprint="".join(rows[name].fingerprint for name in sorted(rows)),
            libraries=("torch", "transformers"),
            seed=TRUNK_SEED,
            chain="pretrain",
            base_model="generated BERT-Base",
        )

        def write(to: Path) -> Compressed:
            return make_synthetic_teacher(
                to=to,
                rows=rows,
                seed=TRUNK_SEED,
                threads=self.threads,
                progress=self.progress,
                checkpoint=self._checkpoint(recipe),
            )

        return self.make(recipe, write)

    def _imported(self, source: TeacherSource, folder: Path) -> Artifact:
        """A user's model folder as an artifact: its files copied as they are, a tokenizer.json beside them."""
        recipe = Recipe(
            method="import",
            revision=IMPORT_REVISION,
            format="torch",
            inputs={"folder": source.fingerprint},
            labels=source.labels or (),
            base_model=source.name,
        )

        def copy(to: Path) -> Compressed:
            from compressbench.models.loading import save_tokenizer

            for path in relevant_files(folder):
                shutil.copyfile(path, to / path.name)
            save_tokenizer(folder, to=to)
            return Compressed(geometry=source.geometry)

        return self.make(recipe, copy)

    def _checkpoint(self, recipe: Recipe) -> Checkpoint:
        path = self.store.checkpoint_path(recipe.salted(self.fresh).key)
        return Checkpoint(path=path, progress=self.progress)

    def make(self, recipe: Recipe, write: Callable[[Path], Compressed]) -> Artifact:
        """The artifact of a recipe, found in the store or written there by `write`."""
        recipe = recipe.salted(self.fresh)

        def fill(folder: Path) -> Manifest:
            made = write(folder)
            manifest = recipe.manifest(
                geometry=asdict(made.geometry) if made.geometry else {},
                budget=made.budget,
                warnings=made.warnings,
                target=made.target,
            )
            if manifest.format != "rows":
                (folder / "README.md").write_text(model_card(manifest))
            return manifest

        return self.store.make(recipe.key, fill)
