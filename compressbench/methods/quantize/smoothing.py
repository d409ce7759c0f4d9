"""SmoothQuant on a graph: outlier channels of a Linear layer's input move into its weights before ranges are taken.

Three places are known. Behind a LayerNormalization the factors go into its gain and bias, and whoever else reads its
output (the residual connection) gets it back by one multiplication. The values of attention pass through the
softmax's weighted mean unmixed, so factors of the context go into the value layer, at no cost. Behind a Gelu, which is
not linear, one multiplication is added. What costs a multiplication is done only where it gains (`LEAST_GAIN`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressbench.methods.quantize.layers import is_linear, linear_readers
from compressbench.methods.quantize.observing import FIRST_AXIS, observe, over_rows
from compressbench.models.onnx_graph import FACTORS_SUFFIX, to_array, to_tensor
from compressbench.numerics.smoothing import smoothing_factors, smoothing_gain
from compressbench.prediction import EncodedRows
from compressbench.progress import Progress

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

LEAST_GAIN = 2.0
"""A multiplication more in the graph must shrink the grids' steps at least by this (see `smoothing_gain`)."""
UNMIXED = frozenset({"Reshape", "Transpose"})


@dataclass(frozen=True, kw_only=True)
class Place:
    """A tensor that Linear layers read, and what makes it."""

    tensor: str
    layers: tuple["NodeProto", ...]
    others: tuple["NodeProto", ...]
    """Nodes that read it and are no Linear layer."""
    maker: "NodeProto"
    value_layer: "NodeProto | None"
    """For a context of attention: the MatMul that makes the values."""


def smooth_graph(
    model: "ModelProto",
    encoded: EncodedRows,
    *,
    strength: float,
    threads: int,
    workplace: Path,
    progress: Progress,
) -> list[str]:
    """Move outlier channels from activations into weights; the graph answers as before.

    Args:
        model: fp32, its Linear layers as MatMul; changed.
        encoded: Calibration rows; channels' ranges are taken on them.
        strength: See `smoothing_factors`.
        threads: For ONNX Runtime.
        workplace: A folder for a model that protobuf cannot hold in one piece.
        progress: Told of each row.

    Returns:
        Names of the tensors that were smoothed.
    """
    places = smoothable(model)
    if not places:
        return []
    initializers = {each.name: each for each in model.graph.initializer}
    widths = {each.tensor: initializers[each.layers[0].input[1]].dims[0] for each in places}
    peaks = _channel_peaks(model, encoded, widths, threads=threads, workplace=workplace, progress=progress)
    smoothed = []
    for place in places:
        weights = [initializers[node.input[1]] for node in place.layers]
        weight_peaks = np.max([np.abs(to_array(weight)).max(axis=1) for weight in weights], axis=0)
        factors = smoothing_factors(peaks[place.tensor], weight_peaks, strength=strength)
        costs = place.value_layer is None and (place.maker.op_type == "Gelu" or place.others)
        if costs and smoothing_gain(peaks[place.tensor], weight_peaks, factors) < LEAST_GAIN:
            continue
        for weight in weights:
            _scale(weight, factors[:, None])
        _divide(model, place, factors, initializers)
        smoothed.append(place.tensor)
    return smoothed


def smoothable(model: "ModelProto") -> list[Place]:
    """The places of a graph where factors can go; a weight that two layers share is left alone."""
    graph = model.graph
    initializers = {each.name: each for each in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)
    places = []
    for tensor, layers in linear_readers(model).items():
        maker = makers[tensor]
        others = tuple(each for each in readers[tensor] if each not in layers)
        value_layer = _value_layer(tensor, makers, readers, initializers) if not others else None
        gain_is_constant = maker.op_type == "LayerNormalization" and all(
            name in initializers and len(readers[name]) == 1 for name in maker.input[1:3]
        )
        if gain_is_constant or maker.op_type == "Gelu" or value_layer is not None:
            places.append(Place(tensor=tensor, layers=layers, others=others, maker=maker, value_layer=value_layer))
    return places


