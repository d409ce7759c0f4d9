"""ONNX files: read, written (beyond 2 GiB too), cleaned of what the exporter leaves, and keyed by their graph."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressbench.errors import BadInput

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

ONE_FILE_BYTES = 2**31 - 2**24
"""protobuf holds less than 2 GiB; larger models keep their weights in a file beside the graph."""
EXTERNAL_SUFFIX = ".data"
EXTERNAL_SUFFIXES = (EXTERNAL_SUFFIX, "_data")
"""What such files are called by us and torch, and by optimum."""
FACTORS_SUFFIX = "_smoothing_factors"
"""Ends the names of what smoothing multiplies by: constants of the graph, no parameters of the model."""
LINEAR_OPS = frozenset({"MatMul", "Gemm"})


def read_model(path: Path) -> "ModelProto":
    """Read an ONNX file, external data included.

    Raises:
        BadInput: If there is none, it is damaged, or its external data is missing.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx.checker import ValidationError

    try:
        model = onnx.load(str(path), load_external_data=False)
        if not model.graph.node:
            raise BadInput(f"{path} is no ONNX model: it holds no graph")
        _check_external(model, path)
        onnx.load_external_data_for_model(model, str(path.parent))
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist: give the ONNX file, or the folder that holds it") from None
    except (DecodeError, ValidationError, ValueError, OSError) as error:
        raise BadInput(f"{path} is no readable ONNX model ({type(error).__name__}): export it anew") from None
    return model


def external_files(path: Path) -> list[Path]:
    """The files beside an ONNX file that hold weights of it, sorted."""
    import onnx

    return sorted(_external_ends(onnx.load(str(path), load_external_data=False), path))


def _check_external(model: "ModelProto", path: Path) -> None:
    for place, end in _external_ends(model, path).items():
        if not place.is_file():
            raise BadInput(f"{place} does not exist: {path} keeps weights in it; copy it beside the model")
        size_bytes = place.stat().st_size
        if size_bytes < end:
            raise BadInput(f"{place} is cut short: {path} has weights up to byte {end} of {size_bytes}; copy it again")


def _external_ends(model: "ModelProto", path: Path) -> dict[Path, int]:
    """The files that hold a model's weights, each with the byte after the last of them."""
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    ends: dict[Path, int] = {}
    for tensor in model.graph.initializer:
        if uses_external_data(tensor):
            info = ExternalDataInfo(tensor)
            place = path.parent / info.location
            ends[place] = max(ends.get(place, 0), int(info.offset or 0) + int(info.length or 0))
    return ends


def write_model(model: "ModelProto", path: Path) -> None:
    """Write an ONNX file; weights go into ``<name>.data`` beside it where one file cannot hold them."""
    import onnx

    if weight_bytes(model) < ONE_FILE_BYTES:
        path.write_bytes(model.SerializeToString())
    else:
        kept = onnx.ModelProto()
        kept.CopyFrom(model)  # saving takes the weights out of what it is given
        onnx.save_model(kept, str(path), save_as_external_data=True, location=path.name + EXTERNAL_SUFFIX)


def constant_names(model: "ModelProto") -> set[str]:
    """Initializers and what is computed from them alone: a weight that DequantizeLinear unpacks is constant."""
    names = {each.name for each in model.graph.initializer}
    for node in model.graph.node:  # in topological order, as ONNX demands
        if node.input and all(name in names for name in node.input if name):
            names |= set(node.output)
    return names


def weight_bytes(model: "ModelProto") -> int:
    """Bytes of all initializers."""
    return sum(len(each.raw_data) for each in model.graph.initializer)


def model_files(path: Path) -> list[Path]:
    """The files an ONNX model consists of: the graph, and its external data if it has any."""
    beside = (path.with_name(path.name + suffix) for suffix in EXTERNAL_SUFFIXES)
    return [path, *(each for each in beside if each.exists())]


def to_array(tensor: "TensorProto") -> np.ndarray:
    """The values of an initializer."""
    from onnx import numpy_helper

    return np.asarray(numpy_helper.to_array(tensor))


