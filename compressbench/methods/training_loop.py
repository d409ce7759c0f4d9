"""The loop of every training here: steps counted, a schedule, hooks, and a state that survives an interruption."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from compressbench.errors import BadInput, MethodFailed
from compressbench.memory import freed_memory_kept
from compressbench.methods.checkpoint import Checkpoint, Snapshot
from compressbench.methods.interrupts import deferred_interrupts
from compressbench.methods.matmul_precision import fast_matmul
from compressbench.methods.method import Context
from compressbench.methods.training import linear_schedule, prepared_ahead
from compressbench.methods.training_state import restore, state_of
from compressbench.progress import Progress, Quiet
from compressbench.records.curves import Curves

Batch = TypeVar("Batch")
Gradients = Callable[[Batch], Mapping[str, Tensor]]
"""Computes the losses of a batch and their gradients; gives the loss terms by name, which add up to the loss."""


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """What one stage of training is told."""

    name: str
    """What progress shows, and a checkpoint remembers; no two stages of an artifact share it."""
    epochs: int
    batch_size: int
    learning_rate: float
    """Highest, reached after warm-up."""
    weight_decay: float = 0.01
    """Of AdamW; biases and LayerNorms are not decayed."""
    warmup_fraction: float = 0.1
    """Share of the steps over which the learning rate rises."""
    clip_norm: float | None = None
    """Longest gradient that is used as it is; None: any."""
    precision: str = "fp32"
    """``fp32``, or ``bf16`` for autocast."""
    seed: int = 1
    """Of the order of rows and of dropout."""
    threads: int = 1
    device: str = "cpu"
    progress: Progress = field(default_factory=Quiet)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    curves: Curves = field(default_factory=Curves)
    loss_name: str = "training"
    """The kind of loss, for an error."""


def stage_settings(context: Context, **own: Any) -> StageSettings:
    """Settings of a stage that works in `context`; `own` is the rest."""
    return StageSettings(
        seed=context.seed,
        threads=context.threads,
        device=context.device,
        progress=context.progress,
        checkpoint=context.checkpoint,
        curves=context.curves,
        **own,
    )


class LoopHook:
    """Something that acts beside the optimizer. Subclasses override what they need; nothing happens by default."""

    def begin_epoch(self, epoch: int) -> None:
        """Called with 0, 1, ... before each epoch."""

    def before_step(self) -> None:
        """Called when gradients are there, not yet clipped."""

    def after_step(self) -> None:
        """Called when the weights have moved."""

    def end_epoch(self, epoch: int) -> None:
        """Called after each epoch."""

    def state(self) -> dict[str, Tensor]:
        """What must survive an interruption."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""


