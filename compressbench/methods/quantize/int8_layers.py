"""The Linear layers of a static INT8 graph: what each reads, on which grid, and which codes its weight has."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from compressbench.models.onnx_graph import to_array
from compressbench.numerics.affine import Codes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

CODES_SUFFIX = "_quantized"


@dataclass(frozen=True, kw_only=True)
class Int8Layer:
    """A Linear layer whose input and weight are INT8."""

    weight: str
    """Name of the fp32 weight that the codes are of."""
    input: str
    """The float tensor before its QuantizeLinear."""
    input_codes: str
    input_grid: tuple[str, str]
    """Names of scale and zero point."""
    weight_codes: Codes


def int8_layers(made: "ModelProto") -> Iterator[Int8Layer]:
    """Every Linear layer of a QDQ or QOperator graph whose weight is INT8, in order."""
    initializers = {each.name: each for each in made.graph.initializer}
    makers = {name: node for node in made.graph.node for name in node.output}
    for node in made.graph.node:
        names = _grids(node, makers)
        if names is None:
            continue
        codes, scale, zero_point, weight, weight_scale, weight_zero_point = names
        quantizer = makers.get(codes)
        if weight not in initializers or quantizer is None or quantizer.op_type != "QuantizeLinear":
            continue
        yield Int8Layer(
            weight=weight.removesuffix(CODES_SUFFIX),
            input=quantizer.input[0],
            input_codes=codes,
            input_grid=(scale, zero_point),
            weight_codes=Codes(*(_values(initializers, each) for each in (weight, weight_scale, weight_zero_point))),
        )


def _values(initializers: Mapping[str, "TensorProto"], name: str) -> np.ndarray:
    return to_array(initializers[name])


def _grids(node: "NodeProto", makers: Mapping[str, "NodeProto"]) -> list[str] | None:
    """Names of codes, scale and zero point of the first input, then of the second; None for another operator."""
    if node.op_type == "QLinearMatMul":
        return list(node.input[:6])
    if node.op_type != "MatMul":
        return None
    names: list[str] = []
    for name in node.input:
        unpacked = makers.get(name)
        if unpacked is None or unpacked.op_type != "DequantizeLinear":
            return None
        names += unpacked.input
    return names
