"""Smallest and largest values of activations over calibration rows: of tensors, and of each channel layers read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compressbench.methods.quantize.observing import FIRST_AXIS, observe, over_rows
from compressbench.models.onnx_graph import weight_inputs
from compressbench.prediction import EncodedRows

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

SIDES = (("ReduceMin", np.minimum), ("ReduceMax", np.maximum))
"""Operators that find the ends of a range, and what does the same of two arrays."""


@dataclass(frozen=True, kw_only=True)
class Extremes:
    """What `measure_extremes` saw."""

    seen: np.ndarray
    """float32 [tensors, 2], over all batches."""
    averaged: np.ndarray
    """The same, a moving average over batches."""
    channels: dict[str, np.ndarray]
    """float32 [channels, 2] of each tensor that a Linear layer reads."""


def measure_extremes(
    model: "ModelProto", encoded: EncodedRows, tensors: Sequence[str], *, averaging_constant: float, **where: Any
) -> Extremes:
    """Extremes of float tensors of the graph; the graph itself takes them, so a batch hands back a few numbers.

    Args:
        model: fp32; the same afterwards.
        encoded: Rows to run.
        tensors: Names.
        averaging_constant: Weight of each batch after the first in the moving average.
        where: See `observe`.
    """
    widths = {name: width for name, width in input_widths(model).items() if name in tensors}
    nodes, constants = _reductions(model, tensors, widths)
    outputs = [f"{kind}_{place}" for place in range(len(tensors)) for kind, _ in SIDES]
    totals: list[np.ndarray] = []
    averaged: np.ndarray | None = None
    for values in observe(
        model, encoded, nodes=nodes, constants=constants, outputs=outputs, stage="calibrate", **where
    ):
        found = _whole(values)
        averaged = found if averaged is None else averaged + averaging_constant * (found - averaged)
        totals = [
            SIDES[place % 2][1](old, new) for place, (old, new) in enumerate(zip(totals or values, values, strict=True))
        ]
    seen = _whole(totals)
    channels = {
        name: np.stack([totals[2 * place], totals[2 * place + 1]], axis=1)
        for place, name in enumerate(tensors)
        if name in widths
    }
    return Extremes(seen=seen, averaged=seen if averaged is None else averaged, channels=channels)


def input_widths(model: "ModelProto") -> dict[str, int]:
    """Channels of each tensor that Linear layers read."""
    from onnx import helper

    shapes = {each.name: tuple(each.dims) for each in model.graph.initializer}
    widths = {}
    for node, weight in weight_inputs(model):
        turned = any(each.name == "transB" and helper.get_attribute_value(each) for each in node.attribute)
        if len(shapes[weight]) == 2:
            widths[node.input[0]] = shapes[weight][1 if turned else 0]
    return widths


def _whole(values: Sequence[np.ndarray]) -> np.ndarray:
    """Extremes of tensors [tensors, 2] from those of their channels."""
    found = [SIDES[place % 2][1].reduce(each, axis=None) for place, each in enumerate(values)]
    return np.array(found, dtype=np.float32).reshape(-1, 2)


def _reductions(
    model: "ModelProto", tensors: Sequence[str], widths: dict[str, int]
) -> tuple[list["NodeProto"], dict[str, np.ndarray]]:
    """Nodes that reduce each tensor to its extremes, by channel where `widths` knows it, and their constants."""
    from onnx import helper

    nodes: list[NodeProto] = []
    constants = dict(FIRST_AXIS) if widths else {}
    for place, tensor in enumerate(tensors):
        reductions = {f"{kind}_{place}": kind for kind, _ in SIDES}
        channels = widths.get(tensor)
        if channels is None:
            nodes += [helper.make_node(kind, [tensor], [output], keepdims=0) for output, kind in reductions.items()]
            continue
        width = f"extremes_{channels}"
        constants[width] = np.array([-1, channels], dtype=np.int64)
        nodes += over_rows(model, tensor, reductions, width=width, name=f"extremes_rows_{place}")
    return nodes, constants
