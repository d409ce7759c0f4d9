"""S8 activations as U8: the same values under other codes, which x86 has kernels for.

ONNX Runtime does the same on x86 (`qdq_s8_to_u8`), but only for a QuantizeLinear with a single reader; the activations
that query, key and value share stay signed, and with them the products stay in fp32. `DedicatedQDQPair` gives each
reader a pair of its own, so that ONNX Runtime's own pass sees to it; this pass moves the codes in the file.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from compressbench.models.onnx_graph import to_array, to_tensor
from compressbench.numerics.affine import Codes, to_unsigned

if TYPE_CHECKING:
    from onnx import ModelProto


def move_to_unsigned(model: "ModelProto", *, only: Collection[str] | None = None) -> int:
    """Move every S8 activation of a QDQ graph to U8 by +128 on its zero point; returns how many grids were moved.

    What `QuantizeLinear` writes follows its zero point's type, so the codes move with it. An embedding table shares the
    grid of what is looked up in it, and its stored codes move too; weights of Linear layers stay as they are.

    Args:
        model: In the QDQ form; changed.
        only: Names of the zero points to move; None: all.
    """
    grids = {node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear" and len(node.input) > 2}
    if only is not None:
        grids &= set(only)
    tables = {
        node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[2] in grids
    }
    moved = 0
    for each in model.graph.initializer:
        if each.name not in grids | tables:
            continue
        values = to_array(each)
        if values.dtype == np.int8:
            codes = to_unsigned(Codes(values, np.ones(1, dtype=np.float32), np.zeros(1, dtype=np.int8)))
            each.CopyFrom(to_tensor(codes.values, each.name))
            moved += each.name in grids
    return moved
