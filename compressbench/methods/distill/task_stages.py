"""One task's distillation from a teacher's folder to a student's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import BertForSequenceClassification, PreTrainedModel

from compressbench.artifacts.artifact import Artifact
from compressbench.errors import BadInput
from compressbench.methods.augment.ingredient import AUGMENTED, augmented_rows
from compressbench.methods.dev_scores import watching
from compressbench.methods.distill.answers import AnswerTargets, AnswerWeights, learn_answers
from compressbench.methods.distill.attention_record import use_recording_attention
from compressbench.methods.distill.frozen_teacher import weighed_layers
from compressbench.methods.distill.general_stage import start_from_general
from compressbench.methods.distill.general_start import GENERAL, check_general_vocabulary, general_folder
from compressbench.methods.distill.loop import LossWeights, learn_layers
from compressbench.methods.distill.recipes import parse_layer_weights
from compressbench.methods.distill.student import Projections, new_student
from compressbench.methods.distill.teacher_outputs import GIB, TeacherOutputs, WantedLayers
from compressbench.methods.fit_savings import only_rows_in_use
from compressbench.methods.fitted import sampled_rows
from compressbench.methods.fitting import CLIP_NORM
from compressbench.methods.iterative_pruning import IterativePruning, linear_weights, pruning_plan
from compressbench.methods.method import Context
from compressbench.methods.training import steps_per_epoch
from compressbench.methods.training_loop import StageSettings, stage_settings
from compressbench.models.geometry import Geometry
from compressbench.models.loading import load_classifier, save_classifier
from compressbench.numerics.layer_mapping import LayerMapping
from compressbench.prediction import EncodedRows, encode_rows
from compressbench.tasks.task import Rows

if TYPE_CHECKING:
    from compressbench.methods.distill.method import Distill


def distill_task(
    method: Distill,
    source: Artifact,
    context: Context,
    *,
    student: Geometry,
    mapping: LayerMapping,
    copied: tuple[int, ...],
) -> dict[str, int]:
    """Distil the fine-tuned teacher in `source` into `context.to`; returns the budget that training had.

    Args:
        method: The parameters, none of them ``auto``.
        source: The teacher.
        context: Rows, seed, folder.
        student: The student's sizes.
        mapping: Which layers it learns.
        copied: Which teacher layers it begins as, if any.

    Raises:
        BadInput: If the teacher is no BERT, or labels are learned and the rows have none.
    """
    torch.set_num_threads(context.threads)
    torch.manual_seed(context.seed)
    teacher = load_bert(source)
    rows = rows_to_learn(method, context)
    encoded = encode_rows(rows, tokenizer_path=source.tokenizer_path, max_length=context.task.max_length)
    if rows.labels is None and float(method.alpha) < 1:
        raise BadInput(
            f"the training rows of {context.task.name} have no labels, and alpha={method.alpha} learns from them: "
            "give rows with a label column, or alpha=1"
        )
    model, projections = new_student(teacher, student, init=method.init, dropout=float(method.dropout), copied=copied)
    if method.beginning == GENERAL:
        folder = general_folder(method, context)
        check_general_vocabulary(folder, source.path)
        start_from_general(model, teacher, projections, folder)
    work = TaskDistillation(
        method=method,
        source=source,
        context=context,
        student=model,
        encoded=encoded,
        labels=rows.labels,
        wanted=wanted_layers(method, mapping),
        pruning=in_loop_pruning(method, model, row_count=len(encoded)),
        table=model.get_input_embeddings().weight.detach(),
    )
    budget = work.budget(prediction_steps=work.run(teacher, projections))
    if AUGMENTED in context.ingredients:
        budget["task_rows"] = int(context.ingredients[AUGMENTED].manifest.budget["task_rows"])
    for pruning in work.pruning:
        budget["pruned_weights"] = pruning.finish()
    model.set_attn_implementation("eager")
    save_classifier(model, tokenizer_from=source.path, to=context.to)
    return budget


@dataclass(frozen=True, kw_only=True)
class TaskDistillation:
    """The stages, and what an interruption between or within them must keep."""

    method: Distill
    source: Artifact
    context: Context
    student: BertForSequenceClassification
    encoded: EncodedRows
    labels: np.ndarray | None
    wanted: WantedLayers
    """What of the teacher's layers is learned, in whichever stage."""
    pruning: Sequence[IterativePruning]
    table: Tensor
    """The student's word embeddings, all of them; training sees those of pieces in use alone.

    A checkpoint keeps the others too, for another number of threads may compute another basis for them.
    """

    @property
    def weights(self) -> AnswerWeights:
        """Of what the prediction stage learns."""
        method = self.method
        return AnswerWeights(
            temperature=float(method.temperature),
            alpha=float(method.alpha),
            beta=float(method.beta),
            beside=method.rules.beside_answers,
            scales_soft_labels=method.rules.scales_soft_labels,
            is_regression=self.context.task.is_regression,
        )

    def run(self, teacher: PreTrainedModel, projections: Projections) -> int:
        """Every stage, or what an interruption left of them; returns the steps of the prediction stage."""
        logits, weights = self.resume(), self.weights
        if not self.wanted and weights.alpha == 0:
            return self.learn_answers(None)
        if logits is not None and not weights.learns_hidden_states:
            return self.learn_answers(logits)
        with self.outputs_of(teacher) as outputs:
            if self.learns_layers:
                self.learn_layers(outputs, projections)
            logits = torch.from_numpy(outputs.logits)
            if weights.learns_hidden_states:
                return self.learn_answers(logits, outputs)
        return self.learn_answers(logits)

    @property
    def learns_layers(self) -> bool:
        """Whether there is an intermediate stage."""
        return self.method.rules.learns_layers and bool(self.wanted)

    def resume(self) -> Tensor | None:
        """Take over what an interrupted training kept; gives the teacher's logits if it had come so far."""
        if self.learns_layers:
            use_recording_attention(self.student)
        snapshot = self.context.checkpoint.read()
        kept = snapshot.part("kept") if snapshot else {}
        self.table.copy_(kept.get("table", self.table))
        return kept.get("logits")

    @contextmanager
    def outputs_of(self, teacher: PreTrainedModel) -> Iterator[TeacherOutputs]:
        """The teacher's outputs for all rows."""
        with TeacherOutputs(
            teacher,
            self.encoded,
            wanted=self.wanted,
            budget_bytes=int(self.method.cache_gib * GIB),
            precision=self.method.precision,
            device=self.context.device,
        ) as outputs:
            outputs.compute(self.context.progress, name=f"distill {self.context.task.name}, teacher")
            yield outputs

    def learn_layers(self, outputs: TeacherOutputs, projections: Projections) -> None:
        """The intermediate stage."""
        method = self.method
        with only_rows_in_use(self.student, self.encoded) as numbered:
            learn_layers(
                self.student,
                projections,
                numbered,
                outputs,
                wanted=self.wanted,
                weights=LossWeights(
                    embedding=method.embedding_weight,
                    attention=method.attention_weight,
                    hidden=method.hidden_weight,
                    layers=parse_layer_weights(method.layer_weights),
                ),
                settings=self.settings("intermediate"),
                hooks=self.pruning,
                kept={"table": self.table},
            )

    def learn_answers(self, logits: Tensor | None, outputs: TeacherOutputs | None = None) -> int:
        """The prediction stage, if there is one; returns its steps.

        Dev scores are drawn whatever they cost beside this stage, for beside the teacher's pass it is little.
        """
        if self.method.prediction_epochs == 0:
            return 0
        settings = self.settings("prediction")
        watch = watching(self.student, self.encoded, self.source, self.context, settings, cost_share=1.0)
        return learn_answers(
            self.student,
            self.encoded,
            AnswerTargets(
                teacher_logits=None if logits is None else logits.numpy(),
                labels=self.labels,
                hidden_of=None if outputs is None else outputs.hidden_of,
            ),
            weights=self.weights,
            settings=settings,
            hooks=(*self.pruning, *watch),
            kept={"table": self.table} | ({} if logits is None else {"logits": logits}),
        )

    def settings(self, stage: Literal["intermediate", "prediction"]) -> StageSettings:
        """Of one of the stages."""
        method, is_intermediate = self.method, stage == "intermediate"
        return stage_settings(
            self.context,
            name=f"distill {self.context.task.name}, {stage}",
            epochs=int(method.intermediate_epochs if is_intermediate else method.prediction_epochs),
            batch_size=method.batch_size,
            learning_rate=float(method.learning_rate if is_intermediate else method.prediction_learning_rate),
            clip_norm=None if is_intermediate else CLIP_NORM,
            precision=method.precision,
            loss_name="distillation" if is_intermediate else "training",
        )

    def budget(self, prediction_steps: int) -> dict[str, int]:
        """What training had, whether in one go or in several."""
        epochs, row_count = int(self.method.intermediate_epochs), len(self.encoded)
        intermediate_steps = epochs * steps_per_epoch(row_count, batch_size=self.method.batch_size)
        if not self.method.rules.learns_layers:
            return {"epochs": int(self.method.prediction_epochs), "steps": prediction_steps, "rows": row_count}
        return {
            "intermediate_epochs": epochs,
            "prediction_epochs": int(self.method.prediction_epochs),
            "intermediate_steps": intermediate_steps,
            "prediction_steps": prediction_steps,
            "steps": intermediate_steps + prediction_steps,
            "rows": row_count,
        }


