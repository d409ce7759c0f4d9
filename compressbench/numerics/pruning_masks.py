"""Global magnitude pruning: which weights stay (True), and keeping the others at zero. Pure tensor arithmetic."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from compressbench.errors import InvalidParameter


def global_magnitude_masks(
    weights: Mapping[str, Tensor], *, sparsity: float, within: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Masks that prune the smallest weights of all tensors together; True is kept.

    Exactly ``round(sparsity * total)`` weights are pruned. Among equal magnitudes those that come first are pruned
    first, so the masks of a higher sparsity lie within those of a lower one.

    Args:
        weights: Weights by name; the order of names is the order of ties.
        sparsity: Share of all weights to prune, 0 to 1.
        within: Masks made before; what they prune stays pruned, even where the weights have moved since.

    Raises:
        InvalidParameter: If `sparsity` is no share, a weight is NaN, or `within` already prunes more.
    """
    if not 0 <= sparsity <= 1:
        raise InvalidParameter(f"sparsity={sparsity} is no share: use a number from 0 to 1")
    magnitudes = _flat_magnitudes(weights)
    pruned_count = round(sparsity * len(magnitudes))
    if np.isnan(magnitudes).any():
        raise InvalidParameter("a weight is NaN: train with a lower learning rate before pruning")
    if within is not None:
        pruned_before = ~np.concatenate([within[name].numpy(force=True).ravel() for name in weights])
        if np.count_nonzero(pruned_before) > pruned_count:
            raise InvalidParameter(f"sparsity={sparsity} would revive weights: it may only grow")
        magnitudes[pruned_before] = -1.0  # below every magnitude, so they are pruned again
    kept = _largest(magnitudes, pruned_count=pruned_count)
    masks, start = {}, 0
    for name, weight in weights.items():
        part = torch.from_numpy(kept[start : start + weight.numel()])
        masks[name] = part.reshape(weight.shape).to(weight.device)
        start += weight.numel()
    return masks


def sparsity_at(epoch: int, *, final: float, ramp_epochs: int) -> float:
    """Share pruned in epoch 0, 1, ...: equal increments over `ramp_epochs`, the last of which reaches `final`."""
    step = min(epoch + 1, ramp_epochs)
    return final if step == ramp_epochs else final * step / ramp_epochs


def apply_masks(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Multiply weights by their masks (bool, or 0 and 1 in the weights' type, which is faster), in place."""
    with torch.no_grad():
        for name, mask in masks.items():
            weights[name].mul_(mask)


def mask_gradients(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Multiply gradients by the masks, in place: pruned weights count in no norm and no moment."""
    for name, mask in masks.items():
        gradient = weights[name].grad
        if gradient is not None:
            gradient.mul_(mask)


def bake_masks(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Make the pruned weights positive zeros, in place; a product leaves the sign, which costs compressed bytes."""
    with torch.no_grad():
        for name, mask in masks.items():
            weights[name].masked_fill_(~mask.to(weights[name].device), 0.0)


def count_pruned(masks: Mapping[str, Tensor]) -> int:
    """How many weights the masks prune."""
    return sum(mask.numel() - int(mask.count_nonzero()) for mask in masks.values())


def count_revived(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> int:
    """How many pruned weights are not zero (NaN is not)."""
    return sum(
        int(weights[name].detach()[~mask.to(weights[name].device)].count_nonzero()) for name, mask in masks.items()
    )


def _flat_magnitudes(weights: Mapping[str, Tensor]) -> np.ndarray:
    """All magnitudes in one fresh float32 buffer."""
    flat = np.empty(sum(weight.numel() for weight in weights.values()), dtype=np.float32)
    start = 0
    for weight in weights.values():
        end = start + weight.numel()
        np.abs(weight.detach().float().numpy(force=True).ravel(), out=flat[start:end])
        start = end
    return flat


def _largest(magnitudes: np.ndarray, *, pruned_count: int) -> np.ndarray:
    """True at all but the `pruned_count` smallest, the first of equals being the smaller."""
    if pruned_count == 0:
        return np.ones(len(magnitudes), dtype=bool)
    partitioned = magnitudes.copy()
    partitioned.partition(pruned_count - 1)
    threshold = partitioned[pruned_count - 1]
    kept: np.ndarray = magnitudes > threshold
    # Everything below the threshold is pruned; of those equal to it, as many as are wanting.
    ties = np.flatnonzero(magnitudes == threshold)
    wanting = pruned_count - int(np.count_nonzero(magnitudes < threshold))
    kept[ties[wanting:]] = True
    return kept
