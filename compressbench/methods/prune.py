"""Pruning: the smallest Linear weights go to zero, a few more each epoch, while the rest learns to do without them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from compressbench.artifacts.artifact import Artifact
from compressbench.errors import BadInput, InvalidParameter, MethodFailed
from compressbench.methods.fitted import FittedMethod, check_count, check_share
from compressbench.methods.method import AUTO, Compressed, Context, parameter
from compressbench.registry import register
from compressbench.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor, nn


@register
@dataclass(frozen=True, kw_only=True)
class Prune(FittedMethod):
    """Iterative global magnitude pruning of all Linear weights during a short fine-tune; the zeros are exact."""

    name: ClassVar[str] = "prune"
    revision: ClassVar[int] = 1
    reference: ClassVar[str] = "https://arxiv.org/abs/1710.01878"
    auto: ClassVar[Mapping[str, Any]] = MappingProxyType({"epochs": 6, "learning_rate": 2e-5, "train_rows": "all"})

    amount: float = parameter(0.2, help="share of all Linear weights that is zero in the end")
    ramp_epochs: int = parameter(6, help="first epochs, over which the amount grows in equal increments")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("amount", self.amount)
        check_count("ramp_epochs", self.ramp_epochs)
        if self.epochs != AUTO and int(self.epochs) < self.ramp_epochs:
            raise InvalidParameter(
                f"epochs={self.epochs} ends before the amount has grown over ramp_epochs={self.ramp_epochs}: "
                f"use epochs={self.ramp_epochs} or ramp_epochs={self.epochs}"
            )

    def resolved(self, *, task: Task) -> Self:
        """See `Method.resolved`; `epochs` left at auto cover the ramp, whatever the task says."""
        if self.epochs != AUTO:
            return super().resolved(task=task)
        wanted: Any = task.training.get("prune.epochs", self.auto["epochs"])
        return replace(self, epochs=max(int(wanted), self.ramp_epochs)).resolved(task=task)

    def compress(self, source: Artifact, context: Context) -> Compressed:
        """See `Method.compress`.

        Raises:
            BadInput: If the source is not yet a classifier of the task.
            MethodFailed: If a pruned weight is not zero in the end.
        """
        from compressbench.models.loading import check_teacher, inspect_model, load_classifier, save_classifier

        info = inspect_model(str(source.path))
        if not info.is_classifier:
            raise BadInput(f"prune takes a fine-tuned classifier and {source.path} is none: write finetune+prune")
        warnings = check_teacher(info, context.task)
        model = load_classifier(source.path)
        pruning = IterativePruning(linear_weights(model), amount=self.amount, ramp_epochs=self.ramp_epochs)
        budget = self.fit(
            model,
            source,
            context,
            stage_name=f"prune {context.task.name}",
            on_epoch_start=pruning.grow,
            before_step=pruning.mask_gradients,
            after_step=pruning.mask_weights,
        )
        budget["pruned_weights"] = pruning.finish()
        save_classifier(model, tokenizer_from=source.path, to=context.to)
        return Compressed(geometry=info.geometry, budget=budget, warnings=warnings)


class IterativePruning:
    """The masks of a model while it trains: they grow at each epoch's start and hold through each step."""

    def __init__(self, weights: Mapping[str, Tensor], *, amount: float, ramp_epochs: int) -> None:
        self._weights = weights
        self._amount = amount
        self._ramp_epochs = ramp_epochs
        self._masks: dict[str, Tensor] = {}
        self._factors: dict[str, Tensor] = {}

    def grow(self, epoch: int) -> None:
        """Prune what this epoch adds; called with 0, 1, ... before each."""
        import torch

        from compressbench.numerics.pruning_masks import global_magnitude_masks, sparsity_at

        if epoch >= self._ramp_epochs:
            return
        sparsity = sparsity_at(epoch, final=self._amount, ramp_epochs=self._ramp_epochs)
        self._masks = global_magnitude_masks(self._weights, sparsity=sparsity, within=self._masks or None)
        # A product with floats takes a sixth of the time of filling by a mask, and each step has two.
        for name, mask in self._masks.items():
            self._factors.setdefault(name, torch.empty_like(self._weights[name])).copy_(mask)
        self.mask_weights()

    def mask_gradients(self) -> None:
        """No gradient moves a pruned weight, or counts in the norm that is clipped."""
        from compressbench.numerics.pruning_masks import mask_gradients

        mask_gradients(self._weights, self._factors)

    def mask_weights(self) -> None:
        """Pruned weights back to zero, for momentum and weight decay move them too."""
        from compressbench.numerics.pruning_masks import apply_masks

        apply_masks(self._weights, self._factors)

    def finish(self) -> int:
        """Bake the masks into the weights and check them; returns how many weights are pruned.

        Raises:
            MethodFailed: If one was revived, or they are not as many as asked for.
        """
        from compressbench.numerics.pruning_masks import bake_masks, count_pruned, count_revived

        revived = count_revived(self._weights, self._masks)
        pruned = count_pruned(self._masks)
        wanted = round(self._amount * sum(weight.numel() for weight in self._weights.values()))
        if revived or pruned != wanted:
            raise MethodFailed(
                f"pruning ended with {pruned} masked weights of {wanted} and {revived} of them not zero: "
                "something moved the weights after they were masked"
            )
        bake_masks(self._weights, self._masks)
        return pruned


def linear_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weight of every Linear layer by name (attention, FFN, pooler, classifier), shared ones once."""
    from torch import nn

    found: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and not any(module.weight is each for each in found.values()):
            found[f"{name}.weight"] = module.weight
    return found
