"""General distillation at work: packed rows, a teacher that answers each batch, a student's folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import BertForSequenceClassification, BertModel, PreTrainedModel

from compressbench.artifacts.artifact import Artifact
from compressbench.corpus.row_file import PackedRows, shuffled_batches
from compressbench.errors import BadInput
from compressbench.methods.distill.frozen_teacher import FrozenTeacher, weighed_layers
from compressbench.methods.distill.loop import Lesson, LossWeights, follow_layers
from compressbench.methods.distill.packed_corpus import rows_path
from compressbench.methods.distill.student import Projections, fit_projections, new_student
from compressbench.methods.method import Context
from compressbench.methods.training import steps_per_epoch, to_tensors
from compressbench.methods.training_loop import stage_settings
from compressbench.models.geometry import Geometry
from compressbench.models.loading import load_encoder, save_classifier
from compressbench.numerics.layer_mapping import LayerMapping

if TYPE_CHECKING:
    from compressbench.methods.distill.general import GeneralDistill

PROJECTIONS = Path("projections") / "model.safetensors"
"""W_e and W_h beside the student, in a folder of their own so that `transformers` does not take them for weights."""


def distill_general(
    method: GeneralDistill,
    source: Artifact,
    context: Context,
    *,
    student: Geometry,
    mapping: LayerMapping,
    copied: tuple[int, ...],
) -> dict[str, int]:
    """Distil the pretrained teacher in `source` into an encoder in `context.to`; returns the budget it had.

    Each batch goes through the teacher when its turn comes: a corpus seen a few times is too large to keep its outputs.

    Raises:
        BadInput: If the teacher is no BERT.
    """
    torch.set_num_threads(context.threads)
    torch.manual_seed(method.seed)
    teacher = load_bert_encoder(source.path)
    rows = PackedRows.open(rows_path(context.ingredients["rows"]))
    model, projections = new_student(teacher, student, init=method.init, dropout=0.0, copied=copied)
    wanted = weighed_layers(method, mapping)
    frozen = FrozenTeacher(teacher, wanted=wanted, precision=method.precision, device=context.device)

    def lesson(indices: np.ndarray) -> Lesson:
        inputs = to_tensors(rows.batch(indices), device=context.device)
        return inputs, frozen.layers_of(inputs)

    settings = stage_settings(
        context,
        name="general distillation",
        epochs=method.epochs,
        batch_size=method.batch_size,
        learning_rate=method.learning_rate,
        precision=method.precision,
        loss_name="distillation",
    )
    steps = follow_layers(
        model,
        projections,
        lesson,
        batches=lambda rng: shuffled_batches(len(rows), batch_size=method.batch_size, rng=rng),
        steps_per_epoch=steps_per_epoch(len(rows), batch_size=method.batch_size),
        wanted=wanted,
        weights=LossWeights(
            embedding=method.embedding_weight, attention=method.attention_weight, hidden=method.hidden_weight
        ),
        settings=replace(settings, seed=method.seed),
    )
    model.set_attn_implementation("eager")
    save_classifier(model.bert, tokenizer_from=source.path, to=context.to)
    _save_projections(projections, context.to)
    return {"epochs": method.epochs, "steps": steps, "rows": len(rows)}


def start_from_general(
    student: BertForSequenceClassification, teacher: PreTrainedModel, projections: Projections, folder: Path
) -> None:
    """Begin as the general student in `folder`, with the maps it was trained with, or fitted to it if it has none.

    Raises:
        BadInput: If its weights are not the student's.
    """
    encoder = load_bert_encoder(folder)
    try:
        student.bert.load_state_dict(encoder.state_dict())
    except RuntimeError:
        raise BadInput(f"general_student={folder} holds other weights than a student of this geometry has") from None
    if (folder / PROJECTIONS).exists():
        kept = load_file(folder / PROJECTIONS)
        if {name: tensor.shape for name, tensor in kept.items()} == {
            name: tensor.shape for name, tensor in projections.state_dict().items()
        }:
            projections.load_state_dict(kept)
            return
    fit_projections(student, teacher, projections)


def load_bert_encoder(folder: Path) -> BertModel:
    """The encoder in `folder`, without any head.

    Raises:
        BadInput: If it is no BERT.
    """
    model = load_encoder(folder)
    if not isinstance(model, BertModel):
        raise BadInput(
            f"general distillation takes a model of type bert, and {folder} holds one of type {model.config.model_type}"
        )
    return model


def _save_projections(projections: Projections, folder: Path) -> None:
    (folder / PROJECTIONS).parent.mkdir()
    save_file(
        {name: tensor.cpu().contiguous() for name, tensor in projections.state_dict().items()}, folder / PROJECTIONS
    )
