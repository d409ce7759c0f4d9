"""Whoever computes in float reads the float tensor, not what is left of it behind a grid.

ONNX Runtime's quantizer hands the dequantized tensor to every reader of a quantized one. In an encoder that is the
residual connection: it would be rounded to 8 bits at every LayerNormalization, outliers and all, and a DequantizeLinear
would run for it, although the tensor itself is there. Rows that an embedding look-up takes out of an INT8 table are no
such tensor: they are codes until their DequantizeLinear.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto

INT8_READERS = frozenset({"MatMul", "Gemm"})
"""Operators that a runtime fuses with the DequantizeLinear before them."""
INT8_MOVERS = frozenset({"Gather"})
"""Operators that a runtime runs on codes because they stand between pairs."""


def read_float_tensors(model: "ModelProto") -> int:
    """Let all but matrix products read a tensor from before its QuantizeLinear; returns how many inputs changed.

    A DequantizeLinear that nobody reads any more goes.

    Args:
        model: INT8, in the QDQ or the QOperator form; changed.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    before: dict[str, str] = {}
    for node in graph.node:
        quantizer = makers.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if quantizer is None or quantizer.op_type != "QuantizeLinear":
            continue
        source = makers.get(quantizer.input[0])
        if source is None or source.op_type not in INT8_MOVERS:
            before[node.output[0]] = quantizer.input[0]
    changed = 0
    for node in graph.node:
        if node.op_type in INT8_READERS:
            continue
        for place, name in enumerate(node.input):
            if name in before:
                node.input[place] = before[name]
                changed += 1
    read = {name for node in graph.node for name in node.input} | {each.name for each in graph.output}
    kept = [node for node in graph.node if node.output[0] not in before or node.output[0] in read]
    if len(kept) < len(graph.node):
        del graph.node[:]
        graph.node.extend(kept)
    return changed
