"""What a method is: a frozen dataclass whose fields are its parameters, and the context it works in.

A third party registers one the same way; `docs/adding-a-method.md` walks through it.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.manifest import Format
from compressbench.methods.checkpoint import Checkpoint
from compressbench.models.geometry import Geometry
from compressbench.progress import Progress, Quiet
from compressbench.records.curves import Curves
from compressbench.tasks.task import Rows, Task

Auto = Literal["auto"]
AUTO: Auto = "auto"


def parameter(default: Any, *, help: str) -> Any:  # noqa: A002
    """A dataclass field that is a parameter: its default, and the sentence `compressbench methods` shows."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a method may read and where it writes.

    A method reads training rows only; the reported dev split selects nothing.
    """

    task: Task
    train: Rows
    to: Path
    """An empty folder; when `compress` returns it holds the artifact's model files."""
    seed: int = 1
    threads: int = 2
    device: str = "cpu"
    progress: Progress = field(default_factory=Quiet)
    teacher: Artifact | None = None
    """The fine-tuned teacher of the run (torch), whatever the source is."""
    ingredients: Mapping[str, Artifact] = field(default_factory=dict)
    """What `Method.ingredients` asked for, made or found."""
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    """Where a training that is under way leaves its state, and finds it when it was interrupted."""
    watch: Rows | None = None
    """Dev rows to draw a curve of, in `curves`; nothing may be chosen by them, and no content key holds them."""
    curves: Curves = field(default_factory=Curves)
    """What training shows on its way; written beside the model."""


@dataclass(frozen=True, kw_only=True)
class Compressed:
    """What a method says of what it made; the rest of the manifest is known without asking it."""

    geometry: Geometry | None
    """None where it is no model but rows."""
    budget: Mapping[str, int | float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    target: str | None = None


class Method(ABC):
    """Base of every method. Subclasses are ``@register @dataclass(frozen=True, kw_only=True)``."""

    name: ClassVar[str]
    revision: ClassVar[int]
    """Raised by the author whenever the same parameters make another artifact."""
    consumes: ClassVar[frozenset[str]]
    produces: ClassVar[Format]
    """Format of what it makes with default parameters; see `makes`."""
    reference: ClassVar[str]
    """Paper or specification it follows."""
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    """Distributions whose major.minor version shapes the output, and so the content key."""
    draws: ClassVar[bool] = False
    """Whether the seed changes the output."""
    auto: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """What a parameter left at ``auto`` becomes, where the task does not say."""
    reads_rows: ClassVar[bool] = True
    """Whether the task's training rows change the output. False: one artifact serves every task."""
    makes_bert: ClassVar[bool] = False
    """Whether its layers are called as BERT's, whatever family the source is of."""
    starts_from: ClassVar[Literal["source", "pretrained"]] = "source"
    """What an ingredient is made from: the source of the method that needs it, or the teacher before fine-tuning."""

    @property
    def makes(self) -> Format:
        """The format that comes out with these parameters; overridden where they change it."""
        return self.produces

    def ingredients(self) -> Mapping[str, Method]:
        """Artifacts that must be there before `compress`, by name; `Context.ingredients` hands them over.

        Each is a method itself, though not a registered one, and is found by its own content key or made once.
        """
        return {}

    def check_files(self, *, offline: bool) -> None:  # noqa: B027 - most methods name no files
        """Refuse a file that a parameter names and that cannot be used, before any work and without reading it whole.

        Args:
            offline: Whether the hub may not be asked.

        Raises:
            BadInput: If there is one.
        """

    def check_against(self, teacher: Path) -> None:  # noqa: B027 - most methods name no files
        """Refuse a file that a parameter names and that does not go with the teacher in the folder `teacher`.

        Raises:
            BadInput: If there is one.
        """

    @property
    def named_layers(self) -> str:
        """Layers of its source that parameters name, joined by ``;``; a run refuses those that there will not be."""
        return ""

    def check_rows(self, count: int) -> None:  # noqa: B027 - most methods take what rows there are
        """Refuse a task that has too few training rows for the parameters, before any work.

        Args:
            count: Training rows there are.

        Raises:
            InvalidParameter: If so.
        """

    def fingerprints(self) -> Mapping[str, str]:
        """By name of each parameter that names files: a hash of what these hold, which stands for it in the key."""
        return {}

    def check(self, source: Geometry) -> Geometry:
        """Refuse a source this method cannot take, before any work; say what geometry comes out.

        Raises:
            InvalidParameter: If parameters and source do not fit.
        """
        return source

    def resolved(self, *, task: Task) -> Self:
        """The same method with no ``auto`` left: the task's training values first, then `auto`.

        Overridden where a value depends on the machine (precision, instruction set).
        """
        left = [each.name for each in dataclasses.fields(self) if getattr(self, each.name) == AUTO]  # type: ignore[arg-type]
        values = {name: task.training.get(f"{self.name}.{name}", self.auto.get(name, AUTO)) for name in left}
        return dataclasses.replace(self, **values)  # type: ignore[type-var]

    def resolved_on(self, source: Artifact, *, task: Task, teacher: Artifact | None) -> Self:  # noqa: ARG002
        """As `resolved`, and what is made is keyed by it. Overridden where a value depends on what is compressed.

        Args:
            source: What `compress` will be given.
            task: The task.
            teacher: The fine-tuned teacher of the run, if there is one.
        """
        return self.resolved(task=task)

    @abstractmethod
    def compress(self, source: Artifact, context: Context) -> Compressed:
        """Make the artifact's model files in ``context.to`` from `source`."""
