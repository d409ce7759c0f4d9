"""Does a "quantized" model compute in INT8? Read off the graph that each runtime makes of it, never off the file.

ONNX Runtime's optimized graph has operators of its own for INT8 products; OpenVINO's runtime model names the precision
that each layer executes in (`int8_openvino`); PyTorch's dynamic quantization replaces modules (`int8_torch`).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from compressbench.harness.gemms import (
    FLOAT_GEMMS,
    INT8_GEMMS,
    int8_by_layer,
    int8_share,
    profiled_graph,
)
from compressbench.harness.shapes import Shape
from compressbench.models.onnx_graph import constant_names, read_model
from compressbench.records.schema import Int8Record
from compressbench.runtimes.catalog import DEFAULT, RUNTIMES

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

SHAPE_ONLY = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Flatten", "Gather", "Slice"})


def check_int8(
    onnx_path: Path, *, shape: Shape, measured_key: str, runtime: str = DEFAULT, torch_path: Path | None = None
) -> Int8Record | None:
    """Share of the matrix products that run in INT8 kernels; None where nothing is meant to run in INT8.

    Args:
        onnx_path: Any ONNX classifier.
        shape: Batch x tokens; shares depend on it, for attention grows with the square of the length.
        measured_key: Of the model, for the record.
        runtime: The runtime whose graph is read.
        torch_path: The Hugging Face folder it was exported from, where there is one.

    Raises:
        BadInput: If the file is no ONNX model.
    """
    known = RUNTIMES[runtime]
    if known.opens == "torch":
        if known.precision != "int8" or torch_path is None:
            return None
        from compressbench.harness.int8_torch import torch_gemms

        gemms, leftover = torch_gemms(torch_path, shape), 0
    elif not is_quantized(read_model(onnx_path)):
        return None
    elif known.package == "openvino":
        from compressbench.harness.int8_openvino import openvino_gemms

        gemms, leftover = openvino_gemms(onnx_path, shape, precision=known.precision)
    else:
        optimized, gemms = profiled_graph(onnx_path, shape)
        leftover = leftover_pairs(optimized)
    return Int8Record(
        measured_key=measured_key,
        runtime=runtime,
        shape=str(shape),
        gemm_share=int8_share(gemms),
        constant_gemm_share=int8_share(gemm for gemm in gemms if gemm.has_constant_weight),
        leftover_qdq_pairs=leftover,
        layers=int8_by_layer(gemms),
    )


def leftover_pairs(optimized: "ModelProto", *, fused: Iterable[str] = ()) -> int:
    """DequantizeLinear nodes whose output reaches a QuantizeLinear or a fp32 product with constant weight.

    Shape-only operators on the way count as nothing in between. Such a pair is work that a fused kernel would not do.

    Args:
        optimized: The graph that runs.
        fused: Names of nodes that a runtime runs in INT8 though the graph does not say so.
    """
    constants, in_int8 = constant_names(optimized), frozenset(fused)
    readers: dict[str, list[NodeProto]] = {}
    for node in optimized.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def is_left_over(name: str) -> bool:
        for node in readers.get(name, []):
            if node.name and node.name in in_int8:
                continue
            if node.op_type == "QuantizeLinear" or (node.op_type in FLOAT_GEMMS and node.input[1] in constants):
                return True
            if node.op_type in FLOAT_GEMMS and node.input[0] in constants:
                return True
            if node.op_type in SHAPE_ONLY and node.input[0] == name and is_left_over(node.output[0]):
                return True
        return False

    return sum(
        is_left_over(node.output[0])
        for node in optimized.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] not in constants
    )


def is_quantized(model: "ModelProto") -> bool:
    """Whether a graph holds any INT8 operator, or codes to be unpacked."""
    quantizers = INT8_GEMMS | {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}
    return any(node.op_type in quantizers for node in model.graph.node)
