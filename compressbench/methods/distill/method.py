"""Task distillation as a method: its parameters and what they may be. The work is in the modules beside this one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.manifest import Format
from compressbench.environment import native_precision
from compressbench.errors import InvalidParameter, listed
from compressbench.methods.fitted import check_count, check_positive, check_share
from compressbench.methods.method import AUTO, Compressed, Context, Method, parameter
from compressbench.models.geometry import Geometry, parse_student
from compressbench.numerics.layer_mapping import LayerMapping, check_strategy, layer_mapping
from compressbench.registry import register
from compressbench.tasks.task import Task

WORDS = {
    "init": ("principal", "random", "layers", "first-layers"),
    "attention_target": ("scores", "probabilities"),
    "precision": ("auto", "fp32", "bf16"),
}
"""Parameters that are one of a few words; the annotations below say the same."""


@register
@dataclass(frozen=True, kw_only=True)
class Distill(Method):
    """TinyBERT task distillation: a small student learns the teacher's layers first, then its answers."""

    name: ClassVar[str] = "distill"
    revision: ClassVar[int] = 1
    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    produces: ClassVar[Format] = "torch"
    reference: ClassVar[str] = "https://arxiv.org/abs/1909.10351"
    draws: ClassVar[bool] = True
    auto: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "intermediate_epochs": 20,
            "prediction_epochs": 3,
            "learning_rate": 5e-5,
            "prediction_learning_rate": 3e-5,
            "train_rows": "all",
        }
    )

    student: str = parameter("tinybert4", help="tinybert4, tinybert6 or LAYERSxHIDDENxHEADSxFFN")
    mapping: str = parameter("uniform", help="uniform, top, bottom, or teacher layers such as 3-6-9-12")
    init: Literal["principal", "random", "layers", "first-layers"] = parameter(
        "principal",
        help="how the student begins: principal (the teacher's embeddings, narrowed), random, layers (copies of the "
        "layers that the mapping teaches) or first-layers (of the first ones)",
    )
    temperature: float = parameter(1.0, help="of the soft labels in the prediction stage")
    intermediate_epochs: int | Literal["auto"] = parameter(
        AUTO, help="epochs that learn layers; auto: 20, or what the task says"
    )
    prediction_epochs: int | Literal["auto"] = parameter(
        AUTO, help="epochs that learn answers; auto: 3, or what the task says"
    )
    batch_size: int = parameter(32, help="rows a step")
    learning_rate: float | Literal["auto"] = parameter(
        AUTO, help="highest of the intermediate stage; auto: 5e-5, or the task's"
    )
    prediction_learning_rate: float | Literal["auto"] = parameter(
        AUTO, help="highest of the prediction stage; auto: 3e-5, or what the task says"
    )
    embedding_weight: float = parameter(1.0, help="of the embedding loss; 0 switches it off")
    attention_weight: float = parameter(1.0, help="of the attention losses; 0 switches them off")
    hidden_weight: float = parameter(1.0, help="of the hidden-state losses; 0 switches them off")
    attention_target: Literal["scores", "probabilities"] = parameter(
        "scores", help="attention before or after the softmax"
    )
    dropout: float = parameter(0.0, help="of the student while training")
    prune_amount: float = parameter(
        0.0, help="share of the student's Linear weights that is pruned while it learns, and zero in the end"
    )
    prune_epochs: int = parameter(
        6, help="first intermediate epochs, over which prune_amount grows; all of them where there are fewer"
    )
    precision: Literal["auto", "fp32", "bf16"] = parameter(
        AUTO, help="auto: bf16 where the CPU multiplies it natively, else fp32"
    )
    train_rows: int | Literal["auto", "all"] = parameter(
        AUTO, help="how many training rows, drawn by the seed; auto: all of them"
    )
    cache_gib: float = parameter(1.0, help="room for the teacher's outputs; rows beyond it are computed every epoch")

    def __post_init__(self) -> None:
        parse_student(self.student)
        check_strategy(self.mapping)
        for name, words in WORDS.items():
            if getattr(self, name) not in words:
                raise InvalidParameter(f"{name}={getattr(self, name)} is unknown: use {listed(words)}")
        for name in ("prediction_epochs", "batch_size", "train_rows", "prune_epochs"):
            check_count(name, getattr(self, name))
        if self.intermediate_epochs != 0:
            check_count("intermediate_epochs", self.intermediate_epochs)
        for name in ("temperature", "learning_rate", "prediction_learning_rate"):
            check_positive(name, getattr(self, name))
        check_share("dropout", self.dropout)
        check_share("prune_amount", self.prune_amount)
        if self.prune_amount and self.intermediate_epochs == 0:
            raise InvalidParameter(
                f"prune_amount={self.prune_amount} grows over intermediate epochs, and intermediate_epochs=0: set it "
                "above 0, or prune the finished student with distill+prune"
            )
        for name in ("embedding_weight", "attention_weight", "hidden_weight", "cache_gib"):
            _check_not_negative(name, getattr(self, name))
        if self.intermediate_epochs != 0 and not (self.embedding_weight or self.attention_weight or self.hidden_weight):
            raise InvalidParameter(
                "embedding_weight, attention_weight and hidden_weight are all 0, so the intermediate stage has nothing "
                "to learn: leave one above 0, or set intermediate_epochs=0"
            )

    def resolved(self, *, task: Task) -> Self:
        """See `Method.resolved`; precision depends on the CPU."""
        method = super().resolved(task=task)
        return replace(method, precision=native_precision()) if method.precision == AUTO else method

    def check(self, source: Geometry) -> Geometry:
        """See `Method.check`: the mapping must fit both depths, and heads must pair up where attention is learned."""
        student = self._student_of(source)
        self._mapping_of(source)
        if self.init in ("layers", "first-layers"):
            self._check_widths(student, source, reason=f"init={self.init} copies the teacher's layers")
        if self.attention_weight and student.heads != source.heads:
            raise InvalidParameter(
                f"student={self.student} has {student.heads} attention heads and the teacher {source.heads}, so the "
                f"attention loss cannot pair them: use a student of {source.heads} heads, or attention_weight=0"
            )
        return student

    def compress(self, source: Artifact, context: Context) -> Compressed:
        """See `Method.compress`."""
        from compressbench.methods.distill.task_stages import distill_task

        teacher = Geometry(**source.manifest.geometry)
        student = self.check(teacher)
        budget = distill_task(self, source, context, student=student, mapping=self._mapping_of(teacher))
        return Compressed(geometry=student, budget=budget)

    def _student_of(self, source: Geometry) -> Geometry:
        shape = parse_student(self.student)
        return replace(shape, vocab=source.vocab, positions=source.positions, token_types=source.token_types)

    def _check_widths(self, student: Geometry, source: Geometry, *, reason: str) -> None:
        """Refuse a student whose layers are of other sizes than the teacher's."""
        ours, theirs = ((each.hidden, each.heads, each.intermediate) for each in (student, source))
        if ours != theirs:
            fitting = replace(source, layers=student.layers)
            raise InvalidParameter(
                f"{reason}, and those are {'x'.join(map(str, theirs))} (hidden, heads, FFN), "
                f"not {'x'.join(map(str, ours))} as in student={self.student}: use student={fitting}"
            )

    def _mapping_of(self, source: Geometry) -> LayerMapping:
        student_layers = parse_student(self.student).layers
        return layer_mapping(self.mapping, teacher_layers=source.layers, student_layers=student_layers)


def _check_not_negative(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise InvalidParameter(f"{name}={value} must be 0 or above: use a number such as 1.0")