def _value_layer(
    tensor: str,
    makers: Mapping[str, "NodeProto"],
    readers: Mapping[str, list["NodeProto"]],
    initializers: Mapping[str, "TensorProto"],
) -> "NodeProto | None":
    """The MatMul behind the values whose weighted mean a context is, if heads keep their order all the way."""
    product = _behind_views(tensor, makers, readers)
    if product is None or product.op_type != "MatMul" or product.input[1] in initializers:
        return None
    probabilities = makers.get(product.input[0])
    biased = _behind_views(product.input[1], makers, readers)
    if probabilities is None or probabilities.op_type != "Softmax" or biased is None or biased.op_type != "Add":
        return None
    layer, bias = makers.get(biased.input[0]), biased.input[1]
    if layer is None or bias not in initializers or len(readers[bias]) != 1 or len(readers[layer.output[0]]) != 1:
        return None
    return layer if is_linear(layer, layer.input[0], initializers, readers) else None


def _behind_views(
    tensor: str, makers: Mapping[str, "NodeProto"], readers: Mapping[str, list["NodeProto"]]
) -> "NodeProto | None":
    """What made a tensor that Reshape and Transpose have only turned, and that nobody reads on the way."""
    node = makers.get(tensor)
    while node is not None and node.op_type in UNMIXED and len(readers[node.output[0]]) == 1:
        node = makers.get(node.input[0])
    return node if node is not None and len(readers[node.output[0]]) == 1 else None


def _channel_peaks(
    model: "ModelProto",
    encoded: EncodedRows,
    widths: Mapping[str, int],
    *,
    threads: int,
    workplace: Path,
    progress: Progress,
) -> dict[str, np.ndarray]:
    """Largest magnitude of each channel (last axis) over all rows and tokens, by tensor."""
    from onnx import helper

    nodes, constants = [], dict(FIRST_AXIS)
    for place, (name, channels) in enumerate(widths.items()):
        magnitude, width = f"smooth_abs_{place}", f"smooth_{channels}"
        constants[width] = np.array([-1, channels], dtype=np.int64)
        nodes.append(helper.make_node("Abs", [name], [magnitude]))
        peak = {f"smooth_peak_{place}": "ReduceMax"}
        nodes += over_rows(model, magnitude, peak, width=width, name=f"{magnitude}_rows")
    found: list[np.ndarray] = []
    for values in observe(
        model,
        encoded,
        nodes=nodes,
        constants=constants,
        outputs=[f"smooth_peak_{place}" for place in range(len(widths))],
        threads=threads,
        workplace=workplace,
        progress=progress,
        stage="smooth",
    ):
        found = [np.maximum(old, new) for old, new in zip(found, values, strict=True)] if found else values
    return dict(zip(widths, found, strict=True))


def _divide(model: "ModelProto", place: Place, factors: np.ndarray, initializers: Mapping[str, "TensorProto"]) -> None:
    """Make the place's tensor come out divided by the factors, for its Linear layers alone."""
    if place.value_layer is not None:
        layer = place.value_layer
        follower = next(node for node in model.graph.node if layer.output[0] in node.input)
        for name in (layer.input[1], follower.input[1]):
            _scale(initializers[name], 1.0 / factors)
    elif place.maker.op_type == "LayerNormalization":
        for name in place.maker.input[1:3]:
            _scale(initializers[name], 1.0 / factors)
        if place.others:
            restored = _insert_product(model, place, factors, suffix="restored")
            for node in place.others:
                node.input[:] = [restored if name == place.tensor else name for name in node.input]
    else:
        divided = _insert_product(model, place, 1.0 / factors, suffix="smoothed")
        for node in place.layers:
            node.input[0] = divided


def _insert_product(model: "ModelProto", place: Place, factors: np.ndarray, *, suffix: str) -> str:
    """A Mul of the place's tensor and the factors, right behind what makes it; returns its output."""
    from onnx import helper

    product = f"{place.tensor}_{suffix}"
    model.graph.initializer.append(to_tensor(factors, f"{product}{FACTORS_SUFFIX}"))
    node = helper.make_node("Mul", [place.tensor, f"{product}{FACTORS_SUFFIX}"], [product])
    behind = next(at for at, each in enumerate(model.graph.node) if place.tensor in each.output) + 1
    model.graph.node.insert(behind, node)
    return product


def _scale(tensor: "TensorProto", factors: np.ndarray) -> None:
    tensor.CopyFrom(to_tensor(to_array(tensor) * factors.astype(np.float32), tensor.name))
