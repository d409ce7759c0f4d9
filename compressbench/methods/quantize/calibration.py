"""Ranges of activations on training rows, batch by batch: memory does not grow with the rows.

The graph itself takes each tensor's extremes, so a batch hands back two numbers a tensor. Rules that need more run the
rows a second time and count values into histograms, whose bounds are known by then.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressbench.errors import InvalidParameter
from compressbench.methods.quantize.ranges import CalibrateMethod
from compressbench.models.onnx_graph import weight_bytes, write_model
from compressbench.numerics.histogram_ranges import (
    BINS,
    Histogram,
    add_values,
    clipped_share,
    entropy_range,
    percentile_range,
)
from compressbench.prediction import EncodedRows, batches_by_length
from compressbench.progress import Progress
from compressbench.tasks.task import Rows

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

BATCH_SIZE = 8
ROWS_AT_ONCE = 4
"""Rows whose activations are held at one time: 130 MiB of BERT-Base's at 128 tokens."""
IN_MEMORY_BYTES = 64 * 1024**2
"""A larger model is handed to ONNX Runtime as a file: in memory there would be one copy of it more."""
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
    return plain_ranges(measured)


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
) -> dict[str, TensorRange]:
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
    batches = list(batches_by_length(encoded.lengths, batch_size=BATCH_SIZE))
    batches = [batches[place] for place in np.random.default_rng(seed).permutation(len(batches))]
    seen, averaged = _extremes(rule, model, encoded, batches, tensors, threads, workplace, progress)
    chosen = averaged if rule.moving_average else seen
    if rule.calibrate_method == "distribution":
        top = np.abs(seen).max(axis=1)
        chosen = np.stack([-top, top], axis=1)
    bounds = {name: (float(low), float(high)) for name, (low, high) in zip(tensors, seen, strict=True)}
    if not rule.clips:
        return {
            name: TensorRange(low=float(low), high=float(high), seen_low=bounds[name][0], seen_high=bounds[name][1])
            for name, (low, high) in zip(tensors, chosen, strict=True)
        }
    histograms = _histograms(model, encoded, batches, bounds, threads, workplace, progress)
    made = {}
    for name, averages in zip(tensors, chosen, strict=True):
        low, high = _chosen_range(rule, histograms[name], bounds[name], averages)
        share = clipped_share(histograms[name], low=min(low, 0.0), high=max(high, 0.0))  # a grid always holds zero
        made[name] = TensorRange(
            low=low, high=high, seen_low=bounds[name][0], seen_high=bounds[name][1], clipped_share=share
        )
    return made


def _chosen_range(
    rule: Rule, histogram: Histogram, bounds: tuple[float, float], averages: np.ndarray
) -> tuple[float, float]:
    """The range by a rule that clips, never wider than what was seen."""
    if rule.moving_average:
        return float(averages[0]), float(averages[1])
    if rule.calibrate_method == "entropy":
        low, high = entropy_range(histogram)
    else:
        low, high = percentile_range(histogram, percentile=rule.percentile)
    return max(low, bounds[0]), min(high, bounds[1])


def _extremes(
    rule: Rule,
    model: "ModelProto",
    encoded: EncodedRows,
    batches: Sequence[np.ndarray],
    tensors: Sequence[str],
    threads: int,
    workplace: Path,
    progress: Progress,
) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest values [tensors, 2] over all batches, and their moving averages."""
    seen = np.tile(np.array([np.inf, -np.inf], dtype=np.float32), (len(tensors), 1))
    averaged = np.empty((0, 2), dtype=np.float32)
    with (
        _more_outputs(model, tensors, extremes=True),
        progress.stage("calibrate", total=len(encoded)) as advance,
    ):
        session = _session(model, threads=threads, workplace=workplace)
        outputs = [each.name for each in session.get_outputs()][-2 * len(tensors) :]
        for indices in batches:
            found = np.array(_run(session, outputs, encoded.batch(indices)), dtype=np.float32).reshape(-1, 2)
            seen = np.stack([np.minimum(seen[:, 0], found[:, 0]), np.maximum(seen[:, 1], found[:, 1])], axis=1)
            averaged = averaged + rule.averaging_constant * (found - averaged) if len(averaged) else found
            advance(len(indices))
    return seen, averaged


def _histograms(
    model: "ModelProto",
    encoded: EncodedRows,
    batches: Sequence[np.ndarray],
    bounds: Ranges,
    threads: int,
    workplace: Path,
    progress: Progress,
) -> dict[str, Histogram]:
    """Histograms over all rows, a few rows' activations in memory at a time."""
    tops = {name: max(abs(low), abs(high)) or 1.0 for name, (low, high) in bounds.items()}
    counts = {name: np.zeros(BINS, dtype=np.int64) for name in bounds}
    with (
        _more_outputs(model, list(bounds), extremes=False),
        progress.stage("calibrate, histograms", total=len(encoded)) as advance,
    ):
        session = _session(model, threads=threads, workplace=workplace)
        for indices in batches:
            arrays = encoded.batch(indices)
            for start in range(0, len(indices), ROWS_AT_ONCE):
                part = {name: values[start : start + ROWS_AT_ONCE] for name, values in arrays.items()}
                for name, values in zip(bounds, _run(session, list(bounds), part), strict=True):
                    add_values(counts[name], values, top=tops[name])
            advance(len(indices))
    return {name: Histogram(counts[name], tops[name]) for name in bounds}


def _run(session: "InferenceSession", outputs: list[str], arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    found: list[np.ndarray] = session.run(outputs, {each.name: arrays[each.name] for each in session.get_inputs()})
    return found


def _session(model: "ModelProto", *, threads: int, workplace: Path) -> "InferenceSession":
    """A session of the model as it is."""
    from onnxruntime import InferenceSession

    from compressbench.runtimes.onnxruntime import session_options

    if weight_bytes(model) < IN_MEMORY_BYTES:
        content: bytes | str = model.SerializeToString()
    else:
        write_model(model, workplace / "calibration.onnx")
        content = str(workplace / "calibration.onnx")
    return InferenceSession(content, session_options(threads=threads), providers=["CPUExecutionProvider"])


@contextmanager
def _more_outputs(model: "ModelProto", tensors: Sequence[str], *, extremes: bool) -> Iterator[None]:
    """The model with more outputs: each tensor's smallest and largest value, or the tensors themselves."""
    from onnx import TensorProto, helper

    graph = model.graph
    node_count, output_count = len(graph.node), len(graph.output)
    there = {each.name for each in graph.output}
    for place, name in enumerate(tensors):
        if not extremes:
            if name not in there:
                graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
            continue
        for kind in ("ReduceMin", "ReduceMax"):
            output = f"{kind}_{place}"
            graph.node.append(helper.make_node(kind, [name], [output], name=output, keepdims=0))
            graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
    try:
        yield
    finally:
        del graph.node[node_count:]
        del graph.output[output_count:]
