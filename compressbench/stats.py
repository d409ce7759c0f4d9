"""Statistics of measurements: arrays in, intervals and p-values out. Nothing here has heard of a model or a file.

Latency: paired ratios of round medians, processes resampled before rounds, because rounds of one process share
its memory layout and its place on the machine. Scores: tests that know both models answered the same rows.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from compressbench.errors import BadInput

Rounds = Sequence[Sequence[float]]
"""For each process the medians of its rounds, in nanoseconds."""
WeightedMetric = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Predictions [rows], references [rows], row weights [resamples, rows] to one score per resample; never NaN."""

RESAMPLES = 2000
FEW_ROUNDS = 20
"""Below this many rounds in all a bootstrap median takes too few values; order statistics are used instead."""
_CHUNK_ENTRIES = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A ratio of latencies, baseline over candidate, with its confidence interval."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A score difference, candidate minus baseline on the same rows, with its interval and two-sided p-value."""

    difference: float
    low: float
    high: float
    p_value: float


SAME = Interval(ratio=1.0, low=1.0, high=1.0)
"""A thing against itself."""


def ratio_interval(baseline: Rounds, candidate: Rounds, *, seed: int, confidence: float = 0.95) -> Interval:
    """Speedup: the median over rounds of the paired ratio baseline / candidate, with its interval.

    The median is taken of logarithms, so that exchanging the sides gives exactly the inverse. From `FEW_ROUNDS`
    rounds on the interval is a hierarchical bootstrap's: processes with replacement, then rounds within each,
    2.5 and 97.5 percentiles of the resampled medians. With fewer rounds it is the order-statistic interval of the
    median over all rounds, which has no regard for processes; below 6 rounds that is the whole range, whose
    coverage is 1 - 2^(1 - rounds): 75 % with three. The interval is widened to hold the ratio where it does not.
    Three processes are few to tell how processes scatter: where that is as much as rounds do, about 80 of 100
    intervals hold the truth; of eight processes, 95.

    Args:
        baseline: Per process the medians of its rounds.
        candidate: The same processes and rounds of the other side.
        seed: Of the bootstrap.
        confidence: Share of intervals that hold the truth.

    Raises:
        BadInput: If the sides do not pair up, there is no round, or a value is not a positive number.
    """
    _check_rounds(baseline, candidate)
    logs = [
        np.log(np.asarray(left, dtype=np.float64)) - np.log(np.asarray(right, dtype=np.float64))
        for left, right in zip(baseline, candidate, strict=True)
        if len(left)
    ]
    pooled = np.sort(np.concatenate(logs))
    if len(pooled) < FEW_ROUNDS:
        low, high = order_statistic_interval(pooled, confidence=confidence)
    else:
        medians = _resampled_medians(logs, np.random.default_rng(seed))
        low, high = _percentile_interval(medians, confidence)
    return _ratio_from_logs(float(np.median(pooled)), low, high)


def unpaired_ratio_interval(baseline: Rounds, candidate: Rounds, *, seed: int, confidence: float = 0.95) -> Interval:
    """Ratio of the medians of two runs that were not interleaved: each side is resampled by itself.

    The interval holds the scatter within each run; what differed between the runs (load, clock, temperature)
    is not in it, so it is too narrow for a verdict.

    Raises:
        BadInput: If a side has no round, or a value is not a positive number.
    """
    sides = []
    for rounds in (baseline, candidate):
        _check_rounds(rounds, rounds)
        sides.append([np.log(np.asarray(each, dtype=np.float64)) for each in rounds if len(each)])
    rng = np.random.default_rng(seed)
    left, right = (_resampled_medians(side, rng) for side in sides)
    low, high = _percentile_interval(left - right, confidence)
    centre = float(np.median(np.concatenate(sides[0])) - np.median(np.concatenate(sides[1])))
    return _ratio_from_logs(centre, low, high)


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
    reach = _student_quantile(count - 1, confidence) * spread / math.sqrt(count)
    return mean - reach, mean + reach


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


def mcnemar_p(only_baseline_right: int, only_candidate_right: int) -> float:
    """Two-sided p-value of McNemar's test on the rows that exactly one of two models answers rightly.

    Exact at every count: each such row is a fair coin if the models are equally good (McNemar 1947).
    """
    discordant = only_baseline_right + only_candidate_right
    ways = term = 1  # whole numbers: exact for any count, and no library to load for it
    for place in range(min(only_baseline_right, only_candidate_right)):
        term = term * (discordant - place) // (place + 1)
        ways += term
    p_value: float = 2 * ways / 2**discordant
    return min(1.0, p_value)


