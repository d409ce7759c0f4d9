"""Sums of squared errors in few passes over memory: distillation compares tensors that fit in no cache."""

from typing import Any

import torch
from torch import Tensor


def masked_squared_error(student: Tensor, teacher: Tensor, keep: Tensor) -> Tensor:
    """``sum (student - teacher)^2`` where `keep`, for each leading index, in fp32 whatever the inputs have.

    Written as one function with its own gradient, ``2 (student - teacher)`` where `keep`: automatic differentiation of
    the same formula reads and writes tensors of this size twice as often.

    Args:
        student: Any shape; the gradient goes to it alone.
        teacher: The same shape.
        keep: bool, broadcast against the trailing dimensions, which are those that are summed.

    Returns:
        [leading dimensions].
    """
    summed: Tensor = _MaskedSquaredError.apply(student, teacher, keep)  # type: ignore[no-untyped-call]
    return summed


class _MaskedSquaredError(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, keep: Tensor) -> Tensor:
        exact = torch.promote_types(student.dtype, torch.float32)
        difference = student.to(exact, copy=True).sub_(teacher)
        if keep.is_cuda or not bool(keep.all()):  # on a GPU asking costs more than filling, and waits
            difference.masked_fill_(~keep, 0.0)
        ctx.save_for_backward(difference)
        ctx.student_dtype, ctx.summed_dims = student.dtype, keep.dim()
        leading = difference.shape[: difference.dim() - keep.dim()]
        return torch.stack([torch.dot(row, row) for row in difference.reshape(leading.numel(), -1)]).reshape(leading)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (difference,) = ctx.saved_tensors
        scale = (2.0 * gradients[0]).reshape(*gradients[0].shape, *[1] * ctx.summed_dims)
        return (difference * scale).to(ctx.student_dtype), None, None