def in_loop_pruning(
    method: Distill, model: BertForSequenceClassification, *, row_count: int
) -> tuple[IterativePruning, ...]:
    """What prunes the student while it learns; nothing unless asked for."""
    if not method.prune_amount:
        return ()
    weights = linear_weights(model)
    plan = pruning_plan(
        weights,
        amount=method.prune_amount,
        ramp_epochs=min(method.prune_epochs, int(method.intermediate_epochs)),
        steps_per_epoch=steps_per_epoch(row_count, batch_size=method.batch_size),
    )
    return (IterativePruning(weights, plan),)


def rows_to_learn(method: Distill, context: Context) -> Rows:
    """The augmented rows where there are any, else the share of the training rows that was asked for."""
    made = context.ingredients.get(AUGMENTED)
    if made is not None:
        return augmented_rows(made, context.task)
    return sampled_rows(context.train, count=method.train_rows, seed=context.seed)


def load_bert(source: Artifact) -> PreTrainedModel:
    """The teacher, which must be a BERT: the student takes over its embeddings' layout and its positions.

    Raises:
        BadInput: If it is of another family.
    """
    teacher = load_classifier(source.path)
    if not isinstance(teacher, BertForSequenceClassification):
        raise BadInput(
            f"distill takes a teacher of type bert, and {source.path} holds one of type {teacher.config.model_type}: "
            "use a BERT teacher, or another method"
        )
    return teacher


def wanted_layers(method: Distill, mapping: LayerMapping) -> WantedLayers:
    """The teacher's outputs that losses with a weight need; none without an intermediate stage or its like."""
    beside = method.rules.beside_answers if method.beta else "nothing"
    if beside == "patience":  # the last layer is learned through the answers
        return WantedLayers(hidden=mapping.hidden[1:-1], attention=(), first_token_only=True)
    if beside == "cosine":
        return WantedLayers(hidden=(-1,), attention=())
    if not method.rules.learns_layers or method.intermediate_epochs == 0:
        return WantedLayers(hidden=(), attention=())
    return weighed_layers(method, mapping)
