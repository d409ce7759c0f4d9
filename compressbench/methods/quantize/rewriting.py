"""An fp32 ONNX folder into an INT8 one: ranges, ONNX Runtime's quantizer on the graph, our codes for the weights."""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressbench.artifacts.artifact import ONNX_NAME, TOKENIZER_NAME, Artifact
from compressbench.errors import BadInput
from compressbench.methods.method import Context
from compressbench.methods.quantize.calibration import Ranges, activation_ranges
from compressbench.methods.quantize.layers import excluded_weights
from compressbench.methods.quantize.qdq import QuantQdq
from compressbench.methods.quantize.signed_codes import move_to_unsigned
from compressbench.methods.quantize.skeleton import ROWS_SUFFIX, put_codes, take_weights
from compressbench.methods.quantize.static import Quantization, StaticQuantization
from compressbench.models.onnx_export import quiet_libraries
from compressbench.models.onnx_graph import (
    drop_unused_initializers,
    linear_as_matmul,
    read_model,
    strip_exporter_traces,
    weight_inputs,
    write_model,
)
from compressbench.prediction import encode_rows
from compressbench.tasks.task import Rows

if TYPE_CHECKING:
    from onnx import ModelProto

QUANTIZED_OPS = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearMatMul"}
)
OP_TYPES = ["MatMul", "Gather"]
"""Linear layers and embeddings; without the embeddings the file keeps a quarter of its size in fp32."""


def quantize_folder(method: Quantization, source: Artifact, context: Context, *, calibration: Rows | None) -> None:
    """Write the quantized model, config.json and tokenizer files into ``context.to``.

    Args:
        method: Resolved.
        source: A classifier, torch or fp32 ONNX.
        context: Where and how.
        calibration: Training rows to take ranges from; None: ranges are taken while the model runs.

    Raises:
        BadInput: If the source model is quantized already.
    """
    with tempfile.TemporaryDirectory() as folder:
        onnx_path = _as_onnx(source, context, workplace=Path(folder))
        model = read_model(onnx_path)
        quantized = sorted({node.op_type for node in model.graph.node} & QUANTIZED_OPS)
        if quantized:
            raise BadInput(
                f"{onnx_path} is quantized already (it has {quantized[0]}): give {method.name} the fp32 model"
            )
        ranges: Ranges = {}
        if calibration is not None and isinstance(method, StaticQuantization):
            tensors = activations(model, outputs=method.quantizes_outputs)
            encoded = encode_rows(
                calibration, tokenizer_path=onnx_path.parent / TOKENIZER_NAME, max_length=context.task.max_length
            )
            ranges = activation_ranges(
                model,
                encoded,
                tensors=tensors,
                threads=context.threads,
                workplace=Path(folder),
                progress=context.progress,
            )
        with context.progress.stage(f"quantize {context.task.name}", total=2) as advance:
            made = quantized_model(method, model, ranges)
            advance()
            write_model(made, context.to / ONNX_NAME)
            advance()
        for path in onnx_path.parent.iterdir():
            if path.suffix in (".json", ".txt") and path.name != "artifact.json":
                shutil.copyfile(path, context.to / path.name)


def activations(model: "ModelProto", *, outputs: bool) -> list[str]:
    """The tensors that need a range: inputs of Linear layers, and their outputs where these are quantized too."""
    wanted: dict[str, None] = {}
    for node, _ in weight_inputs(model):
        wanted[node.input[0]] = None
        if outputs:
            wanted[node.output[0]] = None
    return list(wanted)


def quantized_model(method: Quantization, model: "ModelProto", ranges: Ranges) -> "ModelProto":
    """The INT8 model; `model` is used up.

    Args:
        method: Resolved.
        model: fp32.
        ranges: Of every tensor that `activations` names; empty for dynamic quantization.

    Raises:
        InvalidParameter: If `nodes_to_exclude` names what the model does not have.
    """
    from onnxruntime.quantization.quant_utils import add_infer_metadata

    excluded = excluded_weights(model, method.nodes_to_exclude)
    linear_as_matmul(model)
    for place, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{place}"
    weights = take_weights(model, rows_as_matrices=isinstance(method, QuantQdq), excluded=excluded)
    ranges = ranges | {f"{name}{ROWS_SUFFIX}": bounds for name, bounds in ranges.items()}
    add_infer_metadata(model)  # shapes are there: without the mark the quantizer writes the model out and infers them
    with quiet_libraries():
        quantizer = _quantizer(method, model, ranges, nodes=weights.nodes)
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    made: ModelProto = quantizer.model.model
    put_codes(made, weights, reduce_range=bool(method.reduce_range))
    if isinstance(method, QuantQdq) and method.s8_to_u8:
        move_to_unsigned(made)
    drop_unused_initializers(made)
    strip_exporter_traces(made)
    return made


def _quantizer(method: Quantization, model: "ModelProto", ranges: Ranges, *, nodes: list[str]) -> Any:
    """ONNX Runtime's quantizer for the method's form."""
    import numpy as np
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import QuantizationMode, QuantType

    settings: dict[str, Any] = {
        "per_channel": method.per_channel,
        "reduce_range": bool(method.reduce_range),
        "weight_qType": QuantType.QInt8,
        "nodes_to_quantize": nodes,
        "nodes_to_exclude": [],
        "op_types_to_quantize": OP_TYPES,
        "extra_options": {"MatMulConstBOnly": True},
    }
    if not isinstance(method, StaticQuantization):
        settings |= {"activation_qType": QuantType.QUInt8, "tensors_range": None, "static": False}
        return ONNXQuantizer(model, mode=QuantizationMode.IntegerOps, **settings)
    data = {
        name: TensorData(lowest=np.array(low, dtype=np.float32), highest=np.array(high, dtype=np.float32))
        for name, (low, high) in ranges.items()
    }
    settings["tensors_range"] = TensorsData(CalibrationMethod.MinMax, data)
    settings["activation_qType"] = QuantType.QUInt8 if method.activation_type == "uint8" else QuantType.QInt8
    if isinstance(method, QuantQdq):
        settings["extra_options"]["OpTypesToExcludeOutputQuantization"] = ["MatMul"]
        settings["extra_options"]["DedicatedQDQPair"] = method.dedicated_qdq_pair
        return QDQQuantizer(model, **settings)
    return ONNXQuantizer(model, mode=QuantizationMode.QLinearOps, static=True, **settings)


def _as_onnx(source: Artifact, context: Context, *, workplace: Path) -> Path:
    """The source's fp32 ONNX model: its own, or an export of it."""
    if source.format != "torch":
        return source.onnx_path
    from compressbench.models.onnx_export import export_classifier

    exported = workplace / "exported"
    exported.mkdir()
    export_classifier(source.path, to=exported, progress=context.progress)
    return exported / ONNX_NAME
