"""What a classifier learns its rows by: the task's labels, or a teacher's answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from compressbench.artifacts.artifact import Artifact
from compressbench.errors import BadInput
from compressbench.memory import freed_memory_kept
from compressbench.methods.fitting import Loss, label_loss
from compressbench.methods.matmul_precision import fast_matmul
from compressbench.methods.method import Context
from compressbench.methods.training import autocast, to_tensors
from compressbench.models.loading import accepted_inputs, load_classifier
from compressbench.numerics.distillation_losses import logits_mse, soft_cross_entropy
from compressbench.prediction import encode_rows, predict
from compressbench.tasks.task import Rows

BATCH_SIZE = 128
KEPT = "answers"


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Targets by row, and the loss towards them."""

    values: np.ndarray
    """Class ids or real numbers [rows], or a teacher's logits [rows, outputs]."""
    loss: Loss
    kept: Mapping[str, Tensor] = field(default_factory=dict)
    """What a checkpoint holds, so that a training that goes on asks no teacher again."""


def targets_of(rows: Rows, context: Context, *, teacher: Artifact | None, precision: str) -> Targets:
    """The labels of `rows`, or the answers of `teacher` to them.

    Answers are learned as in TinyBERT's prediction stage: soft cross-entropy at temperature 1, or squared errors of
    the one output of a regression.

    Args:
        rows: Training rows.
        context: Task, device, threads, progress and the checkpoint that may hold the answers already.
        teacher: A classifier of the same task; None: the labels.
        precision: ``fp32``, or ``bf16`` for autocast while the teacher answers.

    Raises:
        BadInput: If labels are learned and there are none.
    """
    if teacher is None:
        if rows.labels is None:
            raise BadInput(f"the training rows of {context.task.name} have no labels: give rows with a label column")
        return Targets(values=rows.labels, loss=label_loss(is_regression=context.task.is_regression))
    snapshot = context.checkpoint.read()
    kept = snapshot.part("kept").get(KEPT) if snapshot else None
    answers = kept if kept is not None else torch.from_numpy(_answers(teacher, rows, context, precision=precision))
    loss = logits_mse if context.task.is_regression else soft_cross_entropy
    return Targets(values=answers.numpy(), loss=loss, kept={KEPT: answers})


def _answers(teacher: Artifact, rows: Rows, context: Context, *, precision: str) -> np.ndarray:
    """The teacher's logits, float32 [rows, outputs], without dropout."""
    torch.set_num_threads(context.threads)
    model = load_classifier(teacher.path).to(context.device)
    names = accepted_inputs(model)

    def forward(batch: Mapping[str, np.ndarray]) -> np.ndarray:
        inputs = to_tensors({name: batch[name] for name in names}, device=context.device)
        with torch.inference_mode(), autocast(device=context.device, precision=precision):
            logits: np.ndarray = model(**inputs).logits.float().cpu().numpy()
        return logits

    encoded = encode_rows(rows, tokenizer_path=teacher.tokenizer_path, max_length=context.task.max_length)
    with freed_memory_kept(), fast_matmul(device=context.device, precision=precision):
        return predict(
            forward,
            encoded,
            batch_size=BATCH_SIZE,
            progress=context.progress,
            name=f"answers of the teacher, {context.task.name}",
        )
