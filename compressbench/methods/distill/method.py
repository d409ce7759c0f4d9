"""Task distillation as a method: its parameters and what they may be. The work is in the modules beside this one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.manifest import Format
from compressbench.environment import native_precision
from compressbench.errors import InvalidParameter, listed
from compressbench.methods.augment.ingredient import AUGMENTED, ingredient_of
from compressbench.methods.augment.settings import HIGHEST_COPIES, MASKED_LM, MODES
from compressbench.methods.distill.general_start import (
    GENERAL,
    check_general,
    check_general_student,
    check_general_vocabulary,
    general_fingerprints,
    general_ingredient,
)
from compressbench.methods.distill.outputs_room import check_cache_room
from compressbench.methods.distill.recipes import (
    RECIPES,
    DistillationRecipe,
    check_unused,
    copied_layers,
    parse_layer_weights,
    unused_parameters,
)
from compressbench.methods.fitted import check_count, check_positive, check_share
from compressbench.methods.method import AUTO, Compressed, Context, Method, parameter
from compressbench.models.geometry import Geometry, parse_student
from compressbench.numerics.layer_mapping import LayerMapping, check_strategy, layer_mapping
from compressbench.registry import register
from compressbench.tasks.task import Task

WORDS = {
    "recipe": ("tinybert", "none", "pkd", "distilbert"),
    "init": ("auto", "principal", "random", "layers", "first-layers", "general"),
    "general_init": ("principal", "random", "layers", "first-layers"),
    "attention_target": ("scores", "probabilities"),
    "precision": ("auto", "fp32", "bf16"),
    "augment_mode": MODES,
}
"""Parameters that are one of a few words; the annotations below say the same."""
UNTAUGHT = (
    "its classifier learned nothing (prediction_epochs=0), so its answers are by chance; "
    "train on from it with distill+finetune"
)


@register
@dataclass(frozen=True, kw_only=True)
class Distill(Method):
    """A small student learns from the teacher: by TinyBERT's recipe its layers first and then its answers."""

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

    recipe: Literal["tinybert", "none", "pkd", "distilbert"] = parameter(
        "tinybert", help="which losses in which stage; none: the student learns the labels and nothing else"
    )
    student: str = parameter("tinybert4", help="tinybert4, tinybert6 or LAYERSxHIDDENxHEADSxFFN")
    mapping: str = parameter("uniform", help="uniform, top, bottom, or teacher layers such as 3-6-9-12")
    init: Literal["auto", "principal", "random", "layers", "first-layers", "general"] = parameter(
        AUTO,
        help="how the student begins: principal (the teacher's embeddings, narrowed), random, layers (copies of the "
        "layers that the mapping names), first-layers (of the first ones) or general (a student that learned from "
        "plain text); auto: the recipe's, or general where corpus or general_student is given",
    )
    temperature: float | Literal["auto"] = parameter(
        AUTO, help="of soft labels; auto: the recipe's, 1 for tinybert, 10 for pkd, 2 for distilbert"
    )
    alpha: float | Literal["auto"] = parameter(
        AUTO, help="share of the teacher's soft labels in what answers are learned from; the rest are the labels"
    )
    beta: float | Literal["auto"] = parameter(
        AUTO, help="weight of the hidden states that pkd and distilbert learn beside answers; auto: 100 and 1/7"
    )
    intermediate_epochs: int | Literal["auto"] = parameter(
        AUTO, help="epochs that learn layers; auto: 20, or what the task says"
    )
    prediction_epochs: int | Literal["auto"] = parameter(
        AUTO, help="epochs that learn answers; auto: 3, pkd's 4, or what the task says for tinybert"
    )
    batch_size: int = parameter(32, help="rows a step")
    learning_rate: float | Literal["auto"] = parameter(
        AUTO, help="highest of the intermediate stage; auto: 5e-5, or the task's"
    )
    prediction_learning_rate: float | Literal["auto"] = parameter(
        AUTO, help="highest of the prediction stage; auto: 3e-5 for tinybert, or the task's; 5e-5 for the others"
    )
    embedding_weight: float = parameter(1.0, help="of the embedding loss; 0 switches it off")
    attention_weight: float = parameter(1.0, help="of the attention losses; 0 switches them off")
    hidden_weight: float = parameter(1.0, help="of the hidden-state losses; 0 switches them off")
    layer_weights: str = parameter(
        "equal", help="of attention and hidden states of each student layer, such as 1-1-1-2; equal: 1 for each"
    )
    attention_target: Literal["scores", "probabilities"] = parameter(
        "scores", help="attention before or after the softmax"
    )
    dropout: float | Literal["auto"] = parameter(
        AUTO, help="of the student while training; auto: 0 for tinybert, 0.1 for the others"
    )
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
    augment: int = parameter(
        0, help="rows after / before augmentation, at most: 30 is the study's x30; 0 learns from the task's rows alone"
    )
    augment_mode: Literal["paired", "masked"] = parameter(
        "paired",
        help="what the masked LM reads: paired, a sentence and its masked copy; masked, that copy alone, twice as fast",
    )
    mlm: str = parameter(MASKED_LM, help="masked LM that proposes words for augmentation: hub name or folder")
    vectors: str = parameter(
        "", help="word vectors in GloVe's text format, for words of several pieces; none: these stay as they are"
    )
    cache_gib: float = parameter(1.0, help="room for the teacher's outputs; rows beyond it are computed every epoch")
    corpus: str = parameter(
        "", help="plain text that a general student learns from: file, folder, or a data set's name on the hub"
    )
    general_student: str = parameter("", help="folder with a general student, instead of making one from a corpus")
    general_init: Literal["principal", "random", "layers", "first-layers"] = parameter(
        "principal", help="how the general student itself begins"
    )
    general_rows: int | Literal["all"] = parameter("all", help="rows of the corpus, from its beginning")
    general_epochs: int = parameter(3, help="passes over these rows")
    general_learning_rate: float = parameter(5e-5, help="highest of general distillation")
    general_length: int = parameter(128, help="tokens of a row of the corpus")
    general_seed: int = parameter(0, help="of the general student; a run's seeds share one")

    def __post_init__(self) -> None:
        if self.augment != 0 and not 2 <= self.augment <= HIGHEST_COPIES + 1:
            raise InvalidParameter(
                f"augment={self.augment} is no factor: use 2 to {HIGHEST_COPIES + 1}, such as 30 for 30 rows of each, "
                "or 0 for none"
            )
        parse_student(self.student)
        check_strategy(self.mapping)
        for name, words in WORDS.items():
            if getattr(self, name) not in words:
                raise InvalidParameter(f"{name}={getattr(self, name)} is unknown: use {listed(words)}")
        for name in ("batch_size", "train_rows", "prune_epochs"):
            check_count(name, getattr(self, name))
        for name in ("intermediate_epochs", "prediction_epochs"):
            if getattr(self, name) != 0:
                check_count(name, getattr(self, name))
        for name in ("temperature", "learning_rate", "prediction_learning_rate"):
            check_positive(name, getattr(self, name))
        check_share("prune_amount", self.prune_amount)
        if self.dropout != AUTO:
            check_share("dropout", self.dropout)
        if self.alpha != AUTO and not 0 <= self.alpha <= 1:
            raise InvalidParameter(f"alpha={self.alpha} is no share: use a number from 0 to 1, such as 0.5")
        for name in ("embedding_weight", "attention_weight", "hidden_weight", "beta", "cache_gib"):
            _check_not_negative(name, getattr(self, name))
        parse_layer_weights(self.layer_weights)
        values = {each.name: getattr(self, each.name) for each in fields(self)} | {"init": self.beginning}
        check_unused(self.rules, values, defaults={each.name: each.default for each in fields(self)})
        self._check_stages()
        check_general(self)

    @property
    def beginning(self) -> str:
        """`init`, or what stands behind ``auto``."""
        if self.init == AUTO and (self.corpus or self.general_student):
            return GENERAL
        return str(self._told("init"))

    @property
    def rules(self) -> DistillationRecipe:
        """What `recipe` stands for."""
        return RECIPES[self.recipe]

    def resolved(self, *, task: Task) -> Self:
        """See `Method.resolved`; a recipe's own numbers go before the task's, and precision depends on the CPU."""
        usual = {**self.rules.auto, "init": self.beginning}
        own = {name: value for name, value in usual.items() if getattr(self, name) == AUTO}
        method = Method.resolved(replace(self, **own), task=task)
        return replace(method, precision=native_precision()) if method.precision == AUTO else method

    def ingredients(self) -> Mapping[str, Method]:
        """See `Method.ingredients`: the augmented rows and the general student, where they are asked for."""
        rows = ingredient_of(
            factor=self.augment,
            mode=self.augment_mode,
            mlm=self.mlm,
            vectors=self.vectors,
            precision=self.precision,
            train_rows=self.train_rows,
        )
        return {**rows, **general_ingredient(self)}

    def check_files(self, *, offline: bool) -> None:  # noqa: ARG002 - ingredients ask the hub, this does not
        """See `Method.check_files`: the cache must fit on the disk."""
        check_cache_room(self.cache_gib)

    def check_against(self, teacher: Path) -> None:
        """See `Method.check_against`: a general student must number pieces as the teacher does."""
        if self.beginning == GENERAL and self.general_student:
            check_general_vocabulary(Path(self.general_student).expanduser(), teacher)

    def fingerprints(self) -> Mapping[str, str]:
        """See `Method.fingerprints`: files that nothing reads do not count."""
        rows = self.ingredients().get(AUGMENTED)
        if rows is not None:
            return {**rows.fingerprints(), **general_fingerprints(self)}
        unread = {name: "" for name, usual in (("mlm", MASKED_LM), ("vectors", "")) if getattr(self, name) != usual}
        return {**unread, **general_fingerprints(self)}

    def check(self, source: Geometry) -> Geometry:
        """See `Method.check`: the mapping must fit both depths, and what is compared or copied both widths."""
        student = self._student_of(source)
        mapping = self._mapping_of(source)
        self._check_widths(student, source)
        if self.beginning == GENERAL and self.general_student:
            check_general_student(self.general_student, student=student)
        weights = parse_layer_weights(self.layer_weights)
        if weights is not None and len(weights) != student.layers:
            raise InvalidParameter(
                f"layer_weights={self.layer_weights} gives {len(weights)} weights, and student={self.student} has "
                f"{student.layers} layers: give one a layer"
            )
        if self.rules.beside_answers == "patience" and self._told("beta") and len(mapping.attention) < 2:
            raise InvalidParameter(
                f"recipe={self.recipe} learns the hidden states of all layers but the last, and student={self.student} "
                "has one layer: use a deeper student, or beta=0"
            )
        if self.rules.learns_layers and self.attention_weight and student.heads != source.heads:
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
        budget = distill_task(
            self,
            source,
            context,
            student=student,
            mapping=self._mapping_of(teacher),
            copied=self._copied(student, teacher),
        )
        return Compressed(geometry=student, budget=budget, warnings=() if self.prediction_epochs else (UNTAUGHT,))

    def _check_stages(self) -> None:
        """Refuse a training with nothing to learn in it."""
        if self.intermediate_epochs == 0 and self.prune_amount:
            raise InvalidParameter(
                f"prune_amount={self.prune_amount} grows over intermediate epochs, and intermediate_epochs=0: set it "
                "above 0, or prune the finished student with distill+prune"
            )
        learns_layers = self.rules.learns_layers and self.intermediate_epochs != 0
        if self.prediction_epochs == 0 and not learns_layers:
            raise InvalidParameter(
                f"prediction_epochs=0 leaves recipe={self.recipe} nothing to learn: give it epochs of some stage"
            )
        if learns_layers and not (self.embedding_weight or self.attention_weight or self.hidden_weight):
            raise InvalidParameter(
                "embedding_weight, attention_weight and hidden_weight are all 0, so the intermediate stage has nothing "
                "to learn: leave one above 0, or set intermediate_epochs=0"
            )

    def _told(self, name: str) -> Any:
        """A parameter's value, or what the recipe puts in place of ``auto``."""
        value = getattr(self, name)
        return self.rules.auto.get(name, value) if value == AUTO else value

    def _student_of(self, source: Geometry) -> Geometry:
        shape = parse_student(self.student)
        return replace(shape, vocab=source.vocab, positions=source.positions, token_types=source.token_types)

    def _check_widths(self, student: Geometry, source: Geometry) -> None:
        """Refuse a student of other widths than the teacher's where its layers are copied or its states compared."""
        init, fitting = self.beginning, f"use student={replace(source, layers=student.layers)}"
        ours, theirs = ((each.hidden, each.heads, each.intermediate) for each in (student, source))
        if self._copied(student, source) and ours != theirs:
            who = f"init={init}" if self.init == init else f"recipe={self.recipe} begins with init={init}, which"
            raise InvalidParameter(
                f"{who} copies the teacher's layers, and those are {'x'.join(map(str, theirs))} (hidden, heads, FFN), "
                f"not {'x'.join(map(str, ours))} as in student={self.student}: {fitting}"
            )
        if self.rules.beside_answers != "nothing" and self._told("beta") and student.hidden != source.hidden:
            raise InvalidParameter(
                f"recipe={self.recipe} compares hidden states as they are, and student={self.student} is "
                f"{student.hidden} wide, the teacher {source.hidden}: {fitting}"
            )

    def _copied(self, student: Geometry, source: Geometry) -> tuple[int, ...]:
        return copied_layers(self.beginning, self.mapping, teacher_layers=source.layers, student_layers=student.layers)

    def _mapping_of(self, source: Geometry) -> LayerMapping:
        """The mapping, empty where the recipe asks for none."""
        if "mapping" in unused_parameters(self.rules, self.beginning):
            return LayerMapping(attention=(), hidden=())
        student_layers = parse_student(self.student).layers
        return layer_mapping(self.mapping, teacher_layers=source.layers, student_layers=student_layers)


def _check_not_negative(name: str, value: float | str) -> None:
    if not isinstance(value, str) and not (math.isfinite(value) and value >= 0):
        raise InvalidParameter(f"{name}={value} must be 0 or above: use a number such as 1.0")
