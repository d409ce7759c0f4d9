"""TinyBERT's losses: tensors in, tensors out, each with its equation; padding never counts.

Everywhere `mask` is bool [batch, tokens], True for real tokens, and means run over real tokens (for attention: over
pairs of them) of the whole batch. Leading dimensions, shown as ``...``, are layers: a loss comes back for each, so
that a caller may weigh them (equation 6 of the paper sums them, lambda_m = 1).

Reference:
    Jiao et al. 2020, "TinyBERT: Distilling BERT for Natural Language Understanding", arXiv:1909.10351.
"""

import torch
from torch import Tensor
from torch.nn import functional

MASKED_SCORE = -1e2
"""The reference code takes an attention score this low for a masked one and compares it as zero."""


def embedding_loss(student: Tensor, teacher: Tensor, *, projection: Tensor, mask: Tensor) -> Tensor:
    """``L_embd = MSE(E^S W_e, E^T)``.

    Args:
        student: E^S, the student's embeddings [..., batch, tokens, student width].
        teacher: E^T [..., batch, tokens, teacher width].
        projection: W_e [student width, teacher width].
        mask: Real tokens [batch, tokens].

    Returns:
        A loss per leading index, fp32.
    """
    return _projected_mse(student, teacher, projection=projection, mask=mask)


def hidden_loss(student: Tensor, teacher: Tensor, *, projection: Tensor, mask: Tensor) -> Tensor:
    """``L_hidn = MSE(H^S W_h, H^T)``, for each of the layers stacked in the leading dimension.

    Args:
        student: H^S [..., batch, tokens, student width].
        teacher: H^T of the mapped layers [..., batch, tokens, teacher width].
        projection: W_h [student width, teacher width], one map for all layers as in the reference code.
        mask: Real tokens [batch, tokens].

    Returns:
        A loss per leading index, fp32.
    """
    return _projected_mse(student, teacher, projection=projection, mask=mask)


def attention_loss(student: Tensor, teacher: Tensor, *, mask: Tensor) -> Tensor:
    """``L_attn = 1/h sum_i MSE(A_i^S, A_i^T)`` over the h heads.

    The paper's formula leaves open what A is; its text and the reference code take the scores *before* the softmax
    (pass them through `cleared_scores`). Attention probabilities may be given instead.

    Args:
        student: A^S [..., batch, heads, tokens, tokens].
        teacher: A^T of the mapped layers, same shape.
        mask: Real tokens [batch, tokens].

    Returns:
        A loss per leading index, fp32.
    """
    pairs = mask[:, :, None] & mask[:, None, :]
    errors = (student.float() - teacher.float()).square().mean(dim=-3)
    return errors.where(pairs, 0.0).sum(dim=(-3, -2, -1)) / pairs.sum()


def cleared_scores(scores: Tensor) -> Tensor:
    """Scores of -100 or less as zero, as in the reference code, which so disarms its mask of -10000."""
    return scores.masked_fill(scores <= MASKED_SCORE, 0.0)


def soft_cross_entropy(student: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """``L_pred = CE(z^T / t, z^S / t) = -sum_c softmax(z^T / t)_c log softmax(z^S / t)_c``, mean over rows.

    The reference code divides by the number of classes too; the formula does not, and neither do we. There is no
    factor t^2 either: the gradient shrinks as t grows, as the formula has it.

    Args:
        student: z^S, logits [rows, classes].
        teacher: z^T, same shape.
        temperature: t, above zero.

    Returns:
        A scalar, fp32.
    """
    target = functional.softmax(teacher.float() / temperature, dim=-1)
    return -(target * functional.log_softmax(student.float() / temperature, dim=-1)).sum(dim=-1).mean()


def logits_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """``MSE(z^S, z^T)`` for regression, which has no classes to soften; shapes [rows, outputs].

    The reference code trains STS-B's prediction stage on the gold labels instead.
    """
    return functional.mse_loss(student.float(), teacher.float())


def _projected_mse(student: Tensor, teacher: Tensor, *, projection: Tensor, mask: Tensor) -> Tensor:
    """Squared errors summed over the width first, so that the mask meets a small tensor."""
    errors = (torch.matmul(student, projection).float() - teacher).square().sum(dim=-1)
    return errors.where(mask, 0.0).sum(dim=(-2, -1)) / (mask.sum() * teacher.shape[-1])
