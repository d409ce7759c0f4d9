"""One task's distillation from a teacher's folder to a student's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import BertForSequenceClassification, PreTrainedModel

from compressbench.artifacts.artifact import Artifact
from compressbench.errors import BadInput
from compressbench.methods.distill.loop import LossWeights, learn_answers, learn_layers
from compressbench.methods.distill.student import copied_layers, new_student
from compressbench.methods.distill.teacher_outputs import GIB, TeacherOutputs, WantedLayers
from compressbench.methods.fit_savings import only_rows_in_use
from compressbench.methods.fitted import sampled_rows
from compressbench.methods.fitting import CLIP_NORM
from compressbench.methods.method import Context
from compressbench.methods.training_loop import StageSettings, stage_settings
from compressbench.models.geometry import Geometry
from compressbench.models.loading import load_classifier, save_classifier
from compressbench.numerics.layer_mapping import LayerMapping
from compressbench.prediction import encode_rows

if TYPE_CHECKING:
    from compressbench.methods.distill.method import Distill


def distill_task(
    method: Distill, source: Artifact, context: Context, *, student: Geometry, mapping: LayerMapping
) -> dict[str, int]:
    """Distil the fine-tuned teacher in `source` into `context.to`; returns the budget that training had.

    Args:
        method: The parameters, none of them ``auto``.
        source: The teacher.
        context: Rows, seed, folder.
        student: The student's sizes.
        mapping: Which layers it learns.

    Raises:
        BadInput: If the teacher is no BERT.
    """
    torch.set_num_threads(context.threads)
    torch.manual_seed(context.seed)
    teacher = load_bert(source)
    rows = sampled_rows(context.train, count=method.train_rows, seed=context.seed)
    encoded = encode_rows(rows, tokenizer_path=source.tokenizer_path, max_length=context.task.max_length)
    model, projections = new_student(
        teacher, student, init=method.init, dropout=method.dropout, copied=copied_layers(method.init, mapping)
    )
    wanted = wanted_layers(method, mapping)
    intermediate_steps = 0
    with TeacherOutputs(
        teacher,
        encoded,
        wanted=wanted,
        budget_bytes=int(method.cache_gib * GIB),
        precision=method.precision,
        device=context.device,
    ) as outputs:
        outputs.compute(context.progress, name=f"distill {context.task.name}, teacher")
        with only_rows_in_use(model, encoded) as numbered:
            if wanted:
                intermediate_steps = learn_layers(
                    model,
                    projections,
                    numbered,
                    outputs,
                    wanted=wanted,
                    weights=LossWeights(
                        embedding=method.embedding_weight,
                        attention=method.attention_weight,
                        hidden=method.hidden_weight,
                    ),
                    settings=_settings(method, context, stage="intermediate"),
                )
            prediction_steps = learn_answers(
                model,
                numbered,
                outputs.logits,
                temperature=method.temperature,
                is_regression=context.task.is_regression,
                settings=_settings(method, context, stage="prediction"),
            )
    model.set_attn_implementation("eager")
    save_classifier(model, tokenizer_from=source.path, to=context.to)
    return {
        "intermediate_epochs": int(method.intermediate_epochs),
        "prediction_epochs": int(method.prediction_epochs),
        "intermediate_steps": intermediate_steps,
        "prediction_steps": prediction_steps,
        "steps": intermediate_steps + prediction_steps,
        "rows": len(rows),
    }


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
    """The teacher's outputs that losses with a weight need; none without an intermediate stage."""
    if method.intermediate_epochs == 0:
        return WantedLayers(hidden=(), attention=())
    embeddings, *layers = mapping.hidden
    return WantedLayers(
        hidden=(*([embeddings] if method.embedding_weight else []), *(layers if method.hidden_weight else [])),
        attention=mapping.attention if method.attention_weight else (),
        attention_target=method.attention_target,
    )


def _settings(method: Distill, context: Context, *, stage: str) -> StageSettings:
    is_intermediate = stage == "intermediate"
    return stage_settings(
        context,
        name=f"distill {context.task.name}, {stage}",
        epochs=int(method.intermediate_epochs if is_intermediate else method.prediction_epochs),
        batch_size=method.batch_size,
        learning_rate=float(method.learning_rate if is_intermediate else method.prediction_learning_rate),
        clip_norm=None if is_intermediate else CLIP_NORM,
        precision=method.precision,
        loss_name="distillation" if is_intermediate else "training",
    )
