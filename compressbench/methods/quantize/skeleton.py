"""Weights out of a graph before ONNX Runtime's quantizer rewrites it, and their codes in afterwards.

The quantizer walks through every column of every weight in Python: most of its time, and all of its memory. It is
given one-element weights and decides the graph alone; `numerics.affine` makes the same codes at once.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from compressbench.models.onnx_graph import to_array, to_tensor
from compressbench.numerics.affine import Codes, asymmetric_codes, symmetric_codes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

ROWS_SUFFIX = "_rows"
"""A tensor's name with this added is the same tensor with an axis of length 1."""
PRODUCT_SUFFIX = "_of_rows"
"""The same of what a Linear layer makes of it."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What was taken out of a graph."""

    linear: dict[str, np.ndarray]
    """Constant second inputs of MatMul [in, out], by name."""
    tables: dict[str, np.ndarray]
    """Embedding tables: constant first inputs of Gather."""
    nodes: list[str]
    """Names of the nodes that read them."""


def take_weights(model: "ModelProto", *, rows_as_matrices: bool, excluded: Collection[str] = ()) -> Weights:
    """Replace the weights of Linear layers and embeddings by one element each, shapes inferred before; returns them.

    Args:
        model: fp32; changed.
        rows_as_matrices: Whether Linear layers on [batch, features] (pooler, classifier) become ones on
            [batch, 1, features]. ONNX Runtime makes a Gemm of MatMul and Add of rank 2 before it looks for INT8
            patterns, and then computes it in fp32.
        excluded: Weights that stay fp32.
    """
    from onnx import TensorProto, shape_inference

    initializers = {each.name: each for each in model.graph.initializer}
    taken = Weights(linear={}, tables={}, nodes=[])
    aside: dict[str, bytes] = {}  # shape inference takes no more than 2 GiB
    for node in model.graph.node:
        place, kept = {"MatMul": (1, taken.linear), "Gather": (0, taken.tables)}.get(node.op_type, (0, None))
        weight = initializers.get(node.input[place]) if kept is not None else None
        if kept is None or weight is None or weight.data_type != TensorProto.FLOAT or len(weight.dims) != 2:
            continue
        if weight.name in excluded:
            aside.setdefault(weight.name, weight.raw_data)
            weight.ClearField("raw_data")
            continue
        taken.nodes.append(node.name)
        if weight.name not in kept:
            kept[weight.name] = to_array(weight)
            weight.ClearField("raw_data")
    shaped = shape_inference.infer_shapes(model)  # reads the dims of weights, not their values
    if rows_as_matrices:
        _rows_as_matrices(model, shaped, weights=taken.linear)
        shaped = shape_inference.infer_shapes(model)
    model.graph.value_info.extend(shaped.graph.value_info)
    for name, values in aside.items():
        if values:  # else they are in float_data, where they stayed
            initializers[name].raw_data = values
    for name in (*taken.linear, *taken.tables):
        initializers[name].CopyFrom(to_tensor(np.ones((1, 1), dtype=np.float32), name))
    return taken


def _rows_as_matrices(model: "ModelProto", shaped: "ModelProto", *, weights: Collection[str]) -> None:
    """Put a second axis of length 1 before each MatMul of rank 2, and take it off after its bias."""
    from onnx import helper

    ranks = {each.name: len(each.type.tensor_type.shape.dim) for each in shaped.graph.value_info}
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    vectors = {each.name for each in model.graph.initializer if len(each.dims) == 1}
    opened: set[str] = set()
    axis = "rows_axis"
    nodes: list[NodeProto] = []
    closing: dict[str, NodeProto] = {}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in weights and ranks.get(node.input[0]) == 2:
            row = f"{node.input[0]}{ROWS_SUFFIX}"
            if row not in opened:
                nodes.append(helper.make_node("Unsqueeze", [node.input[0], axis], [row]))
                opened.add(row)
            node.input[0] = row
            following = readers.get(node.output[0], [])
            has_bias = len(following) == 1 and following[0].op_type == "Add" and vectors & set(following[0].input)
            last = following[0] if has_bias else node
            result = last.output[0]
            last.output[0] = f"{result}{PRODUCT_SUFFIX}"
            closing[last.output[0]] = helper.make_node("Squeeze", [last.output[0], axis], [result])
        nodes.append(node)
        if node.output[0] in closing:
            nodes.append(closing[node.output[0]])
    if closing:
        model.graph.initializer.append(to_tensor(np.array([1], dtype=np.int64), axis))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for place, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{ROWS_SUFFIX}{place}"


def put_codes(model: "ModelProto", weights: Weights, *, reduce_range: bool) -> None:
    """Fill the quantizer's one-element codes, scales and zero points with those of the real weights.

    Args:
        model: What the quantizer made.
        weights: What `take_weights` took.
        reduce_range: See `symmetric_codes`; embedding tables enter no sum and keep all 8 bits.
    """
    from onnx import TensorProto

    initializers = {each.name: each for each in model.graph.initializer}

    def put(name: str, codes: Codes) -> None:
        parts = {"_quantized": codes.values, "_scale": codes.scale, "_zero_point": codes.zero_point}
        for suffix, values in parts.items():
            initializers[name + suffix].CopyFrom(to_tensor(values, name + suffix))

    for name, values in weights.linear.items():
        per_column = len(initializers[f"{name}_scale"].dims) == 1
        put(name, symmetric_codes(values, per_column=per_column, reduce_range=reduce_range))
    for name, values in weights.tables.items():
        signed = initializers[f"{name}_quantized"].data_type == TensorProto.INT8
        put(name, asymmetric_codes(values, code_type="int8" if signed else "uint8"))
