"""Pruning: the smallest Linear weights go to zero, a few more each epoch, while the rest learns to do without them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, Self

from compressbench.artifacts.artifact import Artifact
from compressbench.errors import BadInput, InvalidParameter
from compressbench.methods.fitted import FittedMethod, check_count, check_share
from compressbench.methods.method import AUTO, Compressed, Context, parameter
from compressbench.registry import register
from compressbench.tasks.task import Task


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
        from compressbench.methods.iterative_pruning import IterativePruning, linear_weights
        from compressbench.models.loading import check_teacher, inspect_model, load_classifier, save_classifier

        info = inspect_model(str(source.path))
        if not info.is_classifier:
            raise BadInput(f"prune takes a fine-tuned classifier and {source.path} is none: write finetune+prune")
        warnings = check_teacher(info, context.task)
        model = load_classifier(source.path)
        pruning = IterativePruning(linear_weights(model), amount=self.amount, ramp_epochs=self.ramp_epochs)
        budget = self.fit(model, source, context, stage_name=f"prune {context.task.name}", hooks=(pruning,))
        budget["pruned_weights"] = pruning.finish()
        save_classifier(model, tokenizer_from=source.path, to=context.to)
        return Compressed(geometry=info.geometry, budget=budget, warnings=warnings)
