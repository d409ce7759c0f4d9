"""The training loop that fine-tuning and pruning share."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from compressbench.errors import MethodFailed
from compressbench.methods.fit_savings import only_rows_in_use, plain_attention
from compressbench.methods.training import (
    autocast,
    encoded_batches,
    linear_schedule,
    make_optimizer,
    steps_per_epoch,
)
from compressbench.models.loading import accepted_inputs
from compressbench.prediction import EncodedRows
from compressbench.progress import Progress

Loss = Callable[[Tensor, Tensor], Tensor]
"""fp32 logits [batch, outputs] and the batch's labels to a scalar."""
CLIP_NORM = 1.0


def fit_classifier(
    model: PreTrainedModel,
    encoded: EncodedRows,
    labels: np.ndarray,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    warmup_fraction: float,
    precision: str,
    seed: int,
    threads: int,
    device: str,
    progress: Progress,
    stage_name: str,
    is_regression: bool = False,
    loss: Loss | None = None,
    on_epoch_start: Callable[[int], None] | None = None,
    before_step: Callable[[], None] | None = None,
    after_step: Callable[[], None] | None = None,
) -> dict[str, int]:
    """Train `model` in place; the same seed and threads give the same weights. It returns on the CPU, in eval mode.

    Args:
        model: A classifier.
        encoded: Training rows.
        labels: One a row: class ids, real numbers, or whatever rows of targets `loss` takes.
        epochs: Passes over the rows.
        batch_size: Rows a step.
        learning_rate: Highest, reached after warm-up.
        weight_decay: Of AdamW; biases and LayerNorms are not decayed.
        warmup_fraction: Share of the steps over which the learning rate rises.
        precision: ``fp32``, or ``bf16`` for autocast.
        seed: Of the order of rows and of dropout.
        threads: That torch may use.
        device: ``cpu`` or ``cuda``.
        progress: Told of every step.
        stage_name: What it is called there.
        is_regression: Whether the default loss is the squared error.
        loss: Takes the place of cross entropy or squared error.
        on_epoch_start: Called with 0, 1, ... before each epoch.
        before_step: Called when gradients are there, not yet clipped.
        after_step: Called when the weights have moved.

    Raises:
        MethodFailed: If the loss is no longer a number.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    total_steps = epochs * steps_per_epoch(len(encoded), batch_size=batch_size)
    with only_rows_in_use(model, encoded) as numbered, plain_attention(model, encoded, device=device):
        model.to(device).train()
        optimizer = make_optimizer([model], learning_rate=learning_rate, weight_decay=weight_decay, device=device)
        schedule = linear_schedule(optimizer, total_steps=total_steps, warmup_fraction=warmup_fraction)
        measure = loss or (squared_error if is_regression else functional.cross_entropy)
        inputs_taken = accepted_inputs(model)
        step = 0
        with progress.stage(stage_name, total=total_steps) as advance:
            for epoch in range(epochs):
                _call(on_epoch_start, epoch)
                for indices, batch in encoded_batches(numbered, batch_size=batch_size, rng=rng, device=device):
                    with autocast(device=device, precision=precision):
                        logits = model(**{name: batch[name] for name in inputs_taken}).logits
                    value = measure(logits.float(), torch.from_numpy(labels[indices]).to(device))
                    step += 1
                    shown = _finite(value, step=step, learning_rate=learning_rate)
                    value.backward()
                    _call(before_step)
                    nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
                    optimizer.step()
                    schedule.step()
                    optimizer.zero_grad(set_to_none=True)
                    _call(after_step)
                    advance(note=f"loss {shown:.3f}")
        model.to("cpu").eval()
    return {"epochs": epochs, "steps": step, "rows": len(encoded)}


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean squared error of the one output of a regression model."""
    return functional.mse_loss(logits.squeeze(-1), labels.float())


def _finite(value: Tensor, *, step: int, learning_rate: float) -> float:
    number = float(value.detach())
    if not np.isfinite(number):
        raise MethodFailed(
            f"the training loss is {number} at step {step}: "
            f"use a learning_rate below {learning_rate:g}, or precision=fp32"
        )
    return number


def _call(hook: Callable[..., None] | None, *arguments: int) -> None:
    if hook is not None:
        hook(*arguments)
