"""Pruning while a model trains: masks that grow from increment to increment and hold through every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from compressbench.errors import BadInput, MethodFailed
from compressbench.methods.training_loop import LoopHook
from compressbench.numerics.pruning_masks import (
    apply_masks,
    bake_masks,
    count_pruned,
    count_revived,
    global_masks,
    mask_gradients,
    with_floor,
)
from compressbench.numerics.pruning_schedule import AmountOf, Schedule, increment_steps, pruned_counts

Criterion = Literal["magnitude", "movement"]
EMPTY_SHARE = 0.01
"""Of a layer's weights: with fewer it no longer tells its inputs apart."""
MEND = "remove the checkpoint, or resume with the model that it was written for"


@dataclass(frozen=True, kw_only=True)
class PruningPlan:
    """How many weights are pruned, when, and by what."""

    counts: tuple[int, ...]
    """Pruned after each increment."""
    steps: tuple[int, ...]
    """Before which step, counted from 0 over all stages, each increment comes."""
    steps_per_epoch: int
    criterion: Criterion = "magnitude"
    layer_floor: float = 0.0
    """Share of each weight matrix that stays whatever the ranking says."""


def pruning_plan(
    weights: Mapping[str, Tensor],
    *,
    amount: float,
    ramp_epochs: int,
    steps_per_epoch: int,
    increments: int | None = None,
    schedule: Schedule = "linear",
    of: AmountOf = "total",
    criterion: Criterion = "magnitude",
    layer_floor: float = 0.0,
) -> PruningPlan:
    """The plan for some weights.

    Args:
        weights: What is pruned, all of it together.
        amount: See `pruned_counts`, as for `schedule` and `of`.
        ramp_epochs: First epochs, over which the increments are spread.
        steps_per_epoch: Optimizer steps of one epoch.
        increments: How many; None: one an epoch.
        schedule: How the count grows.
        of: What `amount` is a share of.
        criterion: ``magnitude``, or ``movement``, which must see steps before the first increment.
        layer_floor: Share of each weight matrix that stays whatever the ranking says.

    Raises:
        BadInput: If the ramp is too short for movement to be seen.
    """
    if criterion == "movement" and ramp_epochs * steps_per_epoch < 2:
        raise BadInput("criterion=movement needs a step before it prunes, and the ramp has 1: use more epochs or rows")
    total = sum(weight.numel() for weight in weights.values())
    counts = pruned_counts(total, amount=amount, increments=increments or ramp_epochs, schedule=schedule, of=of)
    steps = increment_steps(
        len(counts), ramp_steps=ramp_epochs * steps_per_epoch, needs_steps_before=criterion == "movement"
    )
    return PruningPlan(
        counts=counts, steps=steps, steps_per_epoch=steps_per_epoch, criterion=criterion, layer_floor=layer_floor
    )


