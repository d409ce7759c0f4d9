"""How much of each channel's range moves from a layer's input into its weights before quantization.

Xiao et al. 2023, "SmoothQuant", arXiv:2211.10438: channel j of the input is divided by
``s_j = max|X_j|^strength / max|W_j|^(1 - strength)`` and row j of the weights multiplied by it. Here factors are
rounded to powers of two, which costs half a bit at most and makes the move exact in floating point: no product changes.
"""

import numpy as np

LARGEST_EXPONENT = 12
"""Factors stay within 2^-12 and 2^12, so that nothing becomes denormal or infinite."""


def smoothing_factors(peaks: np.ndarray, weight_peaks: np.ndarray, *, strength: float) -> np.ndarray:
    """What each input channel is divided by: powers of two, float32 [channels].

    Args:
        peaks: Largest magnitude of each input channel, [channels], not negative.
        weight_peaks: Largest magnitude of each row of the weights that read it, [channels].
        strength: In (0, 1): 0 leaves the weights as even as they are, 1 makes the activations even.

    Returns:
        1 where a channel is always zero or is read by no weight.
    """
    alive = (peaks > 0) & (weight_peaks > 0)
    exponents = np.zeros(peaks.shape, dtype=np.float64)
    exponents[alive] = strength * np.log2(peaks[alive]) - (1.0 - strength) * np.log2(weight_peaks[alive])
    exponents = np.clip(np.rint(exponents), -LARGEST_EXPONENT, LARGEST_EXPONENT)
    return np.asarray(np.exp2(exponents), dtype=np.float32)


def smoothing_gain(peaks: np.ndarray, weight_peaks: np.ndarray, factors: np.ndarray) -> float:
    """By how much the product of both grids' steps shrinks: 4 is a bit for each side; 1 or less is no gain.

    A grid's step grows with its largest value, and the error of a product with both steps, so this is the largest
    magnitudes' product before, over that after.
    """
    before = float(peaks.max()) * float(weight_peaks.max())
    after = float((peaks / factors).max()) * float((weight_peaks * factors).max())
    return before / after if after > 0 else 1.0
