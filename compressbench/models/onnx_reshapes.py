"""Reshapes that say what they keep: a 0 for each dimension that is copied, instead of one computed from the input.

PyTorch's exporter computes a view's batch and length by Shape and Concat, some steps more in each layer, and ONNX
Runtime loses track of shapes there.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from compressbench.models.onnx_graph import drop_unused_initializers, to_tensor

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

SHAPE_NAME = "reshape"


def constant_reshapes(model: "ModelProto") -> None:
    """Give each Reshape whose first two dimensions are batch and tokens a constant shape; drop what computed it.

    Such a Reshape has the shape ``Concat(batch, tokens, ...)``, where both are read off an input by Shape, and splits
    the features of [batch, tokens, features] into heads or joins [batch, tokens, heads, size] again: what it is given
    begins with the same two dimensions, so that a 0 copies them.

    Args:
        model: fp32, with the shapes that the exporter noted; changed. A Reshape of another form stays as it is.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    widths = _known_widths(model)
    made: set[str] = set()
    for node in graph.node:
        if node.op_type != "Reshape" or not _keeps_batch_and_tokens(makers.get(node.input[1]), makers):
            continue
        dims = widths.get(node.output[0])
        if not dims:
            continue
        name = "_".join([SHAPE_NAME, *map(str, dims)])
        if name not in made:
            graph.initializer.append(to_tensor(np.array([0, 0, *dims], dtype=np.int64), name))
            made.add(name)
        node.input[1] = name
        del node.attribute[:]  # the exporter's `allowzero` would take a 0 for an empty dimension
    _drop_unread(model)
    drop_unused_initializers(model)


def _known_widths(model: "ModelProto") -> dict[str, list[int]]:
    """For each tensor of which all but the first two dimensions are noted as numbers: those."""
    found = {}
    for each in model.graph.value_info:
        dims = each.type.tensor_type.shape.dim
        if len(dims) > 2 and all(dim.dim_value for dim in dims[2:]):
            found[each.name] = [dim.dim_value for dim in dims[2:]]
    return found


def _keeps_batch_and_tokens(shape: "NodeProto | None", makers: Mapping[str, "NodeProto"]) -> bool:
    """Whether a Reshape's shape is put together from the first two dimensions of the graph's input and more."""
    return (
        shape is not None
        and shape.op_type == "Concat"
        and len(shape.input) > 2
        and all(_is_dimension(makers.get(name), place) for place, name in enumerate(shape.input[:2]))
    )


def _is_dimension(node: "NodeProto | None", place: int) -> bool:
    """Whether a node reads the dimension at `place` alone off a tensor."""
    if node is None or node.op_type != "Shape":
        return False
    bounds = {each.name: each.i for each in node.attribute}
    return bounds.get("start", 0) == place and bounds.get("end") == place + 1


def _drop_unread(model: "ModelProto") -> None:
    """Remove nodes whose outputs nothing reads, and what only they read."""
    kept = []
    read = {each.name for each in model.graph.output}
    for node in reversed(model.graph.node):  # readers come after what they read, as ONNX demands
        if read & set(node.output):
            kept.append(node)
            read |= set(node.input)
    del model.graph.node[:]
    model.graph.node.extend(reversed(kept))
