"""The losses of distillation: tensors in, tensors out, each with its equation; padding never counts.

Everywhere `mask` is bool [batch, tokens], True for real tokens, and means run over real tokens (for attention: over
pairs of them) of the whole batch. Leading dimensions, shown as ``...``, are layers: a loss comes back for each, so
that a caller may weigh them (equation 6 of the paper sums them, lambda_m = 1).

Reference:
    Jiao et al. 2020, "TinyBERT: Distilling BERT for Natural Language Understanding", arXiv:1909.10351, but for
    `patience_loss` and `cosine_loss`, which name theirs.
"""

import torch
from torch import Tensor
from torch.nn import functional

from compressbench.numerics.squared_error import masked_squared_error

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
    return masked_squared_error(student, teacher, pairs[:, None]) / (student.shape[-3] * pairs.sum())


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


def patience_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """``L_PT = sum_j || h_j^S / ||h_j^S|| - h_I(j)^T / ||h_I(j)^T|| ||^2`` of the first token, BERT-PKD's patience.

    The formula sums over the width too. The authors' code takes the mean over rows and width instead, so that their
    beta of 10 to 1000 weighs it; this does as the code.

    Args:
        student: h^S, the first token's hidden states [..., rows, width].
        teacher: h^T of the mapped layers, same shape: the widths must agree, for nothing is projected.

    Returns:
        A loss per leading index, fp32, in [0, 4 / width].

    Reference:
        Sun et al. 2019, "Patient Knowledge Distillation for BERT Model Compression", arXiv:1908.09355, equation 7.
    """
    ours, theirs = (functional.normalize(each.float(), dim=-1) for each in (student, teacher))
    return (ours - theirs).square().mean(dim=(-2, -1))


def cosine_loss(student: Tensor, teacher: Tensor, *, mask: Tensor) -> Tensor:
    """``L_cos = 1 - cos(h^S, h^T)``, mean over real tokens: DistilBERT's alignment of directions.

    Args:
        student: h^S [..., batch, tokens, width].
        teacher: h^T, same shape.
        mask: Real tokens [batch, tokens].

    Returns:
        A loss per leading index, fp32, in [0, 2].

    Reference:
        Sanh et al. 2019, "DistilBERT, a distilled version of BERT", arXiv:1910.01108, section 3.
    """
    distances = 1.0 - functional.cosine_similarity(student.float(), teacher.float(), dim=-1)
    return distances.where(mask, 0.0).sum(dim=(-2, -1)) / mask.sum()


def _projected_mse(student: Tensor, teacher: Tensor, *, projection: Tensor, mask: Tensor) -> Tensor:
    projected = torch.matmul(student, projection)
    return masked_squared_error(projected, teacher, mask[..., None]) / (mask.sum() * teacher.shape[-1])
