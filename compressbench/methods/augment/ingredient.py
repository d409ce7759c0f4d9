"""Augmented rows as an artifact: made once, found by what they were made from, read by distillation."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.fingerprints import files_fingerprint
from compressbench.artifacts.manifest import Format
from compressbench.environment import native_precision
from compressbench.errors import BadInput
from compressbench.methods.augment.row_file import plain_layout, read_rows
from compressbench.methods.augment.settings import MASKED_LM, AugmentSettings, Mode, settings_from
from compressbench.methods.fitted import sampled_rows
from compressbench.methods.method import AUTO, Compressed, Context, Method, parameter
from compressbench.tasks.task import Rows, Task

AUGMENTED = "augmented"
"""What the ingredient is called by methods that read it."""
ROWS_NAME = "rows.tsv"


@dataclass(frozen=True, kw_only=True)
class AugmentedRows(Method):
    """The task's training rows with copies in which words are replaced."""

    name: ClassVar[str] = "augmented-rows"
    revision: ClassVar[int] = 2
    consumes: ClassVar[frozenset[str]] = frozenset()
    produces: ClassVar[Format] = "rows"
    reference: ClassVar[str] = "https://arxiv.org/abs/1909.10351"
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers", "tokenizers", "numpy")
    draws: ClassVar[bool] = True
    auto: ClassVar[Mapping[str, Any]] = MappingProxyType({"train_rows": "all"})

    factor: int = parameter(21, help="rows after / before, at most")
    copies: int = parameter(20, help="N_a: draws for each row")
    candidates: int = parameter(15, help="K: words to choose from")
    probability: float = parameter(0.4, help="p_t: chance that a word is replaced")
    mode: Literal["paired", "masked"] = parameter("paired", help="what the masked LM reads: paired or masked")
    blanks: int = parameter(1, help="most words of a sentence masked at once, so that one pass serves them all")
    mlm: str = parameter(MASKED_LM, help="masked LM: hub name or folder")
    vectors: str = parameter("", help="file of word vectors")
    precision: Literal["auto", "fp32", "bf16"] = parameter(AUTO, help="of the masked LM; auto: as the CPU multiplies")
    train_rows: int | Literal["auto", "all"] = parameter(AUTO, help="how many rows are augmented, drawn by the seed")

    def __post_init__(self) -> None:
        self.settings  # noqa: B018 - refuses what is out of range

    @property
    def settings(self) -> AugmentSettings:
        """The parameters of the algorithm."""
        return settings_from(
            factor=self.factor,
            copies=self.copies,
            candidates=self.candidates,
            probability=self.probability,
            mode=self.mode,
            blanks=self.blanks,
        )

    def resolved(self, *, task: Task) -> Self:
        """See `Method.resolved`; precision depends on the CPU."""
        method = super().resolved(task=task)
        return replace(method, precision=native_precision()) if method.precision == AUTO else method

    def check_files(self, *, offline: bool) -> None:
        """See `Method.check_files`."""
        from compressbench.methods.augment.vectors import check_vectors_file
        from compressbench.models.masked_lm import find_masked_lm

        if self.vectors:
            check_vectors_file(Path(self.vectors))
        find_masked_lm(self.mlm, offline=offline)

    def fingerprints(self) -> Mapping[str, str]:
        """See `Method.fingerprints`."""
        from compressbench.models.masked_lm import find_masked_lm

        files = {"mlm": find_masked_lm(self.mlm, offline=True).fingerprint}  # `check_files` fetched it
        return files | ({"vectors": files_fingerprint([Path(self.vectors)])} if self.vectors else {})

    def compress(self, source: Artifact, context: Context) -> Compressed:  # noqa: ARG002 - rows need no model of ours
        """See `Method.compress`; what was written before an interruption is taken up again."""
        from compressbench.methods.augment.stream import Augmentation, augment_rows
        from compressbench.methods.augment.vectors import open_vectors
        from compressbench.models.masked_lm import find_masked_lm

        vectors = open_vectors(Path(self.vectors), progress=context.progress) if self.vectors else None
        counts = augment_rows(
            sampled_rows(context.train, count=self.train_rows, seed=context.seed),
            to=self._unfinished(context),
            layout=plain_layout(context.task),
            augmentation=Augmentation(
                settings=self.settings,
                masked_lm=find_masked_lm(self.mlm, offline=True),
                vectors=vectors,
                seed=context.seed,
                precision=self.precision,
            ),
            name=context.task.name,
            threads=context.threads,
            device=context.device,
            progress=context.progress,
        )
        if self._unfinished(context) != context.to / ROWS_NAME:
            shutil.move(self._unfinished(context), context.to / ROWS_NAME)
        return Compressed(geometry=None, budget={"rows": counts["written"], "task_rows": counts["rows"]})

    def _unfinished(self, context: Context) -> Path:
        """Where rows gather until they are complete: beside the checkpoints, for `context.to` goes when work stops."""
        checkpoint = context.checkpoint.path
        if checkpoint is None:
            return context.to / ROWS_NAME
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        return checkpoint.with_name(f"{checkpoint.stem}-{ROWS_NAME}")


def augmented_rows(artifact: Artifact, task: Task) -> Rows:
    """The rows of an artifact that `AugmentedRows` made.

    Raises:
        BadInput: If the artifact's file is gone.
    """
    path = artifact.path / ROWS_NAME
    if not path.exists():
        raise BadInput(f"{path} is missing: `compressbench cache verify` tells what else is, `clear` removes it")
    return read_rows(path, plain_layout(task))


def ingredient_of(
    *,
    factor: int,
    mode: Mode,
    blanks: int,
    mlm: str,
    vectors: str,
    precision: Literal["auto", "fp32", "bf16"],
    train_rows: int | Literal["auto", "all"],
) -> Mapping[str, AugmentedRows]:
    """The rows that a method with these parameters reads; nothing for a factor of 0.

    Raises:
        InvalidParameter: If a value is outside what it may be.
    """
    if factor == 0:
        return {}
    rows = AugmentedRows(
        factor=factor,
        copies=settings_from(factor=factor).copies,
        mode=mode,
        blanks=blanks,
        mlm=mlm,
        vectors=vectors,
        precision=precision,
        train_rows=train_rows,
    )
    return {AUGMENTED: rows}
