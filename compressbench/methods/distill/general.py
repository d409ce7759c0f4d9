"""General distillation: a student for any task, taught by the pretrained teacher on plain text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.manifest import Format
from compressbench.environment import native_precision
from compressbench.errors import InvalidParameter
from compressbench.methods.distill.packed_corpus import PackedCorpus
from compressbench.methods.distill.recipes import copied_layers
from compressbench.methods.fitted import check_count, check_positive
from compressbench.methods.method import AUTO, Compressed, Context, Method
from compressbench.models.geometry import Geometry, parse_student
from compressbench.numerics.layer_mapping import LayerMapping, layer_mapping
from compressbench.tasks.task import Task

SHORTEST_ROW = 8


@dataclass(frozen=True, kw_only=True)
class GeneralDistill(Method):
    """A student without a task: embeddings, attention and hidden states of a pretrained BERT, and no answers.

    What it makes is an ordinary encoder that `transformers.AutoModel` opens, and every task may begin from.
    """

    name: ClassVar[str] = "general-distill"
    revision: ClassVar[int] = 1
    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    produces: ClassVar[Format] = "torch"
    reference: ClassVar[str] = "https://arxiv.org/abs/1909.10351"
    reads_rows: ClassVar[bool] = False
    starts_from: ClassVar[Literal["source", "pretrained"]] = "pretrained"

    corpus: str
    student: str
    mapping: str
    init: Literal["principal", "random", "layers", "first-layers"]
    embedding_weight: float
    attention_weight: float
    hidden_weight: float
    attention_target: Literal["scores", "probabilities"]
    rows: int | Literal["all"]
    epochs: int
    batch_size: int
    learning_rate: float
    length: int
    seed: int
    """A parameter, and not the run's: the general student is a given, like the pretrained teacher."""
    precision: Literal["auto", "fp32", "bf16"]

    def __post_init__(self) -> None:
        if not (self.embedding_weight or self.attention_weight or self.hidden_weight):
            raise InvalidParameter(
                "init=general learns layers, and embedding_weight, attention_weight and hidden_weight are all 0: "
                "leave one above 0, or use init=random"
            )
        check_count("general_rows", self.rows)
        check_count("general_epochs", self.epochs)
        check_positive("general_learning_rate", self.learning_rate)
        if self.length < SHORTEST_ROW:
            raise InvalidParameter(f"general_length={self.length} is too short: use {SHORTEST_ROW} tokens or more")
        if self.seed < 0:
            raise InvalidParameter(f"general_seed={self.seed} is below 0: use a whole number from 0 on")

    def ingredients(self) -> Mapping[str, Method]:
        """See `Method.ingredients`: the corpus in token ids."""
        return {"rows": PackedCorpus(corpus=self.corpus, length=self.length, rows=self.rows)}

    def fingerprints(self) -> Mapping[str, str]:
        """See `Method.fingerprints`."""
        return self.ingredients()["rows"].fingerprints()

    def resolved(self, *, task: Task) -> Self:  # noqa: ARG002 - it knows of no task
        """See `Method.resolved`; precision depends on the CPU."""
        return replace(self, precision=native_precision()) if self.precision == AUTO else self

    def check(self, source: Geometry) -> Geometry:
        """See `Method.check`: the mapping must fit both depths, and heads and copied layers must be of one size."""
        student = self._student_of(source)
        self._mapping_of(source)
        if self.attention_weight and student.heads != source.heads:
            raise InvalidParameter(
                f"student={self.student} has {student.heads} attention heads and the teacher {source.heads}, so "
                f"general distillation cannot pair them: use a student of {source.heads} heads, or attention_weight=0"
            )
        if self._copied(student, source) and replace(student, layers=source.layers) != source:
            raise InvalidParameter(
                f"general_init={self.init} copies the teacher's layers, which are of other sizes than student="
                f"{self.student}: use student={replace(source, layers=student.layers)}, or general_init=principal"
            )
        return student

    def compress(self, source: Artifact, context: Context) -> Compressed:
        """See `Method.compress`."""
        from compressbench.methods.distill.general_stage import distill_general

        teacher = Geometry(**source.manifest.geometry)
        student = self.check(teacher)
        budget = distill_general(
            self,
            source,
            context,
            student=student,
            mapping=self._mapping_of(teacher),
            copied=self._copied(student, teacher),
        )
        return Compressed(
            geometry=student, budget=budget, warnings=tuple(context.ingredients["rows"].manifest.warnings)
        )

    def _student_of(self, source: Geometry) -> Geometry:
        shape = parse_student(self.student)
        return replace(shape, vocab=source.vocab, positions=source.positions, token_types=source.token_types)

    def _mapping_of(self, source: Geometry) -> LayerMapping:
        student_layers = parse_student(self.student).layers
        return layer_mapping(self.mapping, teacher_layers=source.layers, student_layers=student_layers)

    def _copied(self, student: Geometry, source: Geometry) -> tuple[int, ...]:
        return copied_layers(self.init, self.mapping, teacher_layers=source.layers, student_layers=student.layers)
