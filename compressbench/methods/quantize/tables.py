"""Embedding tables with a scale for each feature, as Linear layers have one for each output."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from compressbench.methods.quantize.residuals import INT8_READERS
from compressbench.models.onnx_graph import FACTORS_SUFFIX, to_tensor
from compressbench.numerics.affine import symmetric_codes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


@dataclass(frozen=True)
class LookUp:
    """A Gather from a quantized table."""

    gather: "NodeProto"
    rows: str
    """What its rows are called as floats."""
    not_needed: frozenset[str]
    """What quantizing nodes behind it make, once its rows are floats by themselves."""
    is_float: bool
    """Whether its rows are read as floats alone."""

    @classmethod
    def of(cls, gather: "NodeProto", readers: "Mapping[str, list[NodeProto]]") -> Self:
        """What stands behind a Gather, in the QDQ form (which dequantizes before it) or the operators' form."""
        behind = readers.get(gather.output[0], [])
        kinds = {node.op_type for node in behind}
        if "DequantizeLinear" in kinds:  # operators: codes come out of the look-up
            made = frozenset(node.output[0] for node in behind)
            return cls(gather, behind[0].output[0], made, is_float=kinds == {"DequantizeLinear"})
        quantizers = [node for node in behind if node.op_type == "QuantizeLinear"]
        pairs = quantizers + [each for node in quantizers for each in readers.get(node.output[0], [])]
        made = frozenset(node.output[0] for node in pairs)
        products = {each.op_type for name in made for each in readers.get(name, [])} & INT8_READERS
        return cls(gather, gather.output[0], made, is_float=bool(quantizers) and not products)


def scale_tables_by_feature(model: "ModelProto", tables: Mapping[str, np.ndarray]) -> None:
    """Give each table that ONNX Runtime's quantizer put on one grid a grid for each of its features.

    One entry of a position table can be seventy times as large as most, and one grid for all of it then misses them by
    a sixth of their size, where a grid for each feature misses them by a hundredth. What is looked up is scaled in one
    product: rows of codes, as floats, times the features' scales.

    Args:
        model: INT8, in the QDQ or the QOperator form, its codes in place; changed.
        tables: The fp32 tables [entries, features] by name.
    """
    from onnx import TensorProto, helper

    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    dropped: set[str] = set()
    instead: dict[str, str] = {}
    made: dict[str, list[NodeProto]] = {}
    for name, values in tables.items():
        look_ups = [
            LookUp.of(node, readers) for node in graph.node if node.op_type == "Gather" and reads(node, name, makers)
        ]
        if not look_ups or not all(each.is_float for each in look_ups):
            continue  # a product takes the codes as they are, so they stay on one grid
        codes = symmetric_codes(values, per_column=True)
        factors = f"{name}{FACTORS_SUFFIX}"
        graph.initializer.append(to_tensor(codes.values, f"{name}_codes"))
        graph.initializer.append(to_tensor(codes.scale, factors))
        for each in look_ups:
            dropped |= each.not_needed | ({each.gather.input[0]} & makers.keys())
            instead |= dict.fromkeys(each.not_needed, each.rows)
            each.gather.input[0] = f"{name}_codes"
            each.gather.output[0] = f"{each.rows}_codes"
            made[each.gather.output[0]] = [
                helper.make_node("Cast", [f"{each.rows}_codes"], [f"{each.rows}_unscaled"], to=TensorProto.FLOAT),
                helper.make_node("Mul", [f"{each.rows}_unscaled", factors], [each.rows]),
            ]
    kept: list[NodeProto] = []
    for node in graph.node:
        if node.output[0] in dropped:
            continue
        for place, name in enumerate(node.input):
            node.input[place] = instead.get(name, name)
        kept += [node, *made.get(node.output[0], [])]
    del graph.node[:]
    graph.node.extend(kept)


def reads(gather: "NodeProto", table: str, makers: "Mapping[str, NodeProto]") -> bool:
    """Whether a Gather looks up rows of the quantized table, as it is or dequantized."""
    maker = makers.get(gather.input[0])
    return f"{table}_quantized" in (gather.input[0], maker.input[0] if maker is not None else "")