class IterativePruning(LoopHook):
    """The masks of a model while it trains: they grow as the plan says and hold through each step.

    ``movement`` ranks weights by ``S = -sum_t w_t dL/dw_t``, what moved away from zero being kept (Sanh et al. 2020,
    arXiv:2005.07683). There a pruned weight has a gradient too and may come back; here it is gone, so that masks nest
    and zeros are exact at every step.

    Args:
        weights: What is pruned, all of it together; moved in place by whoever trains.
        plan: How much, when and by what.

    Raises:
        BadInput: If there is no weight.
    """

    def __init__(self, weights: Mapping[str, Tensor], plan: PruningPlan) -> None:
        if not weights:
            raise BadInput(
                "the model has no Linear weights, so there is nothing to prune: give a BERT-family classifier"
            )
        self._weights = weights
        self._plan = plan
        self._step = self._pruned = 0
        self._masks: dict[str, Tensor] = {}
        self._factors: dict[str, Tensor] = {}
        self._scores: dict[str, Tensor] = {}

    def begin_epoch(self, epoch: int) -> None:  # noqa: ARG002 - steps are counted here, over all stages
        """Prune what is due before this epoch's first step."""
        self._prune_what_is_due()

    def before_step(self) -> None:
        """No gradient moves a pruned weight, or counts in the norm that is clipped."""
        mask_gradients(self._weights, self._factors)
        if self._plan.criterion == "movement" and not self._is_done:
            self._add_movement()

    def after_step(self) -> None:
        """Pruned weights back to zero, for momentum and weight decay move them too; then what is due is pruned."""
        apply_masks(self._weights, self._factors)
        self._step += 1
        if self._step % self._plan.steps_per_epoch:  # else the epoch's end comes first, and is scored as it was trained
            self._prune_what_is_due()

    def state(self) -> dict[str, Tensor]:
        """Masks, the steps seen, and the scores of movement while they are needed."""
        masks = {f"mask.{name}": each for name, each in self._masks.items()}
        scores = {f"score.{name}": each for name, each in self._scores.items()}
        return {**masks, **scores, "step": torch.tensor(self._step)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave.

        Raises:
            BadInput: If it is of another model.
        """
        self._check_state(state)
        parts = {
            kind: {name.removeprefix(f"{kind}."): each for name, each in state.items() if name.startswith(f"{kind}.")}
            for kind in ("mask", "score")
        }
        self._step = int(state["step"])
        self._scores = {name: each.to(self._weights[name].device) for name, each in parts["score"].items()}
        self._hold(parts["mask"])

    def warnings(self) -> tuple[str, ...]:
        """One that names the layers of which next to nothing is left; none where there are none."""
        names = [name for name, mask in self._masks.items() if int(mask.count_nonzero()) < EMPTY_SHARE * mask.numel()]
        if not names:
            return ()
        told = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        reason = "all layers are ranked together, and these have the smallest weights"
        return (f"pruning left less than 1 % of {told}: {reason}; layer_floor=0.1 keeps a tenth of each",)

    def finish(self) -> int:
        """See `finish_pruning`."""
        return finish_pruning(self._weights, self._masks, wanted=self._plan.counts[-1])

    @property
    def _is_done(self) -> bool:
        return self._pruned == self._plan.counts[-1]

    def _prune_what_is_due(self) -> None:
        due = [count for count, step in zip(self._plan.counts, self._plan.steps, strict=True) if step <= self._step]
        if not due or self._pruned >= due[-1]:
            return
        signed = self._plan.criterion == "movement"
        ranked, within = self._scores if signed else self._weights, self._masks or None
        if self._plan.layer_floor:
            ranked = with_floor(ranked, floor=self._plan.layer_floor, within=within, signed=signed)
        self._hold(global_masks(ranked, count=due[-1], within=within, signed=signed))
        if self._is_done:
            self._scores = {}

    def _add_movement(self) -> None:
        with torch.no_grad():
            for name, weight in self._weights.items():
                if name not in self._scores:
                    self._scores[name] = torch.zeros_like(weight)
                if weight.grad is not None:
                    self._scores[name].addcmul_(weight, weight.grad, value=-1)

    def _hold(self, masks: dict[str, Tensor]) -> None:
        self._masks, self._pruned = masks, count_pruned(masks)
        # A product with floats takes a sixth of the time of filling by a mask, and each step has two.
        for name, mask in masks.items():
            self._factors.setdefault(name, torch.empty_like(self._weights[name])).copy_(mask)
        apply_masks(self._weights, self._factors)

    def _check_state(self, state: Mapping[str, Tensor]) -> None:
        if "step" not in state:
            raise BadInput(f"the interrupted pruning has no step count, so another version wrote it: {MEND}")
        for key, each in state.items():
            if key != "step":
                check_kept(self._weights, key.partition(".")[2], each)


def check_kept(weights: Mapping[str, Tensor], name: str, kept: Tensor) -> None:
    """Refuse what an interrupted pruning kept for weight `name`, if it cannot be of these weights.

    Raises:
        BadInput: If so.
    """
    other = "the interrupted pruning has masks of another model"
    if name not in weights:
        raise BadInput(f"{other} (this one has no {name}): {MEND}")
    ours, theirs = list(weights[name].shape), list(kept.shape)
    if ours != theirs:
        raise BadInput(f"{other} ({name} is {theirs} there and {ours} here): {MEND}")


def finish_pruning(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], *, wanted: int) -> int:
    """Bake the masks into the weights, in place, and check them; returns how many weights are pruned.

    Raises:
        MethodFailed: If one was revived, or they are not as many as `wanted`.
    """
    revived, pruned = count_revived(weights, masks), count_pruned(masks)
    if revived or pruned != wanted:
        raise MethodFailed(
            f"pruning ended with {pruned} masked weights of {wanted} and {revived} of them not zero: "
            "something moved the weights after they were masked"
        )
    bake_masks(weights, masks)
    return pruned


def zero_share(model: nn.Module) -> float:
    """Share of the weights of all Linear layers that are zero."""
    weights = linear_weights(model).values()
    return sum(int((each == 0).sum()) for each in weights) / sum(each.numel() for each in weights)


def lost_zeros(before: float, model: nn.Module) -> tuple[str, ...]:
    """A warning where training gave values to most of the zeros that a model came with.

    Args:
        before: The model's `zero_share` before.
        model: It, trained.
    """
    if zero_share(model) >= before / 2:
        return ()
    return (f"{before:.0%} of the Linear weights were zero and have values again: prune them afterwards",)


def linear_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weight of every Linear layer by name (attention, FFN, pooler, classifier), shared ones once."""
    found: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and not any(module.weight is each for each in found.values()):
            found[f"{name}.weight"] = module.weight
    return found
