"""Whether an ONNX file from elsewhere can be compressed: what it is refused for, each in one sentence."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from compressbench.errors import BadInput
from compressbench.models.onnx_graph import (
    LINEAR_OPS,
    drop_unused_initializers,
    read_model,
    to_array,
    to_tensor,
    weight_inputs,
)

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

QUANTIZED_OPS = frozenset({
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearMatMul", "QGemm",
    "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QAttention", "MatMulNBits", "QEmbedLayerNormalization",
})  # fmt: skip
FIRST_OPSET = 13
"""The first in which a scale may stand for each column."""
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
GRAPHS = (5, 10)
"""Types of attributes that hold graphs: AttributeProto.GRAPH and GRAPHS."""


def read_source(path: Path, *, needed_by: str) -> "ModelProto":
    """The fp32 model in a file, external data included.

    Args:
        path: An ONNX file.
        needed_by: The method that it is read for.

    Raises:
        BadInput: If it is missing, damaged, quantized already, of an opset that is not known, or of fixed axes.
    """
    model = read_model(path)
    check_fp32(model, path, needed_by=needed_by)
    _check_opset(model, path)
    _check_axes(model, path)
    _check_weights(model, path)
    _check_wiring(model, path)
    weights_as_initializers(model)
    _check_linear_layers(model, path)
    return model


def weights_as_initializers(model: "ModelProto") -> None:
    """Bring weights that other exporters write in their own ways to where quantization looks for them.

    Constants and what an Identity passes on become initializers, a weight that a Transpose turns is turned here,
    initializers are no inputs, and the shapes that an exporter noted go: they are inferred anew where they are
    needed, and some weights change theirs.

    Args:
        model: Changed; it computes what it did.
    """
    graph = model.graph
    del graph.value_info[:]
    weights = {each.name: each for each in graph.initializer}
    kept = []
    for node in graph.node:
        made = _constant_made(node, weights)
        if made is None:
            kept.append(node)
        else:
            graph.initializer.append(made)
            weights[made.name] = made
    if len(kept) < len(graph.node):
        del graph.node[:]
        graph.node.extend(kept)
        drop_unused_initializers(model)
    inputs = [each for each in graph.input if each.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)


def _constant_made(node: "NodeProto", weights: "Mapping[str, TensorProto]") -> "TensorProto | None":
    """What a node makes of constants alone, as an initializer; None where it does something else."""
    if node.op_type == "Constant":
        values = next((each.t for each in node.attribute if each.name == "value"), None)
        return None if values is None else to_tensor(to_array(values), node.output[0])
    source = weights.get(node.input[0]) if node.op_type in ("Identity", "Transpose") else None
    if source is None or (node.op_type == "Transpose" and len(source.dims) != 2):
        return None
    array = to_array(source)
    return to_tensor(array if node.op_type == "Identity" else array.T, node.output[0])


def _check_linear_layers(model: "ModelProto", path: Path) -> None:
    from onnx import TensorProto

    halves = {each.name for each in model.graph.initializer if each.data_type == TensorProto.FLOAT16}
    halves |= {node.output[0] for node in model.graph.node if node.op_type == "Cast" and node.input[0] in halves}
    if any(halves & set(node.input) for node in model.graph.node if node.op_type in LINEAR_OPS):
        raise BadInput(f"{path} has weights in half precision: export it in fp32")
    if next(weight_inputs(model), None) is None:
        raise BadInput(f"{path} has no Linear layer with constant weights: export a text classifier in fp32")


def check_fp32(model: "ModelProto", path: Path, *, needed_by: str) -> None:
    """Refuse a model that is quantized already.

    Raises:
        BadInput: If it is.
    """
    quantized = sorted({node.op_type for node in model.graph.node} & QUANTIZED_OPS)
    if quantized:
        raise BadInput(f"{path} is quantized already (it has {quantized[0]}): give {needed_by} the fp32 model")


def _check_opset(model: "ModelProto", path: Path) -> None:
    import onnx

    last = onnx.defs.onnx_opset_version()
    versions = {each.domain: each.version for each in model.opset_import}
    version = versions.get("", versions.get("ai.onnx", 0))
    if not FIRST_OPSET <= version <= last:
        raise BadInput(
            f"{path} is of opset {version}, and opsets {FIRST_OPSET} to {last} are known here: "
            "export it with one of those"
        )
    nested = next((node.op_type for node in model.graph.node if any(a.type in GRAPHS for a in node.attribute)), None)
    if nested:
        raise BadInput(f"{path} has a graph within its {nested}: export it without control flow")
    used = {node.domain for node in model.graph.node}
    unknown = sorted(used - DOMAINS)
    if unknown:
        raise BadInput(f"{path} has operators of {unknown[0]!r}, which is not known here: export it to standard ONNX")


def _check_axes(model: "ModelProto", path: Path) -> None:
    weights = {each.name for each in model.graph.initializer}
    for each in model.graph.input:
        if each.name in weights:  # as IR versions below 4 list them
            continue
        sizes = [axis.dim_value for axis in each.type.tensor_type.shape.dim]
        if any(sizes):
            shown = " x ".join(str(size) if size else "any" for size in sizes)
            raise BadInput(f"{path} takes {each.name} of {shown} alone: export it with dynamic axes, batch and tokens")


def _check_weights(model: "ModelProto", path: Path) -> None:
    for tensor in model.graph.initializer:
        expected, found = _value_bytes(tensor), len(tensor.raw_data)
        if tensor.HasField("raw_data") and expected is not None and found != expected:
            raise BadInput(
                f"{path} is cut short: {tensor.name} has {found} of {expected} bytes; copy or export it again"
            )


def _value_bytes(tensor: "TensorProto") -> int | None:
    """Bytes that a tensor's values take; None for types of less than a byte and for texts."""
    import numpy as np
    from onnx import helper

    try:
        item = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    except (KeyError, TypeError, ValueError):
        return None
    packed = tensor.data_type in (tensor.UINT4, tensor.INT4, tensor.STRING)
    return None if packed else int(np.prod(tensor.dims, dtype=np.int64)) * item.itemsize


def _check_wiring(model: "ModelProto", path: Path) -> None:
    """Refuse a graph in which a node reads what nobody makes: some of it is missing."""
    missing = next(_undefined(model), None)
    if missing is not None:
        raise BadInput(f"{path} is damaged: nothing in it makes {missing!r}, which a node reads; export it again")


def _undefined(model: "ModelProto") -> Iterator[str]:
    graph = model.graph
    known = {each.name for each in (*graph.input, *graph.initializer)} | {""}
    known |= {each.values.name for each in graph.sparse_initializer}
    known |= {name for node in graph.node for name in node.output}
    for node in graph.node:
        yield from (name for name in node.input if name not in known)
    yield from (each.name for each in graph.output if each.name not in known)
