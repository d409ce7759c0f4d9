"""Pruning as a method: its parameters and what they may be. The work is in the modules beside this one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.manifest import Format
from compressbench.errors import BadInput, InvalidParameter
from compressbench.methods.fitted import FittedMethod, check_count
from compressbench.methods.method import AUTO, Compressed, Context, parameter
from compressbench.methods.prune_checks import check_floor, check_increments, check_unused
from compressbench.models.geometry import Geometry
from compressbench.models.removal import Removal, check_family, parse_removal, slimmed
from compressbench.registry import register
from compressbench.tasks.task import Task

ONNX_ALONE = "attention heads were taken out, which no config of transformers describes: the model is ONNX alone"


@register
@dataclass(frozen=True, kw_only=True)
class Prune(FittedMethod):
    """Prunes single Linear weights, or whole heads, FFN columns and layers, while the rest learns to do without."""

    name: ClassVar[str] = "prune"
    revision: ClassVar[int] = 2
    reference: ClassVar[str] = "https://arxiv.org/abs/1710.01878"
    auto: ClassVar[Mapping[str, Any]] = MappingProxyType({"epochs": 6, "learning_rate": 2e-5, "train_rows": "all"})

    amount: float = parameter(0.2, help="share of the Linear weights that is pruned; of says which share")
    of: Literal["total", "remaining"] = parameter(
        "total",
        help="total: amount is the final share of all Linear weights; remaining: each increment prunes amount of what "
        "the ones before left, as torch.nn.utils.prune counts",
    )
    schedule: Literal["linear", "cubic", "one-shot"] = parameter(
        "linear", help="how the share grows: in equal increments, much at first and little at last, or at once"
    )
    increments: int | Literal["auto"] = parameter(
        AUTO, help="how many, evenly over the ramp; auto: one an epoch of the ramp, one in all for one-shot"
    )
    ramp_epochs: int = parameter(6, help="first epochs, over which the share grows")
    criterion: Literal["magnitude", "movement"] = parameter(
        "magnitude", help="which weights go: the smallest, or those that training moves towards zero"
    )
    layer_floor: float = parameter(
        0.0,
        help="share of each layer's weights that stays whatever the ranking of all says; 0: a layer of small weights "
        "may lose all of them, as with torch.nn.utils.prune",
    )
    structured: str = parameter(
        "",
        help="instead of single weights: shares of whole parts, such as heads-0.33-ffn-0.5-layers-0.25; with heads the "
        "result is ONNX",
    )
    importance: Literal["gradient", "magnitude"] = parameter(
        "gradient", help="which heads, FFN columns and layers stay: those the loss depends on, or the largest"
    )
    objective: Literal["auto", "teacher", "labels"] = parameter(
        AUTO,
        help="what is learned meanwhile; auto: the teacher's answers where the model was distilled, else the labels",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("ramp_epochs", self.ramp_epochs)
        check_count("increments", self.increments)
        if not 0 < self.amount < 1:
            raise InvalidParameter(f"amount={self.amount} is no share above 0 and below 1: use a number such as 0.2")
        check_floor(self)
        check_unused(self)
        if self.structured:
            parse_removal(self.structured)
        else:
            check_increments(self)

    @property
    def removal(self) -> Removal | None:
        """What `structured` asks for; None for single weights."""
        return parse_removal(self.structured) if self.structured else None

    @property
    def makes(self) -> Format:
        """See `Method.makes`: no config describes a model with fewer heads of the same width, so that is ONNX."""
        return "onnx-fp32" if self.removal and self.removal.heads else "torch"

    @property
    def increment_count(self) -> int:
        """`increments`, or what stands behind ``auto``."""
        if self.increments != AUTO:
            return int(self.increments)
        return 1 if self.schedule == "one-shot" else self.ramp_epochs

    @property
    def has_ramp(self) -> bool:
        """Whether pruning takes the ramp's epochs."""
        return not self.structured and (self.schedule != "one-shot" or self.criterion == "movement")

    def resolved(self, *, task: Task) -> Self:
        """See `Method.resolved`; `epochs` left at auto cover the ramp, whatever the task says."""
        method = self if self.objective != AUTO else replace(self, objective="labels")
        method = replace(method, increments=self.increment_count)
        if method.epochs != AUTO:
            return super(Prune, method).resolved(task=task)
        wanted: Any = task.training.get("prune.epochs", self.auto["epochs"])
        epochs = max(int(wanted), self.ramp_epochs) if self.has_ramp else int(wanted)
        return replace(method, epochs=epochs).resolved(task=task)

    def resolved_on(self, source: Artifact, *, task: Task, teacher: Artifact | None) -> Self:
        """See `Method.resolved_on`: a distilled model goes on learning from its teacher."""
        return replace(self, objective=self._objective_on(source, teacher)).resolved(task=task)

    def check(self, source: Geometry) -> Geometry:
        """See `Method.check`: something of each part must stay."""
        return slimmed(source, self.removal) if self.removal else source

    def check_against(self, teacher: Path) -> None:
        """See `Method.check_against`: parts are known in models built like BERT."""
        if self.structured:
            check_family(
                teacher, taker="prune:structured=... knows the parts",
                mend="prune its weights instead, prune:amount=0.5",
            )  # fmt: skip

    def compress(self, source: Artifact, context: Context) -> Compressed:
        """See `Method.compress`.

        Raises:
            BadInput: If the source is not yet a classifier of the task, or the teacher asked for is not there.
            MethodFailed: If a pruned weight is not zero in the end.
        """
        from compressbench.models.loading import check_teacher, inspect_model

        info = inspect_model(str(source.path))
        if not info.is_classifier:
            raise BadInput(f"prune takes a fine-tuned classifier and {source.path} is none: write finetune+prune")
        warnings = check_teacher(info, context.task)
        teacher = self._teacher_on(source, context)
        if self.structured:
            from compressbench.methods.structured_pruning import prune_structure

            budget, said = prune_structure(self, source, context, teacher=teacher)
        else:
            budget, said = self._prune_weights(source, context, teacher=teacher)
        warnings = (*warnings, *said)
        if self.makes != "torch":
            warnings = (*warnings, ONNX_ALONE)
        return Compressed(geometry=self.check(info.geometry), budget=budget, warnings=warnings)

    def _prune_weights(
        self, source: Artifact, context: Context, *, teacher: Artifact | None
    ) -> tuple[dict[str, int], tuple[str, ...]]:
        from compressbench.methods.iterative_pruning import IterativePruning, linear_weights, pruning_plan
        from compressbench.methods.training import steps_per_epoch
        from compressbench.models.loading import load_classifier, save_classifier

        model = load_classifier(source.path)
        weights = linear_weights(model)
        plan = pruning_plan(
            weights,
            amount=self.amount,
            of=self.of,
            schedule=self.schedule,
            increments=self.increment_count,
            ramp_epochs=self.ramp_epochs,
            steps_per_epoch=steps_per_epoch(len(self.rows_of(context)), batch_size=self.batch_size),
            criterion=self.criterion,
            layer_floor=self.layer_floor,
        )
        pruning = IterativePruning(weights, plan)
        name = f"prune {context.task.name}"
        budget = self.fit(model, source, context, stage_name=name, hooks=(pruning,), teacher=teacher)
        budget["pruned_weights"] = pruning.finish()
        save_classifier(model, tokenizer_from=source.path, to=context.to)
        return budget, pruning.warnings()

    def _teacher_on(self, source: Artifact, context: Context) -> Artifact | None:
        """Whose answers are learned; None: the labels are."""
        if self._objective_on(source, context.teacher) == "labels":
            return None
        if context.teacher is None:
            raise BadInput("objective=teacher learns a teacher's answers, and there is none: name one by --teacher DIR")
        return context.teacher

    def _objective_on(self, source: Artifact, teacher: Artifact | None) -> Literal["teacher", "labels"]:
        if self.objective != "auto":
            return self.objective
        is_taught = bool(source.manifest.inputs.get("teacher")) and teacher is not None and teacher.key != source.key
        return "teacher" if is_taught else "labels"
