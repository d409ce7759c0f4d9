"""A graph's layers: who reads what, and their names as a user writes them, those of the weights without ``.weight``."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from compressbench.models.layer_names import no_such_layer

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

WEIGHT_PLACES = {"MatMul": 1, "Gemm": 1, "Gather": 0}
"""Where an operator's weight stands among its inputs."""


def weight_nodes(model: "ModelProto") -> Iterator[tuple["NodeProto", str]]:
    """Each Linear layer and each embedding look-up, with the name of its constant weight."""
    from onnx import TensorProto

    weights = {
        each.name for each in model.graph.initializer if len(each.dims) == 2 and each.data_type == TensorProto.FLOAT
    }
    for node in model.graph.node:
        place = WEIGHT_PLACES.get(node.op_type)
        if place is not None and node.input[place] in weights:
            yield node, node.input[place]


def layer_name(weight: str) -> str:
    """``bert.pooler.dense`` of ``bert.pooler.dense.weight``."""
    return weight.removesuffix(".weight")


def excluded_weights(model: "ModelProto", patterns: str) -> frozenset[str]:
    """Names of the weights whose layer or node one of the patterns is.

    Args:
        model: fp32.
        patterns: Joined by ``;``; ``*`` stands for any text.

    Raises:
        InvalidParameter: If a pattern is that of no layer.
    """
    named: dict[str, set[str]] = {}
    for node, weight in weight_nodes(model):
        for name in {layer_name(weight), weight, node.name} - {""}:
            named.setdefault(name, set()).add(weight)
    excluded: set[str] = set()
    for pattern in filter(None, patterns.split(";")):
        found = [weights for name, weights in named.items() if fnmatchcase(name, pattern)]
        if not found:
            raise no_such_layer(pattern, tuple(layer_name(weight) for _, weight in weight_nodes(model)))
        excluded.update(*found)
    return frozenset(excluded)


def linear_readers(model: "ModelProto") -> dict[str, tuple["NodeProto", ...]]:
    """Each computed tensor that Linear layers read, and these layers; those that share a weight are left out."""
    graph = model.graph
    initializers = {each.name: each for each in graph.initializer}
    makers = {name for node in graph.node for name in node.output}
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)
    found = {
        tensor: tuple(each for each in reading if is_linear(each, tensor, initializers, readers))
        for tensor, reading in readers.items()
        if tensor in makers
    }
    return {tensor: layers for tensor, layers in found.items() if layers}


def is_linear(
    node: "NodeProto",
    tensor: str,
    initializers: Mapping[str, "TensorProto"],
    readers: Mapping[str, list["NodeProto"]],
) -> bool:
    """Whether a node multiplies the tensor by a constant matrix that nobody else reads."""
    return (
        node.op_type == "MatMul"
        and node.input[0] == tensor
        and node.input[1] in initializers
        and len(initializers[node.input[1]].dims) == 2
        and len(readers[node.input[1]]) == 1
    )
