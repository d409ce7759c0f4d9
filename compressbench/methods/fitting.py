"""The training on targets that fine-tuning, pruning and distillation's prediction stage share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from compressbench.methods.captured_step import Tensors, captured
from compressbench.methods.fit_savings import only_rows_in_use, plain_attention
from compressbench.methods.training import (
    autocast,
    make_optimizer,
    padded_batch,
    steps_per_epoch,
    to_device,
    training_batches,
)
from compressbench.methods.training_loop import LoopHook, StageSettings, TrainingLoop
from compressbench.models.loading import accepted_inputs
from compressbench.prediction import EncodedRows

Loss = Callable[[Tensor, Tensor], Tensor]
"""fp32 logits [batch, outputs] and the batch's labels to a scalar."""
Targets = Callable[[np.ndarray], Tensors]
"""Row indices to what is learned of them, by names that no input of a model has."""
LossTerms = Callable[[Tensors, Any], Tensors]
"""The model's inputs and the targets of a batch, and the model's answer, to named scalars, which add up to the loss."""
CLIP_NORM = 1.0


def fit_classifier(
    model: PreTrainedModel,
    encoded: EncodedRows,
    labels: np.ndarray,
    *,
    settings: StageSettings,
    loss: Loss,
    hooks: Sequence[LoopHook] = (),
    kept: Mapping[str, Tensor] | None = None,
) -> dict[str, int]:
    """Train `model` in place; the same settings give the same weights. It returns on the CPU, in eval mode.

    Args:
        model: A classifier.
        encoded: Training rows.
        labels: One a row: class ids, real numbers, or whatever rows of targets `loss` takes.
        settings: Of the stage.
        loss: What is made small.
        hooks: Act beside the optimizer.
        kept: Tensors that go into each checkpoint.

    Returns:
        Epochs, steps and rows.

    Raises:
        MethodFailed: If the loss is no longer a number.
    """

    def targets(indices: np.ndarray) -> Tensors:
        return {"labels": to_device(torch.from_numpy(labels[indices]), device=settings.device)}

    def terms(batch: Tensors, answer: Any) -> Tensors:
        return {"loss": loss(answer.logits.float(), batch["labels"])}

    return fit_terms(model, encoded, targets, terms, settings=settings, hooks=hooks, kept=kept)


def fit_terms(
    model: PreTrainedModel,
    encoded: EncodedRows,
    targets: Targets,
    terms: LossTerms,
    *,
    settings: StageSettings,
    with_hidden_states: bool = False,
    hooks: Sequence[LoopHook] = (),
    kept: Mapping[str, Tensor] | None = None,
) -> dict[str, int]:
    """As `fit_classifier`, towards a loss of several terms that may look at the model's hidden states too.

    Args:
        model: A classifier.
        encoded: Training rows.
        targets: Of a batch's rows.
        terms: Of the loss.
        settings: Of the stage.
        with_hidden_states: Whether the answer that `terms` gets has hidden states.
        hooks: Act beside the optimizer.
        kept: Tensors that go into each checkpoint.
    """
    device = settings.device
    extra = {"output_hidden_states": True} if with_hidden_states else {}
    inputs_taken = accepted_inputs(model)
    with only_rows_in_use(model, encoded) as numbered, plain_attention(model, encoded, device=device):
        model.to(device).train()

        def compute(batch: Tensors) -> Tensors:
            with autocast(device=device, precision=settings.precision):
                answer = model(**{name: batch[name] for name in inputs_taken}, **extra)
            values = terms(batch, answer)
            torch.stack([*values.values()]).sum().backward()
            return {name: value.detach() for name, value in values.items()}

        step = captured(compute, device=device)

        def gradients(indices: np.ndarray) -> Tensors:
            return step(padded_batch(numbered, indices, device=device) | targets(indices))

        steps = TrainingLoop(
            settings=settings,
            modules={"model": model},
            optimizer=make_optimizer(
                [model], learning_rate=settings.learning_rate, weight_decay=settings.weight_decay, device=device
            ),
            steps_per_epoch=steps_per_epoch(len(encoded), batch_size=settings.batch_size),
            hooks=hooks,
            kept=kept or {},
        ).run(lambda rng: training_batches(encoded.lengths, batch_size=settings.batch_size, rng=rng), gradients)
        model.to("cpu").eval()
    return {"epochs": settings.epochs, "steps": steps, "rows": len(encoded)}


def label_loss(*, is_regression: bool) -> Loss:
    """What labels are learned by: cross entropy for classes, the squared error for numbers."""
    return squared_error if is_regression else functional.cross_entropy


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean squared error of the one output of a regression model."""
    return functional.mse_loss(logits.squeeze(-1), labels.float())
