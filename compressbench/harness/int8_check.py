"""Does a "quantized" model compute in INT8? Read off ONNX Runtime's optimized graph, run once under its profiler."""

from pathlib import Path
from typing import TYPE_CHECKING

from compressbench.harness.gemms import FLOAT_GEMMS, INT8_GEMMS, Gemm, constant_names, profiled_graph
from compressbench.harness.shapes import Shape
from compressbench.models.onnx_graph import read_model
from compressbench.records.schema import Int8Record
from compressbench.runtimes.onnxruntime import NAME

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

SHAPE_ONLY = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Flatten", "Gather", "Slice"})


def check_int8(onnx_path: Path, *, shape: Shape, measured_key: str) -> Int8Record | None:
    """Share of the matrix products that run in INT8 kernels; None for a model that holds no INT8 operator at all.

    Args:
        onnx_path: Any ONNX classifier.
        shape: Batch x tokens; shares depend on it, for attention grows with the square of the length.
        measured_key: Of the model, for the record.

    Raises:
        BadInput: If the file is no ONNX model.
    """
    if not _is_quantized(read_model(onnx_path)):
        return None
    optimized, gemms = profiled_graph(onnx_path, shape)
    constant = [gemm for gemm in gemms if gemm.has_constant_weight]
    return Int8Record(
        measured_key=measured_key,
        runtime=NAME,
        shape=str(shape),
        gemm_share=int8_share(gemms),
        constant_gemm_share=int8_share(constant),
        leftover_qdq_pairs=leftover_pairs(optimized),
    )


def int8_share(gemms: list[Gemm]) -> float:
    """INT8 multiply-adds over all; 0 where there are none."""
    total = sum(gemm.multiply_adds for gemm in gemms)
    return sum(gemm.multiply_adds for gemm in gemms if gemm.is_int8) / total if total else 0.0


def leftover_pairs(optimized: "ModelProto") -> int:
    """DequantizeLinear nodes whose output reaches a QuantizeLinear or a fp32 product with constant weight.

    Shape-only operators on the way count as nothing in between. Such a pair is work that a fused kernel would not do.
    """
    constants = constant_names(optimized)
    readers: dict[str, list[NodeProto]] = {}
    for node in optimized.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def is_left_over(name: str) -> bool:
        for node in readers.get(name, []):
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


def _is_quantized(model: "ModelProto") -> bool:
    quantizers = INT8_GEMMS | {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}
    return any(node.op_type in quantizers for node in model.graph.node)
