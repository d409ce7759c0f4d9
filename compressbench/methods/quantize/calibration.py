"""Ranges of activations on training rows: smallest and largest value of each tensor, batch by batch."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressbench.errors import InvalidParameter
from compressbench.models.onnx_graph import ONE_FILE_BYTES, weight_bytes, write_model
from compressbench.prediction import EncodedRows, batches_by_length
from compressbench.progress import Progress
from compressbench.tasks.task import Rows

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

BATCH_SIZE = 8
Ranges = dict[str, tuple[float, float]]


def draw_rows(train: Rows, *, count: int, seed: int) -> Rows:
    """`count` training rows, drawn by `seed`.

    Raises:
        InvalidParameter: If there are fewer.
    """
    if count > len(train):
        raise InvalidParameter(f"calibration_rows={count}, but the training split has {len(train)} rows: use that many")
    return train.take(np.sort(np.random.default_rng(seed).permutation(len(train))[:count]))


def activation_ranges(
    model: "ModelProto",
    encoded: EncodedRows,
    *,
    tensors: Sequence[str],
    threads: int,
    workplace: Path,
    progress: Progress,
) -> Ranges:
    """Smallest and largest value that each tensor takes over all rows, padded as in a batch.

    The graph itself takes the extremes, so a batch hands back two numbers a tensor and memory does not grow
    with the rows.

    Args:
        model: fp32; the same afterwards.
        encoded: Rows to run.
        tensors: Names of float tensors of the graph.
        threads: For ONNX Runtime.
        workplace: A folder for a model that protobuf cannot hold in one piece.
        progress: Told of each row.
    """
    session = _session_with_extremes(model, tensors, threads=threads, workplace=workplace)
    inputs = [each.name for each in session.get_inputs()]
    outputs = [each.name for each in session.get_outputs()][-2 * len(tensors) :]
    low = np.full(len(tensors), np.inf)
    high = np.full(len(tensors), -np.inf)
    with progress.stage("calibrate", total=len(encoded)) as advance:
        for indices in batches_by_length(encoded.lengths, batch_size=BATCH_SIZE):
            arrays = encoded.batch(indices)
            found = np.array(session.run(outputs, {name: arrays[name] for name in inputs}), dtype=np.float32)
            low, high = np.minimum(low, found[0::2]), np.maximum(high, found[1::2])
            advance(len(indices))
    return {name: (float(low[place]), float(high[place])) for place, name in enumerate(tensors)}


def _session_with_extremes(
    model: "ModelProto", tensors: Sequence[str], *, threads: int, workplace: Path
) -> "InferenceSession":
    """A session of the model with two more outputs a tensor, handed over in memory where that is possible."""
    from onnxruntime import InferenceSession

    from compressbench.runtimes.onnxruntime import session_options

    graph = model.graph
    node_count, output_count = len(graph.node), len(graph.output)
    _add_extremes(model, tensors)
    try:
        if weight_bytes(model) < ONE_FILE_BYTES:
            content: bytes | str = model.SerializeToString()
        else:
            write_model(model, workplace / "calibration.onnx")
            content = str(workplace / "calibration.onnx")
        return InferenceSession(content, session_options(threads=threads), providers=["CPUExecutionProvider"])
    finally:
        del graph.node[node_count:]
        del graph.output[output_count:]


def _add_extremes(model: "ModelProto", tensors: Sequence[str]) -> None:
    """Two more outputs for each tensor: its smallest and its largest value."""
    from onnx import TensorProto, helper

    for place, name in enumerate(tensors):
        for kind in ("ReduceMin", "ReduceMax"):
            output = f"{kind}_{place}"
            model.graph.node.append(helper.make_node(kind, [name], [output], name=output, keepdims=0))
            model.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
