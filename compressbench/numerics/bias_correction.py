"""The constant part of a quantized layer's error, which its bias can take away.

Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv:1906.04721, section
4.2, with the input's means measured on rows (their empirical variant) instead of derived from normalization. There
layer after layer is corrected, each behind the corrected ones; here, as in NNCF's fast bias correction, all at once,
and each for the rounding of its own input and weights.
"""

import numpy as np


def expected_error(
    mean_input: np.ndarray, mean_rounded_input: np.ndarray, *, weight: np.ndarray, rounded_weight: np.ndarray
) -> np.ndarray:
    """What a quantized Linear layer's output is too small by on average, float32 [outputs]: it is added to the bias.

    The layer is linear, so the mean of its error follows from the means of its input: ``E[x] W - E[x'] W'``.

    Args:
        mean_input: Of each input channel as it comes, [inputs].
        mean_rounded_input: Of each input channel after it went through its grid, [inputs].
        weight: fp32, [inputs, outputs].
        rounded_weight: What the codes stand for, [inputs, outputs].
    """
    exact = mean_input.astype(np.float64) @ weight
    rounded = mean_rounded_input.astype(np.float64) @ rounded_weight
    return np.asarray(exact - rounded, dtype=np.float32)
