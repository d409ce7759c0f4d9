"""Task distillation as a method: its parameters and what they may be. The work is in the modules beside this one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.manifest import Format
from compressbench.environment import native_precision
from compressbench.methods.augment.ingredient import AUGMENTED, ingredient_of
from compressbench.methods.augment.settings import MASKED_LM
from compressbench.methods.distill.general_start import (
    GENERAL,
    check_general,
    check_general_student,
    check_general_vocabulary,
    general_fingerprints,
    general_ingredient,
)
from compressbench.methods.distill.outputs_room import check_cache_room
from compressbench.methods.distill.parameter_checks import check_fit, check_stages, check_values
from compressbench.methods.distill.recipes import (
    RECIPES,
    DistillationRecipe,
    copied_layers,
    unused_parameters,
)
from compressbench.methods.method import AUTO, Compressed, Context, Method, parameter
from compressbench.models.geometry import Geometry, parse_student
from compressbench.numerics.layer_mapping import LayerMapping, layer_mapping
from compressbench.registry import register
from compressbench.tasks.task import Task

UNTAUGHT = (
    "its classifier learned nothing (prediction_epochs=0), so its answers are by chance; "
    "train on from it with distill+finetune"
)


@register
@dataclass(frozen=True, kw_only=True)
class Distill(Method):
    """A small student learns from the teacher: by TinyBERT's recipe its layers first and then its answers."""

    name: ClassVar[str] = "distill"
    revision: ClassVar[int] = 2
    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    produces: ClassVar[Format] = "torch"
    reference: ClassVar[str] = "https://arxiv.org/abs/1909.10351"
    draws: ClassVar[bool] = True
    makes_bert: ClassVar[bool] = True
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
    augment_blanks: int = parameter(
        1, help="most words of a sentence masked at once: 3 takes half the time or less, and proposes a few other words"
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
        check_values(self)
        check_stages(self)
        check_general(self)

    @property
    def beginning(self) -> str:
        """`init`, or what stands behind ``auto``."""
        if self.init == AUTO and (self.corpus or self.general_student):
            return GENERAL
        return str(self.told("init"))

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
            blanks=self.augment_blanks,
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
        check_fit(self, student, source, mapping=self.mapping_of(source))
        if self.beginning == GENERAL and self.general_student:
            check_general_student(self.general_student, student=student)
        return student

    def compress(self, source: Artifact, context: Context) -> Compressed:
        """See `Method.compress`."""
        from compressbench.methods.distill.task import distill_task

        teacher = Geometry(**source.manifest.geometry)
        student = self.check(teacher)
        budget = distill_task(
            self,
            source,
            context,
            student=student,
            mapping=self.mapping_of(teacher),
            copied=self.copied(student, teacher),
        )
        return Compressed(geometry=student, budget=budget, warnings=() if self.prediction_epochs else (UNTAUGHT,))

    def told(self, name: str) -> Any:
        """A parameter's value, or what the recipe puts in place of ``auto``."""
        value = getattr(self, name)
        return self.rules.auto.get(name, value) if value == AUTO else value

    def _student_of(self, source: Geometry) -> Geometry:
        shape = parse_student(self.student)
        return replace(shape, vocab=source.vocab, positions=source.positions, token_types=source.token_types)

    def copied(self, student: Geometry, source: Geometry) -> tuple[int, ...]:
        """Which teacher layers, counted from 0, the student's layers begin as; none where nothing is copied."""
        return copied_layers(self.beginning, self.mapping, teacher_layers=source.layers, student_layers=student.layers)

    def mapping_of(self, source: Geometry) -> LayerMapping:
        """The mapping, empty where the recipe asks for none."""
        if "mapping" in unused_parameters(self.rules, self.beginning):
            return LayerMapping(attention=(), hidden=())
        student_layers = parse_student(self.student).layers
        return layer_mapping(self.mapping, teacher_layers=source.layers, student_layers=student_layers)
