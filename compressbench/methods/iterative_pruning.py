"""Pruning while a model trains: masks that grow from epoch to epoch and hold through every step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from compressbench.errors import MethodFailed
from compressbench.methods.training_loop import LoopHook
from compressbench.numerics.pruning_masks import (
    apply_masks,
    bake_masks,
    count_pruned,
    count_revived,
    global_magnitude_masks,
    mask_gradients,
    sparsity_at,
)


class IterativePruning(LoopHook):
    """The masks of a model while it trains: they grow at each epoch's start and hold through each step.

    Args:
        weights: What is pruned, all of it together.
        amount: Share of it that is zero in the end.
        ramp_epochs: First epochs, over which the amount grows in equal increments. Later ones, of this stage of
            training or the next, leave the masks as they are.
    """

    def __init__(self, weights: Mapping[str, Tensor], *, amount: float, ramp_epochs: int) -> None:
        self._weights = weights
        self._amount = amount
        self._ramp_epochs = ramp_epochs
        self._wanted = round(amount * sum(weight.numel() for weight in weights.values()))
        self._masks: dict[str, Tensor] = {}
        self._factors: dict[str, Tensor] = {}

    def begin_epoch(self, epoch: int) -> None:
        """Prune what this epoch adds."""
        if count_pruned(self._masks) == self._wanted:
            return
        sparsity = sparsity_at(epoch, final=self._amount, ramp_epochs=self._ramp_epochs)
        self._hold(global_magnitude_masks(self._weights, sparsity=sparsity, within=self._masks or None))

    def before_step(self) -> None:
        """No gradient moves a pruned weight, or counts in the norm that is clipped."""
        mask_gradients(self._weights, self._factors)

    def after_step(self) -> None:
        """Pruned weights back to zero, for momentum and weight decay move them too."""
        apply_masks(self._weights, self._factors)

    def state(self) -> dict[str, Tensor]:
        """The masks."""
        return dict(self._masks)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Hold the masks that `state` gave."""
        self._hold(dict(state))

    def finish(self) -> int:
        """Bake the masks into the weights and check them; returns how many weights are pruned.

        Raises:
            MethodFailed: If one was revived, or they are not as many as asked for.
        """
        revived = count_revived(self._weights, self._masks)
        pruned = count_pruned(self._masks)
        if revived or pruned != self._wanted:
            raise MethodFailed(
                f"pruning ended with {pruned} masked weights of {self._wanted} and {revived} of them not zero: "
                "something moved the weights after they were masked"
            )
        bake_masks(self._weights, self._masks)
        return pruned

    def _hold(self, masks: dict[str, Tensor]) -> None:
        self._masks = masks
        # A product with floats takes a sixth of the time of filling by a mask, and each step has two.
        for name, mask in masks.items():
            self._factors.setdefault(name, torch.empty_like(self._weights[name])).copy_(mask)
        self.after_step()


def linear_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weight of every Linear layer by name (attention, FFN, pooler, classifier), shared ones once."""
    found: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and not any(module.weight is each for each in found.values()):
            found[f"{name}.weight"] = module.weight
    return found