@dataclass(kw_only=True)
class TrainingLoop:
    """One stage: the same settings give the same weights, whether or not it was interrupted on the way.

    Draws of the modules (dropout) come from torch's generator, seeded here; the order of rows from one of its own.
    """

    settings: StageSettings
    modules: Mapping[str, nn.Module]
    """Trained in place, by name. On the settings' device, in training mode."""
    optimizer: torch.optim.Optimizer
    steps_per_epoch: int
    hooks: Sequence[LoopHook] = ()
    kept: Mapping[str, Tensor] = field(default_factory=dict)
    """Tensors that go into each checkpoint as they are; see `Snapshot.part`."""
    step: int = field(default=0, init=False)
    """Steps done."""

    def __post_init__(self) -> None:
        torch.set_num_threads(self.settings.threads)
        torch.manual_seed(self.settings.seed)
        # Once: to go through all modules takes 0.2 ms, which counts beside a small student's step on a GPU.
        self._parameters = [each for module in self.modules.values() for each in module.parameters()]
        self._rng = np.random.default_rng(self.settings.seed)
        self._epoch_rng = self._rng.bit_generator.state
        self._schedule = linear_schedule(
            self.optimizer, total_steps=self.total_steps, warmup_fraction=self.settings.warmup_fraction
        )

    @property
    def total_steps(self) -> int:
        """Steps of all epochs."""
        return self.settings.epochs * self.steps_per_epoch

    def run(
        self,
        batches: Callable[[np.random.Generator], Iterable[Any]],
        gradients: Gradients[Any],
        *,
        prepare: Callable[[Any], Any] | None = None,
    ) -> int:
        """Train to the end, from the checkpoint of this stage if there is one; returns the number of steps.

        Args:
            batches: Draws one epoch.
            gradients: Of one batch.
            prepare: What `gradients` is given in its place, made of the batch while the one before it is learned.

        Raises:
            MethodFailed: If the loss is no longer a number, or the checkpoint is of another training.
            BadInput: If what a hook kept there is of another model; the file stays.
        """
        self._resume()
        settings = self.settings
        if self.step and self.step % self.steps_per_epoch == 0:
            self._call("end_epoch", self.step // self.steps_per_epoch - 1)  # what the interruption came before
        with (
            deferred_interrupts() as raise_if_asked,
            freed_memory_kept(),
            fast_matmul(device=settings.device, precision=settings.precision),
            settings.progress.stage(settings.name, total=self.total_steps, done=self.step) as advance,
        ):
            while self.step < self.total_steps:
                epoch, done = divmod(self.step, self.steps_per_epoch)
                self._begin_epoch(epoch, done)
                left = islice(batches(self._rng), done, None)
                for batch in left if prepare is None else prepared_ahead(left, prepare):
                    terms = self._step(batch, gradients)
                    try:  # weights, moments and generators belong to the same step here, and only here
                        advance(note=f"loss {sum(terms.values()):.3f}")
                        raise_if_asked()
                    except KeyboardInterrupt:
                        self._save()
                        raise
                    if settings.checkpoint.is_due:
                        self._save()
                self._call("end_epoch", epoch)
        return self.step

    def _begin_epoch(self, epoch: int, done: int) -> None:
        """An epoch of which some steps are done was begun before, with the generator as it is again."""
        if done == 0:
            self._epoch_rng = self._rng.bit_generator.state
            self._call("begin_epoch", epoch)

    def _step(self, batch: Batch, gradients: Gradients[Batch]) -> dict[str, float]:
        settings, rate = self.settings, float(self._schedule.get_last_lr()[0])
        found = gradients(batch)
        terms = dict(zip(found, torch.stack([*found.values()]).tolist(), strict=True))  # one wait for a GPU
        loss = sum(terms.values())
        if not np.isfinite(loss):
            settings.checkpoint.clear()
            raise MethodFailed(
                f"the {settings.loss_name} loss is {loss} at step {self.step + 1}: "
                f"use a learning_rate below {settings.learning_rate:g}, or precision=fp32"
            )
        self._call("before_step")
        if settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, settings.clip_norm)
        self.optimizer.step()
        self._schedule.step()
        # A captured step adds to gradients where they lie, so on a GPU they stay there.
        self.optimizer.zero_grad(set_to_none=settings.device == "cpu")
        self._call("after_step")
        self.step += 1
        settings.curves.stage(settings.name, total_steps=self.total_steps).add(self.step, terms, learning_rate=rate)
        return terms

    def _call(self, event: str, *arguments: int) -> None:
        for hook in self.hooks:
            getattr(hook, event)(*arguments)

    def _save(self) -> None:
        if self.settings.checkpoint.path is None:
            return
        tensors = state_of(self.modules, self.optimizer, device=self.settings.device)
        for number, hook in enumerate(self.hooks):
            tensors |= {f"hook{number}.{name}": each for name, each in hook.state().items()}
        tensors |= {f"kept.{name}": each for name, each in self.kept.items()}
        is_within = self.step % self.steps_per_epoch != 0
        values = {
            "step": self.step,
            "rng": self._epoch_rng if is_within else self._rng.bit_generator.state,
            "schedule": self._schedule.state_dict(),
            "curves": self.settings.curves.to_json(),
        }
        self.settings.checkpoint.write(Snapshot(stage=self.settings.name, values=values, tensors=tensors))

    def _resume(self) -> None:
        snapshot = self.settings.checkpoint.read()
        if snapshot is None or snapshot.stage != self.settings.name:
            return
        if not restore(snapshot, self.modules, self.optimizer):
            self.settings.checkpoint.clear()
            raise MethodFailed(
                f"the checkpoint {self.settings.checkpoint.path} was of another training and has been removed: "
                "run the same command again"
            )
        for number, hook in enumerate(self.hooks):
            try:
                hook.restore(snapshot.part(f"hook{number}"))
            except BadInput as error:
                raise BadInput(f"{self.settings.checkpoint.path}: {error}") from None
        self.settings.curves.restore(snapshot.values["curves"])
        self.step, self._epoch_rng = snapshot.values["step"], snapshot.values["rng"]
        self._schedule.load_state_dict(dict(snapshot.values["schedule"]))
        for group, rate in zip(self.optimizer.param_groups, self._schedule.get_last_lr(), strict=True):
            group["lr"] = rate
        self._rng.bit_generator.state = self._epoch_rng
