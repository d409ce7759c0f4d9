"""One task's distillation from a teacher's folder to a student's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import BertForSequenceClassification, PreTrainedModel

from compressbench.artifacts.artifact import Artifact
from compressbench.errors import BadInput
from compressbench.methods.augment.ingredient import AUGMENTED, augmented_rows
from compressbench.methods.distill.frozen_teacher import weighed_layers
from compressbench.methods.distill.general_stage import start_from_general
from compressbench.methods.distill.general_start import GENERAL, check_general_vocabulary, general_folder
from compressbench.methods.distill.student import new_student
from compressbench.methods.distill.task_stages import TaskDistillation
from compressbench.methods.distill.teacher_outputs import WantedLayers
from compressbench.methods.fitted import sampled_rows
from compressbench.methods.iterative_pruning import IterativePruning, linear_weights, pruning_plan
from compressbench.methods.method import Context
from compressbench.methods.training import steps_per_epoch
from compressbench.models.geometry import Geometry
from compressbench.models.loading import load_classifier, save_classifier
from compressbench.numerics.layer_mapping import LayerMapping
from compressbench.prediction import encode_rows
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
