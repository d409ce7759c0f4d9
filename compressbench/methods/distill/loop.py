"""The intermediate stage: the student learns the teacher's layers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from transformers import BertForSequenceClassification

from compressbench.methods.captured_step import Tensors, captured
from compressbench.methods.distill.attention_record import AttentionRecord, use_recording_attention
from compressbench.methods.distill.frozen_teacher import ATTENTION, HIDDEN
from compressbench.methods.distill.student import Projections
from compressbench.methods.distill.teacher_outputs import LayerOutputs, TeacherOutputs, WantedLayers
from compressbench.methods.training import autocast, make_optimizer, padded_batch, steps_per_epoch, training_batches
from compressbench.methods.training_loop import LoopHook, StageSettings, TrainingLoop
from compressbench.numerics.distillation_losses import (
    attention_loss,
    embedding_loss,
    hidden_loss,
)
from compressbench.prediction import EncodedRows

Lesson = tuple[dict[str, Tensor], LayerOutputs]
"""The student's inputs and the teacher's outputs for one batch."""


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weight of each loss of the intermediate stage; 0 switches it off."""

    embedding: float
    attention: float
    hidden: float
    layers: tuple[float, ...] | None = None
    """lambda_1, ..., lambda_M, for attention and hidden states of each student layer; None: all 1."""


def learn_layers(
    student: BertForSequenceClassification,
    projections: Projections,
    encoded: EncodedRows,
    outputs: TeacherOutputs,
    *,
    wanted: WantedLayers,
    weights: LossWeights,
    settings: StageSettings,
    hooks: Sequence[LoopHook] = (),
    kept: Mapping[str, Tensor] | None = None,
) -> int:
    """The intermediate stage: embeddings, attention and hidden states towards the teacher's mapped layers.

    Args:
        student: Trained in place.
        projections: Trained in place.
        encoded: The rows in the student's piece numbers, in the order of `outputs`.
        outputs: The teacher's side.
        wanted: What `outputs` gives.
        weights: Of the losses.
        settings: Of the stage.
        hooks: Act beside the optimizer.
        kept: Tensors that go into each checkpoint.

    Returns:
        The number of steps.

    Raises:
        MethodFailed: If the loss is no longer a number.
    """

    def lesson(rows: np.ndarray) -> Lesson:
        return padded_batch(encoded, rows, device=settings.device), outputs.layers_of(rows)

    return follow_layers(
        student,
        projections,
        lesson,
        reads_ahead=outputs.is_worth_reading_ahead,
        batches=lambda rng: training_batches(encoded.lengths, batch_size=settings.batch_size, rng=rng),
        steps_per_epoch=steps_per_epoch(len(encoded), batch_size=settings.batch_size),
        wanted=wanted,
        weights=weights,
        settings=settings,
        hooks=hooks,
        kept=kept,
    )


def follow_layers(
    student: BertForSequenceClassification,
    projections: Projections,
    lesson: Callable[[np.ndarray], Lesson],
    *,
    batches: Callable[[np.random.Generator], Iterable[np.ndarray]],
    steps_per_epoch: int,
    reads_ahead: Callable[[np.ndarray], bool] | None = None,
    wanted: WantedLayers,
    weights: LossWeights,
    settings: StageSettings,
    hooks: Sequence[LoopHook] = (),
    kept: Mapping[str, Tensor] | None = None,
) -> int:
    """Train `student` towards a teacher's layers, wherever rows and the teacher's outputs come from.

    Args:
        student: Trained in place.
        projections: Trained in place.
        lesson: The student's inputs and the teacher's outputs for the rows of one batch.
        batches: Draws one epoch of row indices.
        steps_per_epoch: How many batches that is.
        reads_ahead: Whether the lesson of a batch is got while the batch before is learned; None: never.
        wanted: What `lesson` gives of the teacher.
        weights: Of the losses.
        settings: Of the stage.
        hooks: Act beside the optimizer.
        kept: Tensors that go into each checkpoint.

    Returns:
        The number of steps.

    Raises:
        MethodFailed: If the loss is no longer a number.
    """
    device = settings.device
    use_recording_attention(student)
    student.to(device).train()
    projections.to(device)

    def prepare(rows: np.ndarray) -> np.ndarray | Lesson:
        return lesson(rows) if reads_ahead is not None and reads_ahead(rows) else rows

    compute = partial(
        layer_gradients, student, projections, wanted=wanted, weights=weights, precision=settings.precision
    )
    step = captured(compute, device=device)

    def gradients(prepared: np.ndarray | Lesson) -> Tensors:
        inputs, target = lesson(prepared) if isinstance(prepared, np.ndarray) else prepared
        return step(inputs | target.by_name())

    steps = TrainingLoop(
        settings=settings,
        modules={"student": student, "projections": projections},
        optimizer=make_optimizer(
            [student.bert, projections],
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            device=device,
        ),
        steps_per_epoch=steps_per_epoch,
        hooks=hooks,
        kept=kept or {},
    ).run(batches, gradients, prepare=None if reads_ahead is None else prepare)
    student.to("cpu").eval()
    return steps