def to_tensor(array: np.ndarray, name: str) -> "TensorProto":
    """An initializer of these values."""
    from onnx import numpy_helper

    return numpy_helper.from_array(np.ascontiguousarray(array), name)


def weight_inputs(model: "ModelProto") -> Iterator[tuple["NodeProto", str]]:
    """Each MatMul and Gemm whose second input is an initializer, with that input's name: the Linear layers."""
    names = {each.name for each in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in LINEAR_OPS and node.input[1] in names:
            yield node, node.input[1]


def strip_exporter_traces(model: "ModelProto") -> None:
    """Drop documentation, metadata and inferred shapes, and name the nodes by type and place."""
    graph = model.graph
    model.producer_name, model.producer_version, model.doc_string = "compressbench", "", ""
    del model.metadata_props[:]
    del graph.metadata_props[:]
    del graph.value_info[:]
    graph.name, graph.doc_string = "classifier", ""
    for place, node in enumerate(graph.node):
        node.name, node.doc_string = f"{node.op_type}_{place}", ""
        del node.metadata_props[:]
    for each in (*graph.input, *graph.output, *graph.initializer):
        each.doc_string = ""
        del each.metadata_props[:]


def drop_unused_initializers(model: "ModelProto") -> None:
    """Remove initializers that no node reads."""
    used = {name for node in model.graph.node for name in node.input} | {each.name for each in model.graph.output}
    kept = [each for each in model.graph.initializer if each.name in used]
    if len(kept) < len(model.graph.initializer):
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)


def linear_as_matmul(model: "ModelProto") -> None:
    """Rewrite each Gemm over a constant weight as MatMul, of the same name, and Add, like all other Linear layers.

    ONNX Runtime fuses the pair back into a Gemm in fp32; in INT8 it has more kernels for MatMul than for Gemm.
    """
    from onnx import helper

    initializers = {each.name: each for each in model.graph.initializer}
    readers = Counter(name for node in model.graph.node for name in node.input)
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        plain = attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0 and not attributes.get("transA", 0)
        if not (node.op_type == "Gemm" and plain and node.input[1] in initializers and readers[node.input[1]] == 1):
            nodes.append(node)
            continue
        weight = initializers[node.input[1]]
        if attributes.get("transB", 0):
            weight.CopyFrom(to_tensor(to_array(weight).T, weight.name))
        has_bias = len(node.input) == 3 and node.input[2]
        product = f"{node.output[0]}_product" if has_bias else node.output[0]
        nodes.append(helper.make_node("MatMul", [node.input[0], weight.name], [product], name=node.name))
        if has_bias:
            nodes.append(helper.make_node("Add", [product, node.input[2]], [node.output[0]]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def graph_key(path: Path) -> str:
    """Hash of a model's graph: nodes, types, shapes and the integers that steer shapes, but no weight.

    Equal for models that differ in the values of their weights alone (scales and zero points count as weights):
    the baseline and its pruned copy, one method on two tasks. They run the same kernels and share latency.

    Raises:
        BadInput: If the file is no ONNX model.
    """
    from onnx import TensorProto

    model = read_model(path)
    digest = hashlib.sha256()

    def take(part: bytes) -> None:
        digest.update(len(part).to_bytes(8, "little") + part)

    for opset in sorted((each.domain, each.version) for each in model.opset_import):
        take(repr(opset).encode())
    for each in (*model.graph.input, *model.graph.output):
        take(each.name.encode())
        take(each.type.SerializeToString(deterministic=True))
    for node in model.graph.node:
        take(repr((node.domain, node.op_type, list(node.input), list(node.output))).encode())
        for attribute in sorted(node.attribute, key=lambda each: each.name):
            take(attribute.SerializeToString(deterministic=True))
    for tensor in sorted(model.graph.initializer, key=lambda each: each.name):
        take(repr((tensor.name, list(tensor.dims), tensor.data_type)).encode())
        if tensor.data_type in (TensorProto.INT64, TensorProto.BOOL):  # shapes, axes, indices
            take(to_array(tensor).tobytes())
    return digest.hexdigest()
