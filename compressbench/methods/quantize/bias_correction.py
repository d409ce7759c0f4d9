"""Bias correction on a static INT8 graph: each layer's mean error over calibration rows goes into its bias."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressbench.methods.quantize.int8_layers import Int8Layer, int8_layers
from compressbench.methods.quantize.observing import FIRST_AXIS, observe, over_rows
from compressbench.models.onnx_graph import to_array, to_tensor, weight_inputs
from compressbench.numerics.affine import real_values
from compressbench.numerics.bias_correction import expected_error
from compressbench.prediction import EncodedRows
from compressbench.progress import Progress

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


@dataclass(frozen=True, kw_only=True)
class FloatLayer:
    """What a Linear layer was before quantization."""

    weight: np.ndarray
    """float32 [inputs, outputs]."""
    bias: str
    """Name of the initializer added to its product, which only it reads."""


def float_layers(model: "ModelProto") -> dict[str, FloatLayer]:
    """The Linear layers with a bias of a fp32 graph, by the name of their weight."""
    initializers = {each.name: each for each in model.graph.initializer}
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    layers = {}
    for node, weight in weight_inputs(model):
        followers = readers.get(node.output[0], [])
        if node.op_type != "MatMul" or len(followers) != 1 or followers[0].op_type != "Add":
            continue
        biases = [name for name in followers[0].input if name in initializers and len(readers[name]) == 1]
        if len(biases) == 1 and len(readers[weight]) == 1:
            layers[weight] = FloatLayer(weight=to_array(initializers[weight]), bias=biases[0])
    return layers


def correct_biases(
    made: "ModelProto",
    before: Mapping[str, FloatLayer],
    encoded: EncodedRows,
    *,
    threads: int,
    workplace: Path,
    progress: Progress,
) -> list[str]:
    """Add to each bias what its layer's output is too small by on average over the rows' tokens, without padding.

    Args:
        made: Static INT8; its biases are changed.
        before: What `float_layers` said of the fp32 graph.
        encoded: Calibration rows.
        threads: For ONNX Runtime.
        workplace: A folder for a model that protobuf cannot hold in one piece.
        progress: Told of each row.

    Returns:
        Names of the weights whose layers were corrected.
    """
    layers = [each for each in int8_layers(made) if each.weight in before]
    means = _input_means(made, layers, encoded, threads=threads, workplace=workplace, progress=progress)
    initializers = {each.name: each for each in made.graph.initializer}
    for layer in layers:
        was = before[layer.weight]
        mean, rounded_mean = means[layer.input_codes]
        error = expected_error(mean, rounded_mean, weight=was.weight, rounded_weight=real_values(layer.weight_codes))
        bias = initializers[was.bias]
        bias.CopyFrom(to_tensor(to_array(bias) + error, was.bias))
    return [layer.weight for layer in layers]


def _input_means(
    made: "ModelProto",
    layers: Sequence[Int8Layer],
    encoded: EncodedRows,
    *,
    threads: int,
    workplace: Path,
    progress: Progress,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By name of the codes: means of each channel before and after the grid, over all tokens of all rows."""
    by_codes = {each.input_codes: each for each in layers}
    nodes, constants = _averaging(made, by_codes)
    outputs = [f"{kind}_{place}" for place in range(len(by_codes)) for kind in ("mean", "rounded_mean", "elements")]
    sums: list[np.ndarray] = []
    for values in observe(
        made, encoded, nodes=nodes, constants=constants, outputs=outputs, threads=threads,
        workplace=workplace, progress=progress, stage="correct biases", unpadded=True,
    ):  # fmt: skip
        weighed = [
            part.astype(np.float64)
            for mean, rounded_mean, elements in zip(values[0::3], values[1::3], values[2::3], strict=True)
            for part in (mean * float(elements), rounded_mean * float(elements), elements)
        ]
        sums = [old + new for old, new in zip(sums, weighed, strict=True)] if sums else weighed
    return {
        codes: (sums[3 * place] / sums[3 * place + 2], sums[3 * place + 1] / sums[3 * place + 2])
        for place, codes in enumerate(by_codes)
    }


def _averaging(
    made: "ModelProto", by_codes: Mapping[str, Int8Layer]
) -> tuple[list["NodeProto"], dict[str, np.ndarray]]:
    """Nodes that average each layer's input over all axes but the last, as it comes and after its grid; constants."""
    from onnx import TensorProto, helper

    nodes: list[NodeProto] = []
    constants = dict(FIRST_AXIS)
    for place, (codes, layer) in enumerate(by_codes.items()):
        width = f"averaging_{len(layer.weight_codes.values)}"
        constants[width] = np.array([-1, len(layer.weight_codes.values)], dtype=np.int64)
        rounded, size = f"rounded_{place}", f"size_{place}"
        nodes.append(helper.make_node("DequantizeLinear", [codes, *layer.input_grid], [rounded]))
        for tensor, mean in ((layer.input, f"mean_{place}"), (rounded, f"rounded_mean_{place}")):
            nodes += over_rows(made, tensor, {mean: "ReduceMean"}, width=width, name=f"{mean}_rows")
        nodes.append(helper.make_node("Size", [layer.input], [size]))
        nodes.append(helper.make_node("Cast", [size], [f"elements_{place}"], to=TensorProto.FLOAT))
    return nodes, constants
