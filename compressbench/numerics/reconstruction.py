"""One-shot pruning of a matrix so that its products stay: the weights that are left make up for those that go."""

import torch
from torch import Tensor

from compressbench.numerics.pruning_masks import global_masks

BLOCK = 128
"""Columns whose mask is chosen together, and whose updates of later columns are put off till all are done."""
REFINEMENTS = 20
"""Steps of conjugate gradients once the mask is there."""


def share_counts(sizes: list[int], *, amount: float) -> list[int]:
    """How many weights of each matrix are pruned: `amount` of each, and of all together to one weight."""
    ends = [round(amount * sum(sizes[: place + 1])) for place in range(len(sizes))]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def prune_and_reconstruct(
    weight: Tensor, gram: Tensor, *, count: int, damping: float = 0.01, block: int = BLOCK
) -> tuple[Tensor, Tensor]:
    """Prune a Linear layer's weights and solve for the others: ``min ||W X - W' X||^2 + d ||W - W'||^2``.

    The weights with the lowest ``w^2 / [U_jj]^2`` of a block of columns go, with ``U`` the upper Cholesky factor of
    ``(X X^T + d I)^-1``; what a pruned weight contributed is moved to the columns on its right. Those on its left stay
    as they are there, the price of one factor for all rows of the matrix; with the mask found, conjugate gradients
    move all weights that are left to where the sum is smallest.

    Args:
        weight: [outputs, inputs]; left as it is.
        gram: ``X X^T`` of the layer's inputs over calibration tokens, [inputs, inputs], up to a factor above zero.
        count: How many weights are pruned, spread evenly over the blocks.
        damping: Of ``d``, relative to the mean of the diagonal.
        block: Columns a block.

    Returns:
        The new weights, zero where pruned, and the mask; True is kept.

    Raises:
        InvalidParameter: If a weight is NaN.

    Reference:
        Frantar and Alistarh 2023, "SparseGPT", arXiv:2301.00774, algorithm 1; the last step is ours.
    """
    work, kept = weight.detach().float().clone(), torch.ones_like(weight, dtype=torch.bool)
    damped = _damped(gram.float(), damping=damping)
    factor, columns = _inverse_factor(damped), weight.shape[1]
    for start in range(0, columns, block):
        end = min(start + block, columns)
        quota = round(count * end / columns) - round(count * start / columns)
        own, part = factor[start:end, start:end], work[:, start:end].clone()
        scores = {"scores": (part / own.diagonal()).square()}
        mask = global_masks(scores, count=quota)["scores"]
        errors = torch.empty_like(part)
        for column in range(end - start):
            errors[:, column] = part[:, column] * ~mask[:, column] / own[column, column]
            part[:, column:] -= errors[:, column, None] * own[column, column:]
        work[:, start:end] = part.masked_fill_(~mask, 0.0)
        work[:, end:] -= errors @ factor[start:end, end:]
        kept[:, start:end] = mask
    _refine(work, weight.detach().float(), kept, damped)
    return work.to(weight.dtype), kept


def _refine(work: Tensor, weight: Tensor, kept: Tensor, damped: Tensor) -> None:
    """Move `work` towards the least squares solution on its mask, in place: each row by itself, all rows at once."""
    tiny, diagonal = torch.finfo(work.dtype).tiny, damped.diagonal()
    residual = ((weight - work) @ damped) * kept
    direction = residual / diagonal
    size = (residual * direction).sum(1)
    for _ in range(REFINEMENTS):
        image = (direction @ damped) * kept
        step = size / (direction * image).sum(1).clamp_min(tiny)
        work += step[:, None] * direction
        residual -= step[:, None] * image
        scaled, before = residual / diagonal, size
        size = (residual * scaled).sum(1)
        direction = scaled + (size / before.clamp_min(tiny))[:, None] * direction


def _damped(gram: Tensor, *, damping: float) -> Tensor:
    """The Gram matrix with a larger diagonal; an input that is zero in all rows is independent of the others."""
    damped = gram.clone()
    diagonal = damped.diagonal()
    diagonal += torch.where(diagonal == 0, 1.0, 0.0)
    diagonal += damping * diagonal.mean()
    return damped


def _inverse_factor(damped: Tensor) -> Tensor:
    """Upper Cholesky factor of the inverse."""
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor
