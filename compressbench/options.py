"""What the user said, from the command line or a plan file, before anything is checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEFAULT_SHAPES = ("1x128", "8x128", "task")


@dataclass(frozen=True, kw_only=True)
class OwnFiles:
    """The user's own rows: files and columns, or a task file."""

    task_file: Path | None = None
    train: Path | None = None
    validation: Path | None = None
    text: tuple[str, ...] | None = None
    label: str | None = None
    metric: str | None = None


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user said; None where nothing was."""

    methods: tuple[str, ...] = ()
    suite: str | None = None
    tasks: tuple[str, ...] = ()
    teacher: str | None = None
    data_dir: Path | None = None
    own: OwnFiles | None = None
    seeds: tuple[int, ...] = (1,)
    threads: tuple[int, ...] | None = None
    """The main thread count first."""
    shapes: tuple[str, ...] = DEFAULT_SHAPES
    runtimes: tuple[str, ...] = ("onnxruntime",)
    precision: float | None = None
    """Half width of speedups' intervals, as a share, at which latency has been measured enough."""
    concurrency: int = 1
    device: str = "auto"
    offline: bool = False
    allow_weak_teacher: bool = False
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Per method, values used wherever the chain does not give its own."""
