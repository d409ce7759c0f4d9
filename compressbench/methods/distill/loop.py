"""The two stages of task distillation: first the teacher's layers, then its answers."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from transformers import BertForSequenceClassification

from compressbench.errors import MethodFailed
from compressbench.methods.distill.attention_record import AttentionRecord, use_recording_attention
from compressbench.methods.distill.student import Projections
from compressbench.methods.distill.teacher_outputs import LayerOutputs, TeacherOutputs, WantedLayers
from compressbench.methods.fitting import fit_classifier
from compressbench.methods.training import (
    autocast,
    encoded_batches,
    linear_schedule,
    make_optimizer,
    steps_per_epoch,
)
from compressbench.numerics.distillation_losses import (
    attention_loss,
    embedding_loss,
    hidden_loss,
    logits_mse,
    soft_cross_entropy,
)
from compressbench.prediction import EncodedRows
from compressbench.progress import Progress

WEIGHT_DECAY = 0.01
WARMUP_FRACTION = 0.1


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weight of each loss of the intermediate stage; 0 switches it off."""

    embedding: float
    attention: float
    hidden: float


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """What both stages are told."""

    epochs: int
    batch_size: int
    learning_rate: float
    precision: str
    seed: int
    threads: int
    device: str
    progress: Progress
    name: str


def learn_layers(
    student: BertForSequenceClassification,
    projections: Projections,
    encoded: EncodedRows,
    outputs: TeacherOutputs,
    *,
    wanted: WantedLayers,
    weights: LossWeights,
    settings: StageSettings,
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

    Returns:
        The number of steps.

    Raises:
        MethodFailed: If the loss is no longer a number.
    """
    device = settings.device
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    total_steps = settings.epochs * steps_per_epoch(len(encoded), batch_size=settings.batch_size)
    use_recording_attention(student)
    student.to(device).train()
    projections.to(device)
    optimizer = make_optimizer(
        [student.bert, projections], learning_rate=settings.learning_rate, weight_decay=WEIGHT_DECAY, device=device
    )
    schedule = linear_schedule(optimizer, total_steps=total_steps, warmup_fraction=WARMUP_FRACTION)
    step = 0
    with settings.progress.stage(settings.name, total=total_steps) as advance:
        for _ in range(settings.epochs):
            for rows, inputs in encoded_batches(encoded, batch_size=settings.batch_size, rng=rng, device=device):
                target = outputs.layers_of(rows)
                with autocast(device=device, precision=settings.precision):
                    losses = layer_losses(student, projections, inputs, target, wanted=wanted)
                loss = total_loss(losses, weights)
                step += 1
                shown = float(loss.detach())
                if not np.isfinite(shown):
                    raise MethodFailed(
                        f"the distillation loss is {shown} at step {step}: "
                        f"use a learning_rate below {settings.learning_rate:g}, or precision=fp32"
                    )
                loss.backward()
                optimizer.step()
                schedule.step()
                optimizer.zero_grad(set_to_none=True)
                advance(note=f"loss {shown:.3f}")
    student.to("cpu").eval()
    return step


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


def total_loss(losses: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """``sum_m lambda_m L_layer`` (equation 6): the sum over layers, each kind with its weight."""
    return torch.stack([getattr(weights, name) * loss.sum() for name, loss in losses.items()]).sum()


def learn_answers(
    student: BertForSequenceClassification,
    encoded: EncodedRows,
    teacher_logits: np.ndarray,
    *,
    temperature: float,
    is_regression: bool,
    settings: StageSettings,
) -> int:
    """The prediction stage: soft cross entropy with the teacher's logits, or their squared error for regression.

    Returns:
        The number of steps.
    """
    budget = fit_classifier(
        student,
        encoded,
        teacher_logits,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=WEIGHT_DECAY,
        warmup_fraction=WARMUP_FRACTION,
        precision=settings.precision,
        seed=settings.seed,
        threads=settings.threads,
        device=settings.device,
        progress=settings.progress,
        stage_name=settings.name,
        loss=logits_mse if is_regression else partial(soft_cross_entropy, temperature=temperature),
    )
    return budget["steps"]
