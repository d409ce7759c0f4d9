"""Ranges of activations from histograms: the rules of ONNX Runtime's calibrators, on arrays.

Histograms have bins of one width over -top..top, top being the largest magnitude: memory does not grow with the rows.
"""

from dataclasses import dataclass

import numpy as np

BINS = 2048
QUANTIZED_BINS = 128
"""As many levels as one sign of an 8-bit grid has."""
SMALLEST_SHARE = 1e-4


@dataclass(frozen=True)
class Histogram:
    """How often values of a tensor fell into each bin."""

    counts: np.ndarray
    """int64 [bins]."""
    top: float
    """Bins cover -top..top."""

    @property
    def edges(self) -> np.ndarray:
        """float64 [bins + 1]."""
        return np.linspace(-self.top, self.top, self.counts.size + 1)


def add_values(counts: np.ndarray, values: np.ndarray, *, top: float) -> None:
    """Count values into bins over -top..top, in place; what lies beyond counts into the outermost bins.

    A value on an edge between bins may count into either.

    Args:
        counts: int64 [bins].
        values: float32, any shape.
        top: Above 0.
    """
    places = values.ravel() * np.float32(counts.size / (2 * top))
    places += np.float32(counts.size / 2)
    np.clip(places, 0, counts.size - 1, out=places)
    counts += np.bincount(places.astype(np.int32), minlength=counts.size)


def percentile_range(histogram: Histogram, *, percentile: float) -> tuple[float, float]:
    """The range that leaves half of 100 - percentile of the values out on either side.

    ONNX Runtime's PercentileCalibrater with ``symmetric=False``.
    """
    cumulated = np.cumsum(histogram.counts / histogram.counts.sum())
    beyond = (100.0 - percentile) / 200.0
    left = np.searchsorted(cumulated, beyond)
    right = np.searchsorted(cumulated, 1.0 - beyond)
    return float(histogram.edges[left]), float(histogram.edges[right])


def entropy_range(histogram: Histogram, *, quantized_bins: int = QUANTIZED_BINS) -> tuple[float, float]:
    """The symmetric range whose quantized histogram tells least apart from the clipped one (Kullback-Leibler).

    ONNX Runtime's EntropyCalibrater, which follows Migacz, "8-bit inference with TensorRT", 2017; the same candidates,
    the same smoothing, the same roundings.
    """
    counts = histogram.counts
    center, half = counts.size // 2, quantized_bins // 2
    cumulated = np.concatenate([[0], np.cumsum(counts)])
    best, smallest = (0, counts.size), np.inf
    for reach in range(half, center + 1):
        start, end = center - reach, min(center + reach + 1, counts.size)
        distance = _clipping_distance(
            counts[start:end],
            below=int(cumulated[start]),
            above=int(cumulated[-1] - cumulated[end]),
            quantized_bins=quantized_bins,
        )
        if distance < smallest:
            best, smallest = (start, end), distance
    return float(histogram.edges[best[0]]), float(histogram.edges[best[1]])


def clipped_share(histogram: Histogram, *, low: float, high: float) -> float:
    """Share of the values that a grid over low..high cuts off, up to the width of a bin."""
    centers = (histogram.edges[:-1] + histogram.edges[1:]) / 2
    beyond = histogram.counts[(centers < low) | (centers > high)].sum()
    return float(beyond / max(1, histogram.counts.sum()))


def _clipping_distance(inside: np.ndarray, *, below: int, above: int, quantized_bins: int) -> float:
    """Divergence of a clipped histogram, outliers moved to its ends, from its quantized form.

    Args:
        inside: Counts within the candidate range.
        below: How many values lie under it.
        above: How many over it.
        quantized_bins: Levels of the grid.
    """
    reference = inside.copy()
    reference[0] += below
    reference[-1] += above
    merged = inside.size // quantized_bins
    whole = quantized_bins * merged
    sums = inside[:whole].reshape(quantized_bins, merged).sum(axis=1)
    sums[-1] += inside[whole:].sum()
    filled = (reference[:whole] != 0).reshape(quantized_bins, merged).sum(axis=1)
    levels = np.where(filled > 0, sums / np.maximum(filled, 1), 0).astype(np.int64)
    quantized = np.zeros_like(reference)
    quantized[:whole] = np.repeat(levels, merged)
    one, other = _smoothed(reference), _smoothed(quantized)
    if one is None or other is None:
        return np.inf
    one, other = one / one.sum(), other / other.sum()
    return float(np.sum(one * np.log(one / other)))


def _smoothed(counts: np.ndarray) -> np.ndarray | None:
    """Counts with a little taken off the filled bins and given to the empty ones; None where all are empty."""
    empty = (counts == 0).astype(np.float32)
    filled_count = counts.size - empty.sum()
    if not filled_count:
        return None
    taken = SMALLEST_SHARE * float(empty.sum()) / float(filled_count)
    return np.asarray(counts.astype(np.float32) + SMALLEST_SHARE * empty - taken * (1 - empty))
