"""Outlier channels of a graph's activations taken apart, so that they do not stretch the grid of all others.

In BERT a channel or two behind a LayerNormalization, and behind some Gelus, are several times as large as the next.
The tensor that Linear layers read becomes Concat(Clip(x), pieces), the weights get a row for each piece, and the graph
answers as before for every value that was seen. Whoever else reads the tensor, the residual connection, reads it whole.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from compressbench.methods.quantize.calibration import TensorRange
from compressbench.methods.quantize.layers import linear_readers
from compressbench.models.onnx_graph import FACTORS_SUFFIX, to_array, to_tensor
from compressbench.numerics.outlier_splitting import Split, split_outliers, split_rows

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

LEAST_GAIN = 2.0
"""Pieces must shrink the grid's steps at least by this, for each place costs the graph a Concat."""
SPLIT_SUFFIX = "_split"
WITHIN_SUFFIX = "_within"


def split_graph(
    model: "ModelProto",
    measured: Mapping[str, TensorRange],
    channels: Mapping[str, np.ndarray],
    *,
    share: float,
    left_out: Collection[str] = (),
) -> dict[str, TensorRange]:
    """Take outlier channels apart where it gains.

    Args:
        model: fp32, its Linear layers as MatMul; changed.
        measured: Ranges of its activations; of what was seen, nothing is cut off.
        channels: Extremes [channels, 2] of each tensor that a Linear layer reads.
        share: Most pieces, as a share of a tensor's channels.
        left_out: Weights of layers that stay fp32, and read what they did.

    Returns:
        The ranges of the activations now: for what is split, of what layers read instead.
    """
    ranges = dict(measured)
    for tensor, reading in linear_readers(model).items():
        layers = [node for node in reading if node.input[1] not in left_out]
        if not layers or tensor not in channels:
            continue
        lows, highs = channels[tensor].T
        split = split_outliers(lows, highs, room=int(share * len(lows)))
        if split is None or split.gain < LEAST_GAIN:
            continue
        wide = _insert(model, tensor, split)
        weights = {node.input[1] for node in layers}
        for initializer in model.graph.initializer:
            if initializer.name in weights:
                initializer.CopyFrom(to_tensor(split_rows(to_array(initializer), split), initializer.name))
        for node in layers:
            node.input[0] = wide
        ranges[wide] = replace(ranges[tensor], low=split.low, high=split.high)
    return ranges


def _insert(model: "ModelProto", tensor: str, split: Split) -> str:
    """The nodes that split a tensor, behind what makes it; returns what they make."""
    from onnx import helper

    wide = f"{tensor}{SPLIT_SUFFIX}"
    least, most = split.bounds
    constants = {
        "channels": split.channels, "signs": split.signs, "offsets": split.offsets, "least": np.float32(least),
        "most": np.float32(most), "low": np.float32(split.low), "high": np.float32(split.high),
    }  # fmt: skip
    names = {name: f"{wide}_{name}{FACTORS_SUFFIX}" for name in constants}
    model.graph.initializer.extend(to_tensor(np.asarray(values), names[name]) for name, values in constants.items())
    steps: list[tuple[str, list[str], str, dict[str, int]]] = [
        ("Gather", [tensor, names["channels"]], f"{wide}_gathered", {"axis": -1}),
        ("Mul", [f"{wide}_gathered", names["signs"]], f"{wide}_signed", {}),
        ("Add", [f"{wide}_signed", names["offsets"]], f"{wide}_beyond", {}),
        ("Clip", [f"{wide}_beyond", names["least"], names["most"]], f"{wide}_pieces", {}),
        ("Clip", [tensor, names["low"], names["high"]], f"{tensor}{WITHIN_SUFFIX}", {}),
        ("Concat", [f"{tensor}{WITHIN_SUFFIX}", f"{wide}_pieces"], wide, {"axis": -1}),
    ]
    nodes = [helper.make_node(kind, inputs, [output], **more) for kind, inputs, output, more in steps]
    behind = next(at for at, each in enumerate(model.graph.node) if tensor in each.output) + 1
    for place, node in enumerate(nodes):
        model.graph.node.insert(behind + place, node)
    return wide


def let_grids_clip(model: "ModelProto") -> int:
    """Drop each Clip to a grid's own ends, where only the grid reads what it gives; returns how many went.

    A QuantizeLinear saturates by itself, and the Clip would read and write the whole tensor once more.

    Args:
        model: INT8, in the QDQ or the QOperator form; changed.
    """
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    dropped = []
    for node in model.graph.node:
        if node.op_type != "Clip" or not node.output[0].endswith(WITHIN_SUFFIX):
            continue
        (joined,) = readers[node.output[0]]
        if {each.op_type for each in readers[joined.output[0]]} == {"QuantizeLinear"}:
            joined.input[0] = node.input[0]
            dropped.append(node)
    for node in dropped:
        model.graph.node.remove(node)
    return len(dropped)
