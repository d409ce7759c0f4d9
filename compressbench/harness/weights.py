"""Weights read off an ONNX graph, fp32 or INT8: which initializers are parameters, which belong to Linear layers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from compressbench.models.onnx_graph import FACTORS_SUFFIX, to_array

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

# Positions among a node's inputs: the weight of a matrix product, and what only describes INT8 codes.
WEIGHT_INPUT = {
    "MatMul": 1, "Gemm": 1, "FusedMatMul": 1, "MatMulInteger": 1, "DynamicQuantizeMatMul": 1, "MatMulIntegerToFloat": 1,
    "MatMulNBits": 1,
    "QLinearMatMul": 3, "QGemm": 3,
}  # fmt: skip
GRID_INPUTS = {
    "QuantizeLinear": (1, 2), "DequantizeLinear": (1, 2), "DynamicQuantizeLinear": (), "MatMulInteger": (2, 3),
    "DynamicQuantizeMatMul": (2, 3), "MatMulIntegerToFloat": (2, 3, 4, 5), "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "QGemm": (1, 2, 4, 5, 7, 8),
}  # fmt: skip
ZERO_POINT_INPUT = {
    "DequantizeLinear": (0, 2), "MatMulInteger": (1, 3), "DynamicQuantizeMatMul": (1, 3),
    "MatMulIntegerToFloat": (1, 5), "QLinearMatMul": (3, 5), "QGemm": (3, 5),
}  # fmt: skip
"""Operator: position of the weight codes, position of their zero point."""
DYNAMIC = "DynamicQuantizeLinear"


@dataclass(frozen=True, kw_only=True)
class Weight:
    """One parameter tensor, counted."""

    name: str
    count: int
    nonzero_count: int
    """Codes that differ from their zero point, for INT8."""
    is_linear: bool


def weights_of(model: "ModelProto") -> Iterator[Weight]:
    """Every parameter tensor of a model once: weights, biases, embeddings; no scales, zero points or constants."""
    graph = model.graph
    initializers = {each.name: each for each in graph.initializer}
    sources = {name: node for node in graph.node for name in node.output}
    grids, linear, zero_points, scaled = set(), set(), {}, set()
    for node in graph.node:
        names = list(node.input)
        grids |= {names[place] for place in GRID_INPUTS.get(node.op_type, ()) if place < len(names)}
        # Dynamic quantization multiplies a weight's scale by the one that was just found for the activations.
        if node.op_type == "Mul" and any(sources[name].op_type == DYNAMIC for name in names if name in sources):
            grids |= set(names)
        if node.op_type in ZERO_POINT_INPUT:
            codes, zero_point = ZERO_POINT_INPUT[node.op_type]
            if zero_point < len(names) and names[zero_point] in initializers:
                zero_points[names[codes]] = names[zero_point]
        if node.op_type in WEIGHT_INPUT:
            name = names[WEIGHT_INPUT[node.op_type]]
            while name in sources and sources[name].op_type in ("DequantizeLinear", "Transpose", "Identity"):
                name = sources[name].input[0]
            linear.add(name)
        elif node.op_type not in ("Add", "Gather", "LayerNormalization"):
            scaled |= set(names)  # factors, masks and the like: constants of the graph
    for name, tensor in initializers.items():
        array = to_array(tensor)
        # int64 and bool steer shapes; scalars, and single values that factors and masks take, are constants.
        is_number = array.dtype in (np.float32, np.float16, np.int8, np.uint8, np.int32)
        is_factor = name.endswith(FACTORS_SUFFIX) or (name in scaled and array.size == 1)
        if name in grids or is_factor or not is_number or array.ndim == 0:
            continue
        zero = _zero_point(initializers, zero_points.get(name), array)
        nonzero_count = int(np.count_nonzero(array != zero))
        yield Weight(name=name, count=array.size, nonzero_count=nonzero_count, is_linear=name in linear)


def _zero_point(initializers: dict[str, "TensorProto"], name: str | None, codes: np.ndarray) -> np.ndarray:
    """The zero point of codes, shaped to compare with them; per-channel ones run along the last axis."""
    if name is None:
        return np.zeros((), dtype=codes.dtype)
    zero = to_array(initializers[name])
    if zero.size == 1:
        return zero.reshape(())
    return zero if codes.shape[-1] == zero.size else zero.reshape(-1, *[1] * (codes.ndim - 1))
