"""Global pruning: which weights stay (True), and keeping the others at zero. Pure tensor arithmetic."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compressbench.errors import InvalidParameter

CHUNK = 1 << 18
"""Weights looked at together: 1 MiB."""
SAMPLE = 1 << 18
"""Weights, about, that the threshold is first guessed from."""


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
    count = round(sparsity * sum(weight.numel() for weight in weights.values()))
    if within is not None and count_pruned(within) > count:
        raise InvalidParameter(f"sparsity={sparsity} would revive weights: it may only grow")
    return global_masks(weights, count=count, within=within)


def global_masks(
    scores: Mapping[str, Tensor], *, count: int, within: Mapping[str, Tensor] | None = None, signed: bool = False
) -> dict[str, Tensor]:
    """Masks that prune the `count` lowest scores of all tensors together; True is kept. See `global_magnitude_masks`.

    Args:
        scores: Scores by name; weights themselves, for pruning by magnitude.
        count: How many are pruned, those of `within` included.
        within: Masks made before; what they prune stays pruned.
        signed: Whether a score below zero is lower than zero; else its absolute value counts.

    Raises:
        InvalidParameter: If a score is NaN, or `within` already prunes more.
    """
    if within is not None and count_pruned(within) > count:
        raise InvalidParameter(
            f"{count} pruned weights would revive some of {count_pruned(within)}: they may only grow"
        )
    ranking = _Ranking(scores, within, signed=signed)
    kept = torch.from_numpy(_all_but_smallest(ranking, count=count))
    sizes = [score.numel() for score in scores.values()]
    return {
        name: part.reshape(score.shape).to(score.device)
        for (name, score), part in zip(scores.items(), kept.split(sizes), strict=True)
    }


def with_floor(
    scores: Mapping[str, Tensor], *, floor: float, within: Mapping[str, Tensor] | None = None, signed: bool = False
) -> dict[str, Tensor]:
    """Scores whose highest ``floor * size`` of each tensor are infinite, for `global_masks` to empty none.

    One ranking of all weights takes most from the tensor with the smallest ones, whatever it does: a pooler that was
    drawn at random and hardly trained is gone before the encoder has lost its half.

    Args:
        scores: As for `global_masks`, like `within` and `signed`.
        floor: Share of each tensor that stays, rounded down to whole weights, 0 to 1.
        within: What it prunes is not raised.
        signed: See above.
    """
    raised = {}
    for name, score in scores.items():
        values = score.detach().float().numpy(force=True).flatten()
        ranked = values.copy() if signed else np.abs(values)
        if within is not None:
            ranked[~within[name].numpy(force=True).ravel()] = -np.inf
        going = len(ranked) - int(floor * len(ranked))
        if going < len(ranked):
            highest = np.argpartition(ranked, going)[going:]
            values[highest] = np.where(np.isneginf(ranked[highest]), values[highest], np.inf)
        raised[name] = torch.from_numpy(values).reshape(score.shape)
    return raised


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


@dataclass(frozen=True)
class _Ranking:
    """Scores of all weights in turn, magnitudes unless signed; below all others where `within` prunes already.

    They come in chunks that stay in the processor's cache: a buffer for 85 million of them takes longer to get from
    the system than everything that is done here with its contents.
    """

    scores: Mapping[str, Tensor]
    within: Mapping[str, Tensor] | None
    signed: bool

    @property
    def total(self) -> int:
        return sum(score.numel() for score in self.scores.values())

    def chunks(self, *, stride: int = 1) -> Iterator[np.ndarray]:
        """fp32, one-dimensional, each valid until the next; of every weight, or of every `stride`-th."""
        scratch = np.empty(CHUNK, dtype=np.float32)
        for name, score in self.scores.items():
            values = score.detach().float().numpy(force=True).ravel()[::stride]
            kept = None if self.within is None else self.within[name].numpy(force=True).ravel()[::stride]
            for start in range(0, len(values), CHUNK):
                part = values[start : start + CHUNK]
                chunk = scratch[: len(part)]
                if self.signed:
                    chunk[:] = part
                    if kept is not None:
                        chunk[~kept[start : start + CHUNK]] = -np.inf
                else:
                    np.abs(part, out=chunk)
                    if kept is not None:  # in arithmetic, for filling by a mask takes five times as long
                        chunk *= kept[start : start + CHUNK]
                        chunk -= ~kept[start : start + CHUNK]
                yield chunk


def _all_but_smallest(ranking: _Ranking, *, count: int) -> np.ndarray:
    """False at the `count` smallest, the first of equals being the smaller; True elsewhere."""
    if count == 0:
        return np.ones(ranking.total, dtype=bool)
    threshold, smaller = _order_statistic(ranking, place=count - 1)
    kept = np.empty(ranking.total, dtype=bool)
    start, wanting = 0, count - smaller
    for chunk in ranking.chunks():
        part = kept[start : start + len(chunk)]
        np.greater_equal(chunk, threshold, out=part)
        if wanting:
            ties = np.flatnonzero(chunk == threshold)[:wanting]
            part[ties] = False
            wanting -= len(ties)
        start += len(chunk)
    return kept


def _order_statistic(ranking: _Ranking, *, place: int) -> tuple[float, int]:
    """The value at `place` of the sorted magnitudes, and how many are smaller than it. Exact.

    A sample brackets the value, so that only those within the bracket are gathered and partitioned; where the sample
    misleads, all are. The bracket's ends are counted apart: they may be the zeros of half a model.

    Raises:
        InvalidParameter: If a weight is NaN; those cannot be ordered.
    """
    low, high = _bracket(ranking, place=place)
    below, at_low, between = 0, 0, []
    for chunk in ranking.chunks():
        if np.isnan(chunk.max()):  # the maximum is NaN if anything is
            raise InvalidParameter("a weight is NaN: train with a lower learning rate before pruning")
        below += int(np.count_nonzero(chunk < low))
        at_low += int(np.count_nonzero(chunk == low))
        between.append(chunk[(chunk > low) & (chunk < high)])
    candidates = np.concatenate(between)
    if below <= place < below + at_low:
        return low, below
    smaller = below + at_low
    if not smaller <= place < smaller + len(candidates):
        smaller, candidates = 0, np.concatenate([chunk.copy() for chunk in ranking.chunks()])
    candidates.partition(place - smaller)
    threshold = float(candidates[place - smaller])
    return threshold, smaller + int(np.count_nonzero(candidates < threshold))


def _bracket(ranking: _Ranking, *, place: int) -> tuple[float, float]:
    """Two values that the one at `place` very likely lies between: five standard errors of a sample to each side."""
    stride = max(1, ranking.total // SAMPLE)
    sample = np.sort(np.concatenate([chunk.copy() for chunk in ranking.chunks(stride=stride)]))
    centre, margin = place * len(sample) // ranking.total, 5 * math.isqrt(len(sample))
    low = float(sample[centre - margin]) if centre >= margin else -math.inf
    high = float(sample[centre + margin]) if centre + margin < len(sample) else math.inf
    return low, high
