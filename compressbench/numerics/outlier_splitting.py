"""Outlier channels taken apart: what they exceed a narrower grid by goes into columns of their own.

After Zhao et al. 2019, "Improving Neural Network Quantization without Retraining using Outlier Channel Splitting",
arXiv:1901.09504, which divides a channel into equal parts. Here the grid's own saturation keeps the first part, and
what is beyond it fills further pieces one after the other, so that a channel which seldom stands out leaves them at
zero and adds no rounding error:

    x = clip(x, low, high) + clip(x - high, 0, high) + clip(x - 2 high, 0, high) + ...

and x W = sum of the pieces, each times the same row of W: exact for every value up to the channel's peak.
"""

from dataclasses import dataclass

import numpy as np

STEPS = 40
"""Of the bisection: the width is found to a millionth of a millionth."""
SLACK = 1.05
"""A grid this much wider than the narrowest takes far fewer pieces, for many channels end where it does."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """A narrower grid, and the pieces that carry what it cuts off. Piece p is ``clip(sign * x + offset)``."""

    low: float
    high: float
    """What the grid covers; the pieces stay within it."""
    channels: np.ndarray
    """int32 [pieces]: the channel each is of; a channel's row of the weights times `signs` is the piece's row."""
    signs: np.ndarray
    """float32 [pieces], 1 or -1."""
    offsets: np.ndarray
    """float32 [pieces]."""
    gain: float
    """By how much the grid's steps shrink."""

    @property
    def bounds(self) -> tuple[float, float]:
        """What a piece is clipped to: from zero to the farther end of the grid."""
        return (0.0, self.high) if self.high >= -self.low else (self.low, 0.0)


def split_outliers(lows: np.ndarray, highs: np.ndarray, *, room: int) -> Split | None:
    """About the narrowest grid that `room` pieces make up for; None where there is nothing to gain.

    Args:
        lows: Smallest value of each channel, [channels].
        highs: Largest one.
        room: Most pieces.
    """
    lows, highs = np.minimum(lows, 0.0).astype(np.float64), np.maximum(highs, 0.0).astype(np.float64)
    low, high = float(lows.min(initial=0.0)), float(highs.max(initial=0.0))
    if room < 1 or low == high:
        return None
    narrow, wide = 0.0, max(high, -low)
    for _ in range(STEPS):
        middle = (narrow + wide) / 2
        above, below = _piece_counts(lows, highs, width=middle)
        narrow, wide = (narrow, middle) if (above + below).sum() <= room else (middle, wide)
    wide *= SLACK
    above, below = _piece_counts(lows, highs, width=wide)
    if not (above + below).any():
        return None
    new_low, new_high = max(low, -wide), min(high, wide)
    inner = 1.0 if new_high >= -new_low else -1.0  # the side of zero where pieces lie
    channels, signs, offsets = [], [], []
    for counts, side, start in ((above, 1.0, new_high), (below, -1.0, -new_low)):
        for channel in np.flatnonzero(counts):
            for piece in range(counts[channel]):
                channels.append(channel)
                signs.append(inner * side)
                offsets.append(-inner * (start + piece * wide))
    return Split(
        low=new_low,
        high=new_high,
        channels=np.array(channels, dtype=np.int32),
        signs=np.array(signs, dtype=np.float32),
        offsets=np.array(offsets, dtype=np.float32),
        gain=(high - low) / (new_high - new_low),
    )


def _piece_counts(lows: np.ndarray, highs: np.ndarray, *, width: float) -> tuple[np.ndarray, np.ndarray]:
    """How many pieces of `width` each channel needs above and below a grid of that width each way."""
    with np.errstate(divide="ignore", over="ignore"):
        above, below = np.ceil(highs / width) - 1, np.ceil(-lows / width) - 1
    largest = np.iinfo(np.int64).max / (4 * max(1, len(lows)))  # their sum must not overflow
    return (
        np.clip(above, 0, largest).astype(np.int64),
        np.clip(below, 0, largest).astype(np.int64),
    )


def split_values(values: np.ndarray, split: Split) -> np.ndarray:
    """Values [..., channels] on the narrower grid, their pieces behind them: [..., channels + pieces]."""
    pieces = np.clip(values[..., split.channels] * split.signs + split.offsets, *split.bounds)
    return np.concatenate([np.clip(values, split.low, split.high), pieces], axis=-1).astype(np.float32)


def split_rows(weight: np.ndarray, split: Split) -> np.ndarray:
    """A layer's weights [channels, outputs] with the rows of the pieces behind them."""
    pieces = weight[split.channels] * split.signs[:, None]
    return np.concatenate([weight, pieces]).astype(weight.dtype)
