"""Ranges of activations on training rows, batch by batch: memory does not grow with the rows.

The graph itself takes the extremes, so a batch hands back two numbers a channel. Rules that need more run the
rows a second time and count values into histograms, whose bounds are known by then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compressbench.errors import InvalidParameter
from compressbench.methods.quantize.extremes import measure_extremes
from compressbench.methods.quantize.observing import observe
from compressbench.methods.quantize.ranges import CalibrateMethod
from compressbench.numerics.histogram_ranges import (
    BINS,
    Histogram,
    add_values,
    clipped_share,
    entropy_range,
    percentile_range,
)
from compressbench.prediction import EncodedRows
from compressbench.progress import Progress
from compressbench.tasks.task import Rows

if TYPE_CHECKING:
    from onnx import ModelProto

ROWS_AT_ONCE = 4
"""Rows whose activations are held at one time: 130 MiB of BERT-Base's at 128 tokens."""
Ranges = dict[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How ranges follow from the values seen; names and meaning are ONNX Runtime's."""

    calibrate_method: CalibrateMethod = "minmax"
    percentile: float = 99.999
    moving_average: bool = False
    averaging_constant: float = 0.01

    @property
    def clips(self) -> bool:
        """Whether values that were seen may lie outside the range, so that histograms are needed."""
        return self.moving_average or self.calibrate_method in ("entropy", "percentile")


@dataclass(frozen=True, kw_only=True)
class TensorRange:
    """The range of one tensor, and what it was chosen from."""

    low: float
    high: float
    seen_low: float
    seen_high: float
    clipped_share: float = 0.0
    """Share of the values seen that the grid cuts off."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What calibration rows tell of a model's activations."""

    ranges: dict[str, TensorRange]
    channels: dict[str, np.ndarray]
    """Extremes, float32 [channels, 2], of each tensor that a Linear layer reads."""


def draw_rows(train: Rows, *, count: int, seed: int) -> Rows:
    """`count` training rows, drawn by `seed`.

    Raises:
        InvalidParameter: If there are fewer.
    """
    check_row_count(count, available=len(train))
    return train.take(np.sort(np.random.default_rng(seed).permutation(len(train))[:count]))


def check_row_count(count: int, *, available: int) -> None:
    """Refuse to calibrate on more rows than there are.

    Raises:
        InvalidParameter: If so.
    """
    if count > available:
        raise InvalidParameter(
            f"calibration_rows={count}, but the training split has {available} rows: use calibration_rows={available}"
        )


def activation_ranges(
    model: "ModelProto",
    encoded: EncodedRows,
    *,
    tensors: Sequence[str],
    threads: int,
    workplace: Path,
    progress: Progress,
) -> Ranges:
    """Smallest and largest value that each tensor takes over all rows, padded as in a batch; see `measure_ranges`."""
    measured = measure_ranges(
        Rule(), model, encoded, tensors=tensors, threads=threads, workplace=workplace, progress=progress
    )
    return plain_ranges(measured.ranges)


def plain_ranges(measured: dict[str, TensorRange]) -> Ranges:
    """The ranges alone."""
    return {name: (each.low, each.high) for name, each in measured.items()}


def measure_ranges(
    rule: Rule,
    model: "ModelProto",
    encoded: EncodedRows,
    *,
    tensors: Sequence[str],
    threads: int,
    workplace: Path,
    progress: Progress,
    seed: int = 0,
) -> Measured:
    """The range of each tensor over all rows, padded as in a batch.

    Args:
        rule: How ranges follow from values.
        model: fp32; the same afterwards.
        encoded: Rows to run.
        tensors: Names of float tensors of the graph.
        threads: For ONNX Runtime.
        workplace: A folder for a model that is not handed over in memory.
        progress: Told of each row.
        seed: Draws the order of the batches, which a moving average depends on.
    """
    where: Any = {"threads": threads, "workplace": workplace, "progress": progress, "seed": seed}
    extremes = measure_extremes(model, encoded, tensors, averaging_constant=rule.averaging_constant, **where)
    seen = extremes.seen
    chosen = extremes.averaged if rule.moving_average else seen
    if rule.calibrate_method == "distribution":
        top = np.abs(seen).max(axis=1)
        chosen = np.stack([-top, top], axis=1)
    bounds = {name: (float(low), float(high)) for name, (low, high) in zip(tensors, seen, strict=True)}
    ranges = {name: (float(low), float(high)) for name, (low, high) in zip(tensors, chosen, strict=True)}
    shares = dict.fromkeys(tensors, 0.0)
    if rule.clips:
        for name, histogram in _histograms(model, encoded, bounds, **where).items():
            low, high = ranges[name] = _clipping_range(rule, histogram, bounds[name], averages=ranges[name])
            shares[name] = clipped_share(histogram, low=min(low, 0.0), high=max(high, 0.0))  # a grid always holds zero
    tensor_ranges = {
        name: TensorRange(
            low=low, high=high, seen_low=bounds[name][0], seen_high=bounds[name][1], clipped_share=shares[name]
        )
        for name, (low, high) in ranges.items()
    }
    return Measured(ranges=tensor_ranges, channels=extremes.channels)


def _clipping_range(
    rule: Rule, histogram: Histogram, bounds: tuple[float, float], *, averages: tuple[float, float]
) -> tuple[float, float]:
    """The range by a rule that clips, never wider than what was seen."""
    if rule.moving_average:
        return averages
    if rule.calibrate_method == "entropy":
        low, high = entropy_range(histogram)
    else:
        low, high = percentile_range(histogram, percentile=rule.percentile)
    return max(low, bounds[0]), min(high, bounds[1])


def _histograms(model: "ModelProto", encoded: EncodedRows, bounds: Ranges, **where: Any) -> dict[str, Histogram]:
    """Histograms over all rows, a few rows' activations in memory at a time."""
    tops = {name: max(abs(low), abs(high)) or 1.0 for name, (low, high) in bounds.items()}
    counts = {name: np.zeros(BINS, dtype=np.int64) for name in bounds}
    for values in observe(
        model,
        encoded,
        nodes=[],
        constants={},
        outputs=list(bounds),
        stage="calibrate, histograms",
        rows_at_once=ROWS_AT_ONCE,
        **where,
    ):
        for name, array in zip(bounds, values, strict=True):
            add_values(counts[name], array, top=tops[name])
    return {name: Histogram(counts[name], tops[name]) for name in bounds}
