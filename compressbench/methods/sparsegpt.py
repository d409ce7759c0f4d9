"""Pruning without training, as a method: each layer's weights that are left are solved so that its outputs stay."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.manifest import Format
from compressbench.errors import BadInput, InvalidParameter
from compressbench.methods.fitted import check_count
from compressbench.methods.method import Compressed, Context, Method, parameter
from compressbench.models.removal import check_family
from compressbench.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class PruneSparsegpt(Method):
    """Prunes single Linear weights at once, without training, and makes the others up for them on calibration rows.

    SparseGPT's layer-wise least squares with a uniform share in each Linear layer (Frantar and Alistarh 2023). It
    differs in that pooler and classifier are pruned too, for `amount` is a share of all Linear weights as in `prune`,
    and in that padding does not count as an input.
    """

    name: ClassVar[str] = "prune-sparsegpt"
    revision: ClassVar[int] = 1
    reference: ClassVar[str] = "https://arxiv.org/abs/2301.00774"
    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    produces: ClassVar[Format] = "torch"
    draws: ClassVar[bool] = True

    amount: float = parameter(0.5, help="share of each Linear layer's weights that is pruned")
    calibration_rows: int = parameter(
        1024, help="training rows, drawn by the seed, whose activations are kept alike; all where there are fewer"
    )

    def __post_init__(self) -> None:
        check_count("calibration_rows", self.calibration_rows)
        if not 0 < self.amount < 1:
            raise InvalidParameter(f"amount={self.amount} is no share above 0 and below 1: use a number such as 0.5")

    def check_against(self, teacher: Path) -> None:
        """See `Method.check_against`: layers are known in models built like BERT."""
        check_family(teacher, taker=f"{self.name} goes through the layers", mend=f"use prune:amount={self.amount:g}")

    def compress(self, source: Artifact, context: Context) -> Compressed:
        """See `Method.compress`.

        Raises:
            BadInput: If the source is not yet a classifier of the task, or not built like BERT.
            MethodFailed: If not as many weights are zero in the end as asked for.
        """
        from compressbench.methods.layer_reconstruction import prune_without_training
        from compressbench.models.loading import check_teacher, inspect_model

        info = inspect_model(str(source.path))
        if not info.is_classifier:
            raise BadInput(
                f"{self.name} takes a fine-tuned classifier and {source.path} is none: write finetune+{self.name}"
            )
        self.check_against(source.path)
        warnings = check_teacher(info, context.task)
        budget = prune_without_training(self, source, context)
        return Compressed(geometry=info.geometry, budget=budget, warnings=warnings)
