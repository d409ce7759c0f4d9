"""Fine-tuning: a pretrained encoder becomes the classifier of one task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from compressbench.artifacts.artifact import Artifact
from compressbench.methods.fitted import FittedMethod
from compressbench.methods.method import Compressed, Context
from compressbench.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class Finetune(FittedMethod):
    """Trains a classifier on the task's labels, from a pretrained encoder or on from a classifier of the task."""

    name: ClassVar[str] = "finetune"
    revision: ClassVar[int] = 1
    reference: ClassVar[str] = "https://arxiv.org/abs/1810.04805"
    auto: ClassVar[Mapping[str, Any]] = MappingProxyType({"epochs": 3, "learning_rate": 5e-5, "train_rows": "all"})

    def compress(self, source: Artifact, context: Context) -> Compressed:
        """See `Method.compress`.

        Raises:
            BadInput: If the source is a classifier of other labels than the task's.
        """
        from compressbench.methods.iterative_pruning import lost_zeros, zero_share
        from compressbench.models.loading import (
            check_teacher,
            inspect_model,
            load_classifier,
            new_classifier,
            save_classifier,
        )

        info = inspect_model(str(source.path))
        warnings = check_teacher(info, context.task)
        if info.is_classifier:
            model = load_classifier(source.path)
        else:
            model = new_classifier(source.path, context.task, seed=context.seed)
        zeros = zero_share(model)
        budget = self.fit(model, source, context, stage_name=f"fine-tune {context.task.name}")
        save_classifier(model, tokenizer_from=source.path, to=context.to)
        return Compressed(geometry=info.geometry, budget=budget, warnings=(*warnings, *lost_zeros(zeros, model)))
