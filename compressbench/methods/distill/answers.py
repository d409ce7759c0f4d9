"""The stage that learns answers: the teacher's soft labels, the task's own, and hidden states beside them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BertForSequenceClassification

from compressbench.methods.distill.recipes import BesideAnswers
from compressbench.methods.fitting import fit_terms, label_loss
from compressbench.methods.training_loop import LoopHook, StageSettings
from compressbench.numerics.distillation_losses import cosine_loss, logits_mse, patience_loss, soft_cross_entropy
from compressbench.prediction import EncodedRows


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

    def terms(rows: np.ndarray, inputs: Mapping[str, Tensor], answer: Any) -> dict[str, Tensor]:
        losses = answer_losses(answer.logits.float(), rows, targets, weights)
        if weights.learns_hidden_states and targets.hidden_of is not None:
            theirs = targets.hidden_of(rows)
            losses[weights.beside] = weights.beta * beside_loss(
                answer.hidden_states, theirs, mask=inputs["attention_mask"].bool(), beside=weights.beside
            )
        return losses

    budget = fit_terms(
        student,
        encoded,
        terms,
        settings=settings,
        with_hidden_states=weights.learns_hidden_states,
        hooks=hooks,
        kept=kept,
    )
    return budget["steps"]


def answer_losses(
    logits: Tensor, rows: np.ndarray, targets: AnswerTargets, weights: AnswerWeights
) -> dict[str, Tensor]:
    """The weighted losses of logits [rows, outputs] by name; regression takes squared errors for both."""
    losses: dict[str, Tensor] = {}
    if targets.teacher_logits is not None and weights.alpha > 0:
        theirs = torch.from_numpy(targets.teacher_logits[rows]).to(logits.device)
        if weights.is_regression:
            soft = logits_mse(logits, theirs)
        else:
            scale = weights.temperature**2 if weights.scales_soft_labels else 1.0
            soft = scale * soft_cross_entropy(logits, theirs, temperature=weights.temperature)
        losses["soft labels"] = weights.alpha * soft
    if targets.labels is not None and weights.alpha < 1:
        labels = torch.from_numpy(targets.labels[rows]).to(logits.device)
        losses["labels"] = (1 - weights.alpha) * label_loss(is_regression=weights.is_regression)(logits, labels)
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
