"""The fp32 ONNX model that quantization starts from: found or exported, refused if quantized, its mask made finite."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressbench.artifacts.artifact import ONNX_NAME, Artifact
from compressbench.errors import BadInput
from compressbench.methods.method import Context
from compressbench.methods.quantize.layers import weight_nodes
from compressbench.models.onnx_export import MASKED
from compressbench.models.onnx_graph import read_model, to_array, to_tensor, weight_inputs
from compressbench.models.onnx_source import check_fp32, weights_as_initializers

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

LOWEST_FINITE = -1e30
"""What is below is no value of a model but stands for minus infinity."""


def fp32_file(source: Artifact, context: Context, *, workplace: Path) -> Path:
    """The source's fp32 ONNX model: its own, or an export of it."""
    if source.format != "torch":
        return source.onnx_path
    from compressbench.models.onnx_export import export_classifier

    exported = workplace / "exported"
    if not exported.exists():
        exported.mkdir()
        export_classifier(source.path, to=exported, progress=context.progress)
    return exported / ONNX_NAME


def read_fp32(path: Path, *, needed_by: str) -> "ModelProto":
    """The model in a file, ready to be quantized.

    Raises:
        BadInput: If it is quantized already, has no fp32 Linear layers, or cannot be read.
    """
    model = read_model(path)
    check_fp32(model, path, needed_by=needed_by)
    weights_as_initializers(model)
    if next(weight_nodes(model), None) is None:
        raise BadInput(f"{path} has no Linear layer with fp32 weights: give {needed_by} an fp32 text classifier")
    clamp_mask(model)
    return model


def clamp_mask(model: "ModelProto") -> None:
    """Let masks add -1e4 where they add the lowest float, or minus infinity: 0 after the softmax all the same.

    Our own exports do so already. In a foreign graph the lowest float would swallow the grid of any tensor it is in.
    """
    tensors: list[TensorProto] = list(model.graph.initializer)
    for node in model.graph.node:
        if node.op_type not in ("Constant", "ConstantOfShape"):
            continue
        for attribute in node.attribute:
            if attribute.name == "value_float" and attribute.f < LOWEST_FINITE:
                attribute.f = MASKED
            elif attribute.name == "value":
                tensors.append(attribute.t)
    for tensor in tensors:
        if tensor.data_type != tensor.FLOAT:
            continue
        values = to_array(tensor)
        if values.size and values.min() < LOWEST_FINITE:
            tensor.CopyFrom(to_tensor(np.maximum(values, np.float32(MASKED)), tensor.name))


def activations(model: "ModelProto", *, outputs: bool, attention: bool = False) -> list[str]:
    """The tensors that need a range.

    Args:
        model: fp32.
        outputs: Whether the outputs of Linear layers are among them, beside the inputs.
        attention: Whether both inputs of `attention_products` are.
    """
    wanted: dict[str, None] = {}
    for node, _ in weight_inputs(model):
        wanted[node.input[0]] = None
        if outputs:
            wanted[node.output[0]] = None
    for node in attention_products(model) if attention else ():
        wanted |= dict.fromkeys(node.input)
    return list(wanted)


def attention_products(model: "ModelProto", *, scores_only: bool = False) -> "list[NodeProto]":
    """MatMuls of two computed tensors: an encoder's scores (query and key) and contexts (softmax and value).

    Args:
        model: fp32.
        scores_only: Whether products that read a Softmax are left out.
    """
    left_out = {each.name for each in model.graph.initializer}
    if scores_only:
        left_out |= {node.output[0] for node in model.graph.node if node.op_type == "Softmax"}
    return [node for node in model.graph.node if node.op_type == "MatMul" and not left_out & set(node.input)]
