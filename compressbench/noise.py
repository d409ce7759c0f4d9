"""The noise floor: how far two measurements of the very same work lie apart on this machine now."""

import time

import numpy as np

from compressbench.progress import Progress, Quiet
from compressbench.stats import ratio_interval


def noise_floor(*, threads: int, rounds: int = 30, progress: Progress | None = None) -> tuple[float, float]:
    """95 % interval of the ratio of A to A, two names for one matrix product, measured as a run measures two models.

    Args:
        threads: Kept by the caller's runtime; numpy's own pool serves here.
        rounds: Pairs of blocks, in random order within a round.
        progress: Told of every round.

    Returns:
        The lower and upper end of the ratio's interval, around 1.
    """
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((256 * threads, 768), dtype=np.float32)
    weight = rng.standard_normal((768, 3072), dtype=np.float32)
    samples: tuple[list[float], list[float]] = ([], [])
    with (progress or Quiet()).stage("noise floor", total=rounds) as advance:
        for _ in range(rounds):
            for side in rng.permutation(2):
                samples[side].append(_block_median_ns(matrix, weight))
            advance()
    interval = ratio_interval([samples[0]], [samples[1]], seed=0)
    return interval.low, interval.high


def _block_median_ns(matrix: np.ndarray, weight: np.ndarray, *, count: int = 5) -> float:
    samples_ns = []
    for _ in range(count):
        start_ns = time.perf_counter_ns()
        matrix @ weight
        samples_ns.append(time.perf_counter_ns() - start_ns)
    return float(np.median(samples_ns))
