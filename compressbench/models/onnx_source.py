"""Whether an ONNX file from elsewhere can be compressed: what it is refused for, each in one sentence."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from compressbench.errors import BadInput
from compressbench.models.onnx_graph import read_model

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

QUANTIZED_OPS = frozenset({
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearMatMul", "QGemm",
    "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QAttention", "MatMulNBits", "QEmbedLayerNormalization",
})  # fmt: skip
FIRST_OPSET = 13
"""The first in which a scale may stand for each column."""
DOMAINS = frozenset({"", "ai.onnx", "com.microsoft", "ai.onnx.ml"})


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
    return model


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