def bootstrap_interval(
    metric: WeightedMetric,
    predictions: np.ndarray,
    references: np.ndarray,
    *,
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of a score over resampled rows, widened to hold the score where it does not."""
    (score,), (resampled,) = _bootstrap(metric, [predictions], references, seed=seed, resamples=resamples)
    low, high = _percentile_interval(resampled, confidence)
    return min(low, score), max(high, score)


def paired_bootstrap(
    metric: WeightedMetric,
    baseline: np.ndarray,
    candidate: np.ndarray,
    references: np.ndarray,
    *,
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Difference:
    """Score difference of two models on the same rows: both are scored on each resample of the rows.

    The p-value is the share of resamples whose difference lies at least as far from the observed one as that
    lies from zero, counted with the observed one, so that it is never 0 (Davison & Hinkley 1997, section 4.4).
    """
    scores, resampled = _bootstrap(metric, [baseline, candidate], references, seed=seed, resamples=resamples)
    difference = scores[1] - scores[0]
    deltas = resampled[1] - resampled[0]
    low, high = _percentile_interval(deltas, confidence)
    # Sums of weights round in the last place; a tie must count as one.
    extreme = int((np.abs(deltas - difference) >= abs(difference) - 1e-12).sum())
    return Difference(
        difference=difference,
        low=min(low, difference),
        high=max(high, difference),
        p_value=(1 + extreme) / (1 + resamples),
    )


def retained_interval(
    metric: WeightedMetric,
    baseline: np.ndarray,
    candidate: np.ndarray,
    constant: np.ndarray,
    references: np.ndarray,
    *,
    seed: int,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> tuple[float, float] | None:
    """Percentile interval of (candidate - constant) / (baseline - constant), all three scored on each resample of rows.

    None where the baseline is no better than the constant answer in so many resamples that a quotient has no
    finite interval at this confidence (Fieller 1954 has the same case).
    """
    scores, resampled = _bootstrap(metric, [baseline, candidate, constant], references, seed=seed, resamples=resamples)
    gained, kept = (np.append(resampled[place] - resampled[2], scores[place] - scores[2]) for place in (0, 1))
    defined = gained > 0
    if not defined[-1] or (~defined).mean() > (1 - confidence) / 2:
        return None
    ratios = kept[defined] / gained[defined]
    low, high = _percentile_interval(ratios, confidence)
    return min(low, float(ratios[-1])), max(high, float(ratios[-1]))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for testing them all (Holm 1979), in the given order."""
    count, running = len(p_values), 0.0
    adjusted = [0.0] * count
    for rank, place in enumerate(sorted(range(count), key=lambda index: p_values[index])):
        running = max(running, min(1.0, (count - rank) * p_values[place]))
        adjusted[place] = running
    return adjusted


def _check_rounds(baseline: Rounds, candidate: Rounds) -> None:
    """Refuse rounds that do not pair up or hold anything but positive numbers."""
    counts = [[len(process) for process in side] for side in (baseline, candidate)]
    if counts[0] != counts[1]:
        raise BadInput(f"rounds do not pair up: {counts[0]} of the baseline against {counts[1]}; measure both together")
    if not sum(counts[0]):
        raise BadInput("there is no round to compare: measure both sides first")
    for value in (value for side in (baseline, candidate) for process in side for value in process):
        if not (math.isfinite(value) and value > 0):
            raise BadInput(f"a round lasted {value} ns, which is no duration: measure it again")


def _ratio_from_logs(centre: float, low: float, high: float) -> Interval:
    return Interval(ratio=math.exp(centre), low=math.exp(min(low, centre)), high=math.exp(max(high, centre)))


def _percentile_interval(resampled: np.ndarray, confidence: float) -> tuple[float, float]:
    """Central interval of resampled values."""
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _resampled_medians(processes: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Medians [RESAMPLES] over rounds, processes drawn first and then as many rounds as each of them has."""
    lengths = np.array([len(process) for process in processes])
    table = np.zeros((len(processes), lengths.max()))
    for place, process in enumerate(processes):
        table[place, : len(process)] = process
    drawn = rng.integers(len(processes), size=(RESAMPLES, len(processes)))
    picks = np.floor(rng.random((*drawn.shape, table.shape[1])) * lengths[drawn][..., None]).astype(np.int64)
    values = table[drawn[..., None], picks]
    values[np.arange(table.shape[1]) >= lengths[drawn][..., None]] = np.inf  # beyond a process's own count
    values = np.sort(values.reshape(RESAMPLES, -1), axis=1)
    counts = lengths[drawn].sum(axis=1)
    middle = np.stack([(counts - 1) // 2, counts // 2], axis=1)
    medians: np.ndarray = np.take_along_axis(values, middle, axis=1).mean(axis=1)
    return medians


def _bootstrap(
    metric: WeightedMetric, models: Sequence[np.ndarray], references: np.ndarray, *, seed: int, resamples: int
) -> tuple[list[float], np.ndarray]:
    """Scores of each model on all rows, and on each resample: [models, resamples].

    Rows that all models answer alike and that have the same reference are one group: a resample is a multinomial
    draw over groups, which for classes is a few numbers instead of thousands of row indices, and no approximation.
    """
    rows = np.stack([*models, references]).astype(np.float64)
    groups, sizes = np.unique(rows, axis=1, return_counts=True)
    *answers, truth = groups
    scores = [float(metric(answer, truth, sizes[None, :].astype(np.float64))[0]) for answer in answers]
    rng = np.random.default_rng(seed)
    total = int(sizes.sum())
    chunk = max(1, _CHUNK_ENTRIES // len(sizes))
    parts = []
    for start in range(0, resamples, chunk):
        draws = rng.multinomial(total, sizes / total, size=min(chunk, resamples - start)).astype(np.float64)
        parts.append(np.stack([metric(answer, truth, draws) for answer in answers]))
    return scores, np.concatenate(parts, axis=1)


def _student_share(t: float, degrees: int) -> float:
    """P(|T| < t) of Student's t with whole degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(degrees))
    is_odd = degrees % 2
    term = math.cos(angle) if is_odd else 1.0
    total = 0.0
    for number in range(1 + is_odd, degrees, 2):
        total += term
        term *= number / (number + 1) * math.cos(angle) ** 2
    return 2 / math.pi * (angle + math.sin(angle) * total) if is_odd else math.sin(angle) * total


def _student_quantile(degrees: int, confidence: float) -> float:
    """The t within which Student's t lies with that probability, by halving."""
    low, high = 0.0, 1.0
    while _student_share(high, degrees) < confidence:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_share(middle, degrees) < confidence else (low, middle)
    return high
