"""Methods that train on the task's labels: the parameters they share, their bounds, and the call of the loop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.manifest import Format
from compressbench.environment import native_precision
from compressbench.errors import InvalidParameter
from compressbench.methods.method import AUTO, Context, Method, parameter
from compressbench.tasks.task import Rows, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compressbench.methods.training_loop import LoopHook

WATCH_SHARE = 0.01
"""Of the training's work that a curve of dev scores may take; where it would take more, none is drawn."""


@dataclass(frozen=True, kw_only=True)
class FittedMethod(Method):
    """A method that trains a torch classifier on labels; subclasses say what `auto` means and what else happens."""

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    produces: ClassVar[Format] = "torch"
    draws: ClassVar[bool] = True

    epochs: int | Literal["auto"] = parameter(
        AUTO, help="passes over the training rows; auto: what suits the method and the task"
    )
    batch_size: int = parameter(32, help="rows a step")
    learning_rate: float | Literal["auto"] = parameter(
        AUTO, help="highest learning rate; auto: what suits the method and the task"
    )
    weight_decay: float = parameter(0.01, help="AdamW's, of weight matrices")
    warmup: float = parameter(0.1, help="share of the steps over which the learning rate rises")
    precision: Literal["auto", "fp32", "bf16"] = parameter(
        AUTO, help="auto: bf16 where the CPU multiplies it natively, else fp32"
    )
    train_rows: int | Literal["auto", "all"] = parameter(
        AUTO, help="how many training rows, drawn by the seed; auto: all, or what suits the task"
    )

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "train_rows"):
            check_count(name, getattr(self, name))
        check_positive("learning_rate", self.learning_rate)
        check_share("weight_decay", self.weight_decay)
        check_share("warmup", self.warmup)

    def resolved(self, *, task: Task) -> Self:
        """See `Method.resolved`; precision depends on the CPU."""
        method = super().resolved(task=task)
        return replace(method, precision=native_precision()) if method.precision == AUTO else method

    def fit(
        self,
        model: PreTrainedModel,
        source: Artifact,
        context: Context,
        *,
        stage_name: str,
        hooks: Sequence[LoopHook] = (),
        teacher: Artifact | None = None,
    ) -> dict[str, int]:
        """Train `model` on this method's share of the training rows; returns epochs, steps and rows.

        Args:
            model: The classifier, trained in place.
            source: Whose tokenizer is used.
            context: Where rows, seed, threads and progress come from.
            stage_name: What progress shows.
            hooks: Act beside the optimizer.
            teacher: Whose answers are learned instead of the labels; None: the labels.

        Raises:
            BadInput: If the training rows have no labels, and labels are learned.
        """
        from compressbench.methods.dev_scores import watching
        from compressbench.methods.fitting import CLIP_NORM, fit_classifier
        from compressbench.methods.targets import targets_of
        from compressbench.methods.training_loop import stage_settings
        from compressbench.prediction import encode_rows

        rows = self.rows_of(context)
        targets = targets_of(rows, context, teacher=teacher, precision=self.precision)
        settings = stage_settings(
            context,
            name=stage_name,
            epochs=int(self.epochs),
            batch_size=self.batch_size,
            learning_rate=float(self.learning_rate),
            weight_decay=self.weight_decay,
            warmup_fraction=self.warmup,
            clip_norm=CLIP_NORM,
            precision=self.precision,
        )
        encoded = encode_rows(rows, tokenizer_path=source.tokenizer_path, max_length=context.task.max_length)
        watch = watching(model, encoded, source, context, settings, cost_share=WATCH_SHARE)
        return fit_classifier(
            model,
            encoded,
            targets.values,
            settings=settings,
            loss=targets.loss,
            hooks=(*hooks, *watch),
            kept=targets.kept,
        )

    def rows_of(self, context: Context) -> Rows:
        """This method's share of the training rows."""
        return sampled_rows(context.train, count=self.train_rows, seed=context.seed)


def sampled_rows(rows: Rows, *, count: int | str, seed: int) -> Rows:
    """`count` rows drawn without repetition, in file order; all of them where there are no more."""
    if isinstance(count, str) or count >= len(rows):
        return rows
    return rows.take(np.sort(np.random.default_rng(seed).choice(len(rows), size=count, replace=False)))


def check_count(name: str, value: int | str) -> None:
    """Refuse a count below 1; words such as ``auto`` pass.

    Raises:
        InvalidParameter: If it is no whole number above zero.
    """
    if not isinstance(value, str) and (not isinstance(value, int) or value < 1):
        raise InvalidParameter(f"{name}={value} is too few: use a whole number of 1 or more")


def check_positive(name: str, value: float | str) -> None:
    """Refuse what is not finite and above zero; ``auto`` passes.

    Raises:
        InvalidParameter: If it is not, NaN included.
    """
    if not isinstance(value, str) and not (math.isfinite(value) and value > 0):
        raise InvalidParameter(f"{name}={value} is not above zero: use a number such as 5e-5")


def check_share(name: str, value: Any) -> None:
    """Refuse what is not from 0 up to, but below, 1.

    Raises:
        InvalidParameter: If it is not, NaN included.
    """
    if not 0 <= value < 1:
        raise InvalidParameter(f"{name}={value} is no share: use a number from 0 up to (not including) 1, such as 0.1")
