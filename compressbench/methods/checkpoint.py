"""The state of a training that is under way, on disk: one file for each artifact in the making, replaced as a whole.

A run that was stopped goes on from it. The file's name is the artifact's content key, so the state of other
parameters, rows or code is never picked up.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressbench.progress import Progress, Quiet
from compressbench.units import format_mib

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "1"  # 1: first. Another one is not read, and training begins anew.
EVERY_S = 120.0
COST_SHARE = 0.02
"""Most of the training's time that writing may take."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What a checkpoint holds."""

    stage: str
    values: Mapping[str, Any]
    """Whatever JSON can hold."""
    tensors: Mapping[str, Tensor]

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors whose names begin with ``name.``, without that beginning."""
        return {key[len(name) + 1 :]: each for key, each in self.tensors.items() if key.startswith(f"{name}.")}


@dataclass(kw_only=True)
class Checkpoint:
    """The place of one artifact's training state; without a path nothing is written and nothing found."""

    path: Path | None = None
    progress: Progress = field(default_factory=Quiet)
    every_s: float = EVERY_S
    """Shortest time between two files; longer where writing one takes more than its share of the time."""
    clock_s: Callable[[], float] = time.perf_counter

    def __post_init__(self) -> None:
        self._written_s = self.clock_s()
        self._cost_s = 0.0
        self._warned = False

    @property
    def is_due(self) -> bool:
        """Whether it is time to write again."""
        wait_s = max(self.every_s, self._cost_s / COST_SHARE)
        return self.path is not None and self.clock_s() - self._written_s >= wait_s

    def write(self, snapshot: Snapshot) -> None:
        """Replace the file; when this returns it survives a crash. A full disk costs a warning, not the training."""
        if self.path is None:
            return
        from safetensors.torch import save_file

        start_s = self.clock_s()
        partial = self.path.with_suffix(".partial")
        described = {"format": FORMAT, "stage": snapshot.stage, "values": json.dumps(snapshot.values)}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            save_file(dict(snapshot.tensors), partial, metadata=described)
            with partial.open("rb") as stream:
                os.fsync(stream.fileno())
            partial.replace(self.path)
        except Exception as error:  # noqa: BLE001 - the writer has an error class of its own for a full disk
            self._warn(error, snapshot)
        finally:
            partial.unlink(missing_ok=True)
            self._written_s = self.clock_s()
            self._cost_s = self._written_s - start_s

    def read(self) -> Snapshot | None:
        """What was written last, or None; a file that cannot be read is told, and training begins anew."""
        if self.path is None or not self.path.exists():
            return None
        from safetensors import safe_open

        try:
            with safe_open(self.path, framework="pt") as stream:
                described = stream.metadata() or {}
                if described.get("format") != FORMAT:
                    self._refuse("it is of another format")
                    return None
                tensors = {name: stream.get_tensor(name).clone() for name in stream.keys()}  # noqa: SIM118
                return Snapshot(stage=described["stage"], values=json.loads(described["values"]), tensors=tensors)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the file, training can begin anew
            self._refuse(str(error))
            return None

    def clear(self) -> None:
        """Remove the file: the artifact is complete, or cannot be."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _refuse(self, reason: str) -> None:
        self.progress.say(f"the checkpoint {self.path} is not used ({reason}): training begins anew")
        self.clear()

    def _warn(self, error: Exception, snapshot: Snapshot) -> None:
        if not self._warned:
            size = format_mib(sum(each.numel() * each.element_size() for each in snapshot.tensors.values()))
            self.progress.say(
                f"no checkpoint of {snapshot.stage} could be written to {self.path} ({error}): it takes {size} MiB. "
                "Training goes on, and would begin anew if it were interrupted"
            )
        self._warned = True
