"""Ranges of activations on training rows: smallest and largest value of each tensor, batch by batch."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressbench.errors import InvalidParameter
from compressbench.models.onnx_graph import read_model, write_model
from compressbench.prediction import EncodedRows, batches_by_length, encode_rows
from compressbench.progress import Progress
from compressbench.tasks.task import Rows

if TYPE_CHECKING:
    from onnx import ModelProto

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


def encode_for(rows: Rows, *, tokenizer_path: Path, max_length: int) -> EncodedRows:
    """Token ids as prediction makes them, so that calibration sees what the model will see."""
    return encode_rows(rows, tokenizer_path=tokenizer_path, max_length=max_length)


def activation_ranges(
    onnx_path: Path, encoded: EncodedRows, *, tensors: Sequence[str], threads: int, workplace: Path, progress: Progress
) -> Ranges:
    """Smallest and largest value that each tensor takes over all rows, padded as in a batch.

    The graph itself takes the extremes, so a batch hands back two numbers a tensor and memory does not grow
    with the rows.

    Args:
        onnx_path: The fp32 model.
        encoded: Rows to run.
        tensors: Names of float tensors of the graph.
        threads: For ONNX Runtime.
        workplace: A folder for the widened graph.
        progress: Told of each row.
    """
    from onnxruntime import InferenceSession

    from compressbench.runtimes.onnxruntime import session_options

    model = read_model(onnx_path)
    _add_extremes(model, tensors)
    widened = workplace / "calibration.onnx"
    write_model(model, widened)
    del model
    options = session_options(threads=threads)
    session = InferenceSession(str(widened), options, providers=["CPUExecutionProvider"])
    inputs = [each.name for each in session.get_inputs()]
    outputs = [each.name for each in session.get_outputs()][1:]
    low = np.full(len(tensors), np.inf)
    high = np.full(len(tensors), -np.inf)
    with progress.stage("calibrate", total=len(encoded)) as advance:
        for indices in batches_by_length(encoded.lengths, batch_size=BATCH_SIZE):
            arrays = encoded.batch(indices)
            found = np.array(session.run(outputs, {name: arrays[name] for name in inputs}), dtype=np.float32)
            low, high = np.minimum(low, found[0::2]), np.maximum(high, found[1::2])
            advance(len(indices))
    return {name: (float(low[place]), float(high[place])) for place, name in enumerate(tensors)}


def _add_extremes(model: "ModelProto", tensors: Sequence[str]) -> None:
    """Two more outputs for each tensor: its smallest and its largest value."""
    from onnx import TensorProto, helper

    for place, name in enumerate(tensors):
        for kind in ("ReduceMin", "ReduceMax"):
            output = f"{kind}_{place}"
            model.graph.node.append(helper.make_node(kind, [name], [output], name=output, keepdims=0))
            model.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, []))
