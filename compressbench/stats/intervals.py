"""Intervals of one sample: medians, means, trimmed means, shares; and the quantiles they stand on.

Student's t is computed here, in closed form, so that no report waits for scipy; the tests compare the two.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from compressbench.errors import BadInput

TRIM_ONE_FROM, TRIM_QUARTER_FROM = 8, 12
"""Of so many values one, and a quarter, is trimmed at each end."""


def order_statistic_interval(values: np.ndarray, *, confidence: float = 0.95) -> tuple[float, float]:
    """Distribution-free interval of a median: the k-th smallest and k-th largest value.

    k is the largest for which the binomial coverage is at least `confidence`; where no k reaches it, the range.
    """
    ordered = np.sort(values)
    count = len(ordered)
    tail, k = 0.0, 0
    while k < (count - 1) // 2 + 1:
        tail += math.comb(count, k) / 2**count
        if 2 * tail > 1 - confidence:
            break
        k += 1
    k = max(k, 1)
    return float(ordered[k - 1]), float(ordered[count - k])


def percentile(values: Sequence[float] | np.ndarray, percent: float) -> float:
    """Percentile by linear interpolation between order statistics (numpy's default)."""
    return float(np.percentile(np.asarray(values, dtype=np.float64), percent))


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of a mean: ``mean +- t(n - 1) s / sqrt(n)``; needs two values or more.

    Raises:
        BadInput: If there are fewer.
    """
    count = len(values)
    if count < 2:
        raise BadInput(f"an interval over {count} value(s) says nothing: give two or more, such as --seeds 1,2,3")
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    reach = student_quantile(count - 1, confidence) * spread / math.sqrt(count)
    return mean - reach, mean + reach


def seeds_and_rows_interval(
    by_seed: Sequence[float], resampled: np.ndarray, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of a mean over trainings that all answered the same dev rows: over other seeds and other rows.

    The two reaches are added in squares: Student's t over seeds, ``t(n - 1) s / sqrt(n)``, and the normal quantile
    times the deviation of the mean under resampled rows. What seeds and rows do together is in both, so that the
    interval is a little too wide rather than too narrow. Resampling three seeds would be as blind as resampling three
    processes.

    Args:
        by_seed: A score, or a difference of scores, for each seed; two or more.
        resampled: [resamples], the mean over the seeds under resampled rows.
        confidence: Share of intervals that hold the truth.

    Raises:
        BadInput: If there are fewer than two seeds.
    """
    low, high = mean_interval(by_seed, confidence=confidence)
    mean = float(np.mean(by_seed))
    over_rows = NormalDist().inv_cdf(0.5 + confidence / 2) * float(np.std(resampled, ddof=1))
    reach = math.hypot((high - low) / 2, over_rows)
    return mean - reach, mean + reach


def trimmed_mean_interval(values: np.ndarray, *, low_tail: float, high_tail: float) -> tuple[float, float, float]:
    """Trimmed mean and an interval that misses the location to either side with the given probabilities.

    None of up to seven values is trimmed, where this is Student's t interval; one at each end of eight to eleven; from
    twelve on a quarter. The standard error is that of the winsorised values with ``n - 2g - 1`` degrees of freedom
    (Tukey and McLaughlin 1963): a process that met a busy machine moves the interval little and widens it little. How
    much is trimmed depends on the number of values alone, so that no look at them chooses it.

    Args:
        values: Independent values, such as one a process; symmetric about their location, or nearly.
        low_tail: Probability that the location lies below the interval.
        high_tail: Probability that it lies above.

    Returns:
        Location, lower end, upper end. One value has no scatter to judge by: its ends are infinite.

    Raises:
        BadInput: If there is no value.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    count = len(ordered)
    if not count:
        raise BadInput("an interval over no value at all says nothing: measure first")
    trimmed = 0 if count < TRIM_ONE_FROM else 1 if count < TRIM_QUARTER_FROM else count // 4
    kept = ordered[trimmed : count - trimmed]
    centre = float(kept.mean())
    if count == 1:
        return centre, -math.inf, math.inf
    spread = float(np.std(np.clip(ordered, kept[0], kept[-1]), ddof=1))
    error = spread / (len(kept) / count * math.sqrt(count))
    reaches = (student_quantile(len(kept) - 1, 1 - 2 * tail) * error for tail in (low_tail, high_tail))
    below, above = reaches
    return centre, centre - below, centre + above


def geometric_mean(values: Sequence[float]) -> float:
    """Geometric mean of positive numbers: the average for ratios."""
    return math.exp(math.fsum(math.log(value) for value in values) / len(values))


def wilson_interval(successes: int, total: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share, such as an accuracy (Wilson 1927)."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, spread = successes / total, z * z / total
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def _share_within(t: float, degrees: int) -> float:
    """P(|T| < t) of Student's t with whole degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(degrees))
    is_odd = degrees % 2
    term = math.cos(angle) if is_odd else 1.0
    total = 0.0
    for number in range(1 + is_odd, degrees, 2):
        total += term
        term *= number / (number + 1) * math.cos(angle) ** 2
    return 2 / math.pi * (angle + math.sin(angle) * total) if is_odd else math.sin(angle) * total


@lru_cache(maxsize=4096)
def student_quantile(degrees: int, confidence: float) -> float:
    """The t within which Student's t lies with that probability, by halving."""
    low, high = 0.0, 1.0
    while _share_within(high, degrees) < confidence:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _share_within(middle, degrees) < confidence else (low, middle)
    return high