def layer_gradients(
    student: BertForSequenceClassification,
    projections: Projections,
    batch: Tensors,
    *,
    wanted: WantedLayers,
    weights: LossWeights,
    precision: str,
) -> Tensors:
    """Forward and backward pass of one batch, whose gradients stay with the weights; gives the loss terms by name.

    Args:
        student: On the batch's device, like `projections`.
        projections: See `student`.
        batch: The student's inputs, and the teacher's outputs as `LayerOutputs.by_name` gives them.
        wanted: What of the teacher is in it.
        weights: Of the losses.
        precision: Of the student's pass.
    """
    inputs = {name: each for name, each in batch.items() if name not in (HIDDEN, ATTENTION)}
    with autocast(device=inputs["input_ids"].device.type, precision=precision):
        losses = layer_losses(student, projections, inputs, LayerOutputs.named_in(batch), wanted=wanted)
    terms = weighted_terms(losses, weights)
    torch.stack([*terms.values()]).sum().backward()
    return {name: term.detach() for name, term in terms.items()}


def layer_losses(
    student: BertForSequenceClassification,
    projections: Projections,
    inputs: dict[str, Tensor],
    target: LayerOutputs,
    *,
    wanted: WantedLayers,
) -> dict[str, Tensor]:
    """The losses of one batch by name, each a tensor with one entry per learned layer."""
    layers = range(student.config.num_hidden_layers)
    record = AttentionRecord(tuple(layers), target=wanted.attention_target) if wanted.attention else None
    answer = student.bert(**inputs, attention_record=record, output_hidden_states=True)
    mask = inputs["attention_mask"].bool()
    losses: dict[str, Tensor] = {}
    first_layer = 1 if wanted.hidden[:1] == (0,) else 0
    if target.hidden is not None and first_layer:
        losses["embedding"] = embedding_loss(
            answer.hidden_states[0], target.hidden[0], projection=projections.embedding, mask=mask
        )
    if target.hidden is not None and len(wanted.hidden) > first_layer:
        losses["hidden"] = hidden_loss(
            torch.stack(answer.hidden_states[1:]),
            target.hidden[first_layer:],
            projection=projections.hidden,
            mask=mask,
        )
    if target.attention is not None and record is not None:
        losses["attention"] = attention_loss(record.stacked(), target.attention, mask=mask)
    return losses


def weighted_terms(losses: dict[str, Tensor], weights: LossWeights) -> dict[str, Tensor]:
    """``sum_m lambda_m L_layer`` (equation 6): each kind's sum over layers with its weight; their sum is the loss."""
    terms = {}
    for name, loss in losses.items():
        if weights.layers is not None and name != "embedding":  # by number: a GPU's capture takes no new tensor
            total = torch.stack([weight * each for weight, each in zip(weights.layers, loss, strict=True)]).sum()
        else:
            total = loss.sum()
        terms[name] = getattr(weights, name) * total
    return terms
