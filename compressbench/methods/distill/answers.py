"""The stage that learns answers: the teacher's soft labels, the task's own, and hidden states beside them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BertForSequenceClassification

from compressbench.methods.captured_step import Tensors
from compressbench.methods.distill.recipes import BesideAnswers
from compressbench.methods.fitting import fit_terms, label_loss
from compressbench.methods.training import to_device
from compressbench.methods.training_loop import LoopHook, StageSettings
from compressbench.numerics.distillation_losses import cosine_loss, logits_mse, patience_loss, soft_cross_entropy
from compressbench.prediction import EncodedRows

TEACHER_LOGITS, TEACHER_STATES, LABELS = "teacher_logits", "teacher_states", "labels"
"""Names of what is learned in a batch."""


@dataclass(frozen=True, kw_only=True)
class AnswerWeights:
    """``(1 - alpha) CE(labels) + alpha t^k CE(z^T / t, z^S / t) + beta L_beside``; see `DistillationRecipe`."""

    temperature: float
    alpha: float
    beta: float
    beside: BesideAnswers
    scales_soft_labels: bool
    is_regression: bool

    @property
    def learns_hidden_states(self) -> bool:
        """Whether the teacher's hidden states are asked for."""
        return self.beside != "nothing" and self.beta > 0


@dataclass(frozen=True, kw_only=True)
class AnswerTargets:
    """What is learned, by row index; None where no weight asks for it."""

    teacher_logits: np.ndarray | None
    """[rows, outputs]."""
    labels: np.ndarray | None
    hidden_of: Callable[[np.ndarray], Tensor] | None = None
    """The teacher's hidden states of some rows, [states, rows, tokens, width]."""

    def of(self, rows: np.ndarray, *, device: str) -> Tensors:
        """What there is for `rows`, on `device`, by name."""
        known = {TEACHER_LOGITS: self.teacher_logits, LABELS: self.labels}
        found = {
            name: to_device(torch.from_numpy(each[rows]), device=device)
            for name, each in known.items()
            if each is not None
        }
        return found if self.hidden_of is None else found | {TEACHER_STATES: self.hidden_of(rows)}


def learn_answers(
    student: BertForSequenceClassification,
    encoded: EncodedRows,
    targets: AnswerTargets,
    *,
    weights: AnswerWeights,
    settings: StageSettings,
    hooks: Sequence[LoopHook] = (),
    kept: Mapping[str, Tensor] | None = None,
) -> int:
    """The prediction stage, which for every recipe but TinyBERT's is the only one.

    Args:
        student: Trained in place.
        encoded: The rows.
        targets: In the order of `encoded`.
        weights: Of what is learned.
        settings: Of the stage.
        hooks: Act beside the optimizer.
        kept: Tensors that go into each checkpoint.

    Returns:
        The number of steps.

    Raises:
        MethodFailed: If the loss is no longer a number.
    """

    def terms(batch: Tensors, answer: Any) -> Tensors:
        losses = answer_losses(answer.logits.float(), batch, weights)
        if weights.learns_hidden_states and TEACHER_STATES in batch:
            losses[weights.beside] = weights.beta * beside_loss(
                answer.hidden_states,
                batch[TEACHER_STATES],
                mask=batch["attention_mask"].bool(),
                beside=weights.beside,
            )
        return losses

    budget = fit_terms(
        student,
        encoded,
        lambda rows: targets.of(rows, device=settings.device),
        terms,
        settings=settings,
        with_hidden_states=weights.learns_hidden_states,
        hooks=hooks,
        kept=kept,
    )
    return budget["steps"]


def answer_losses(logits: Tensor, targets: Mapping[str, Tensor], weights: AnswerWeights) -> Tensors:
    """The weighted losses of logits [rows, outputs] by name; regression takes squared errors for both.

    Args:
        logits: The student's.
        targets: What `AnswerTargets.of` gives of the same rows.
        weights: Of what is learned.
    """
    losses: Tensors = {}
    if TEACHER_LOGITS in targets and weights.alpha > 0:
        theirs = targets[TEACHER_LOGITS]
        if weights.is_regression:
            soft = logits_mse(logits, theirs)
        else:
            scale = weights.temperature**2 if weights.scales_soft_labels else 1.0
            soft = scale * soft_cross_entropy(logits, theirs, temperature=weights.temperature)
        losses["soft labels"] = weights.alpha * soft
    if LABELS in targets and weights.alpha < 1:
        hard = label_loss(is_regression=weights.is_regression)(logits, targets[LABELS])
        losses["labels"] = (1 - weights.alpha) * hard
    return losses


def beside_loss(states: Sequence[Tensor], teacher: Tensor, *, mask: Tensor, beside: BesideAnswers) -> Tensor:
    """What is learned of hidden states: the mean over layers of patience, or the last state's cosine.

    Args:
        states: The student's: embeddings first, then each layer's, [rows, tokens, width] each.
        teacher: The teacher's, [states, rows, tokens, width], in the student's order; for patience the first token.
        mask: Real tokens [rows, tokens].
        beside: ``patience`` learns all layers but the last, for that one is learned through the answers; ``cosine``
            the last one.
    """
    if beside == "cosine":
        return cosine_loss(states[-1], teacher[-1], mask=mask)
    ours = torch.stack([state[:, 0] for state in states[1:-1]])
    return patience_loss(ours, teacher[:, :, 0]).mean()
