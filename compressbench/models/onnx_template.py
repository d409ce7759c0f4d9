"""One export per graph: a graph without weights, and which tensor of a model fills which place in it.

The template is exported from a model of the same config whose every weight is random. Then no two tensors are equal,
none is zero or one, and the exporter can neither merge nor drop any: each place in the graph is found by its values.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compressbench.errors import MethodFailed
from compressbench.models.onnx_graph import drop_unused_initializers, read_model, to_array, to_tensor

if TYPE_CHECKING:
    from onnx import ModelProto

SOURCES = "compressbench.sources"
"""Metadata property of a template: for each initializer without values, the tensor it takes them from."""
LONGEST_CONSTANT = 16
"""A float constant longer than this that is no tensor of the model was computed from its weights."""


@dataclass(frozen=True)
class Source:
    """Where an initializer's values come from."""

    tensor: str
    """Name in the model's state dict."""
    transposed: bool


def make_template(model: "ModelProto", tensors: Mapping[str, np.ndarray]) -> "ModelProto":
    """Take the weights out of an exported model and note which tensor each one was.

    Args:
        model: The export; it is changed.
        tensors: The exported model's state dict, every float tensor of it random.

    Raises:
        MethodFailed: If a weight of the graph is none of the tensors, as it is or transposed.
    """
    from onnx import TensorProto

    by_start = _by_first_values(tensors)
    sources: dict[str, dict[str, Any]] = {}
    renamed: dict[str, str] = {}
    for initializer in model.graph.initializer:
        if initializer.data_type != TensorProto.FLOAT:
            continue
        values = to_array(initializer)
        found = _find(values, by_start)
        if found is None:
            if values.size > LONGEST_CONSTANT:
                raise MethodFailed(f"the exported graph holds a constant computed from weights: {initializer.name}")
            continue
        name = found.tensor if found.tensor not in sources else f"{found.tensor}.{len(sources)}"
        renamed[initializer.name] = initializer.name = name
        sources[name] = {"tensor": found.tensor, "transposed": found.transposed}
        initializer.ClearField("raw_data")
        initializer.ClearField("float_data")
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    model.metadata_props.add(key=SOURCES, value=json.dumps(sources))
    return model


def fill_template(template: "ModelProto", tensors: Mapping[str, np.ndarray]) -> "ModelProto":
    """The template's graph with a model's weights; the template is used up.

    The number of classes may differ from the template's: shapes are the tensors' own.

    Raises:
        MethodFailed: If the model lacks a tensor.
    """
    sources = {
        name: Source(**values)
        for each in template.metadata_props
        if each.key == SOURCES
        for name, values in json.loads(each.value).items()
    }
    del template.metadata_props[:]
    for initializer in template.graph.initializer:
        source = sources.get(initializer.name)
        if source is None:
            continue
        if source.tensor not in tensors:
            raise MethodFailed(f"the model has no tensor {source.tensor}, which models of its config have")
        values = tensors[source.tensor]
        initializer.CopyFrom(to_tensor(values.T if source.transposed else values, initializer.name))
    drop_unused_initializers(template)
    _name_output_width(template)
    return template


def store_template(template: "ModelProto", path: Path) -> None:
    """Write a template so that a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_bytes(template.SerializeToString())
    partial.replace(path)


def load_template(path: Path) -> "ModelProto":
    """Read a stored template."""
    return read_model(path)


def _name_output_width(model: "ModelProto") -> None:
    """Give the logits as many columns as the last layer has."""
    widths = {each.name: each.dims[-1] for each in model.graph.initializer if each.dims}
    output = model.graph.output[0]
    producer = next((node for node in model.graph.node if output.name in node.output), None)
    width = next((widths[name] for name in reversed(producer.input) if name in widths), None) if producer else None
    if width is not None:
        output.type.tensor_type.shape.dim[-1].dim_value = width


def _by_first_values(tensors: Mapping[str, np.ndarray]) -> dict[bytes, list[tuple[Source, np.ndarray]]]:
    """Each float tensor and its transpose, by its first few values."""
    found: dict[bytes, list[tuple[Source, np.ndarray]]] = {}
    for name, values in tensors.items():
        if values.dtype != np.float32:
            continue
        found.setdefault(_start(values), []).append((Source(name, transposed=False), values))
        if values.ndim == 2:
            found.setdefault(_start(values.T), []).append((Source(name, transposed=True), values.T))
    return found


def _start(values: np.ndarray) -> bytes:
    return np.ravel(values[:1])[:8].tobytes()


def _find(values: np.ndarray, by_start: Mapping[bytes, list[tuple[Source, np.ndarray]]]) -> Source | None:
    candidates = by_start.get(_start(values), ()) if values.ndim else ()
    return next((source for source, tensor in candidates if np.array_equal(tensor, values)), None)
