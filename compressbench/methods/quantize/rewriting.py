"""An fp32 ONNX folder into an INT8 one: ranges, ONNX Runtime's quantizer on the graph, our codes for the weights."""

import shutil
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compressbench.artifacts.artifact import ONNX_NAME, TOKENIZER_NAME, Artifact
from compressbench.errors import InvalidParameter, MethodFailed
from compressbench.methods.method import AUTO, Context
from compressbench.methods.quantize.calibration import Measured, Ranges, draw_rows, measure_ranges, plain_ranges
from compressbench.methods.quantize.layers import excluded_weights
from compressbench.methods.quantize.outliers import let_grids_clip, split_graph
from compressbench.methods.quantize.qdq import QuantQdq
from compressbench.methods.quantize.ranges import RANGES, read_ranges
from compressbench.methods.quantize.repair import Choosing, Repairing, kept_warning
from compressbench.methods.quantize.residuals import read_float_tensors
from compressbench.methods.quantize.saturation import saturation_table, saturation_warnings, write_saturation_table
from compressbench.methods.quantize.sensitivity import Kept, draw_slice
from compressbench.methods.quantize.signed_codes import move_to_unsigned
from compressbench.methods.quantize.skeleton import ROWS_SUFFIX, put_codes, take_weights
from compressbench.methods.quantize.smoothing import smooth_graph
from compressbench.methods.quantize.sources import activations, attention_products, fp32_file, read_fp32
from compressbench.methods.quantize.static import OFF, Quantization, StaticQuantization
from compressbench.methods.quantize.tables import scale_tables_by_feature
from compressbench.models.onnx_graph import (
    drop_unused_initializers,
    linear_as_matmul,
    strip_exporter_traces,
    write_model,
)
from compressbench.models.onnx_tracing import quiet_libraries
from compressbench.prediction import EncodedRows, encode_rows
from compressbench.runtimes.onnxruntime import open_model
from compressbench.tasks.task import Rows

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

OP_TYPES = ["MatMul", "Gather"]
"""Linear layers and embeddings; without the embeddings the file keeps a quarter of its size in fp32."""


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """What a quantization says of the model that it wrote."""

    warnings: tuple[str, ...] = ()
    kept: Kept | None = None
    """Layers that stay fp32, where the method chose them by itself."""


def quantize_folder(method: Quantization, source: Artifact, context: Context) -> Quantized:
    """Write the quantized model, config.json and tokenizer files into ``context.to``.

    A static model has ``calibration.json`` beside it: each layer's range, and how much of what it is given that clips.

    Args:
        method: Resolved.
        source: A classifier, torch or fp32 ONNX.
        context: Where and how.

    Raises:
        InvalidParameter: If there are fewer training rows than calibration rows, or a layer to exclude is not there.
        BadInput: If the source model is quantized already.
    """
    said = Quantized()
    with tempfile.TemporaryDirectory() as folder:
        onnx_path = fp32_file(source, context, workplace=Path(folder))
        model = read_fp32(onnx_path, needed_by=method.name)
        if isinstance(method, StaticQuantization):
            made, said = _static_model(method, model, source, context, onnx_path=onnx_path, workplace=Path(folder))
        else:
            made = quantized_model(method, model, {})
        with context.progress.stage(f"write {context.task.name}", total=1) as advance:
            write_model(made, context.to / ONNX_NAME)
            _check_runs(context.to / ONNX_NAME)
            advance()
        for path in onnx_path.parent.iterdir():
            if path.suffix in (".json", ".txt") and path.name != "artifact.json":
                shutil.copyfile(path, context.to / path.name)
    return said


def _check_runs(path: Path) -> None:
    """Open what was made and run it on two rows, before anybody is given it.

    Raises:
        MethodFailed: If that cannot be done.
    """
    try:
        model = open_model(path, threads=1)
        model({name: np.ones((2, 7), dtype=np.int64) for name in model.input_names})
    except Exception as error:  # ONNX Runtime has a class per kind of failure and no base for them
        reason = str(error).strip().splitlines()[0][:200]
        raise MethodFailed(
            f"the INT8 model made of this graph does not run ({reason}): keep the layers it names in fp32 by "
            "nodes_to_exclude, or export the model in another way"
        ) from error


def _static_model(
    method: StaticQuantization,
    model: "ModelProto",
    source: Artifact,
    context: Context,
    *,
    onnx_path: Path,
    workplace: Path,
) -> tuple["ModelProto", Quantized]:
    """The static INT8 model, smoothed before ranges are taken, split and repaired afterwards; `model` is used up."""
    where: Any = {"threads": context.threads, "workplace": workplace, "progress": context.progress}
    calibration = None
    said: tuple[str, ...] = ()
    if method.smooth != OFF or method.bias_correction:
        rows = draw_rows(context.train, count=method.calibration_rows, seed=context.seed)
        calibration = _encoded(rows, context, onnx_path=onnx_path)
    if method.smooth != OFF or method.split_outliers != OFF:
        linear_as_matmul(model)
    if method.smooth != OFF:
        assert calibration is not None  # just drawn
        if not smooth_graph(model, calibration, strength=method.smooth, **where):
            said = (f"smooth={method.smooth} changed nothing: no layer's input was found that gains by it",)
        tensors = activations(model, outputs=method.quantizes_outputs, attention=method.quantizes_attention)
        rule = method.ranges.rule
        measured = measure_ranges(rule, model, calibration, tensors=tensors, seed=context.seed, **where)
    else:
        measured = ranges_of(method, source, context, onnx_path=onnx_path)
    ranges = measured.ranges
    if method.split_outliers != OFF:
        kept_fp32 = excluded_weights(model, method.nodes_to_exclude)
        ranges = split_graph(model, ranges, measured.channels, share=float(method.split_outliers), left_out=kept_fp32)
    table = saturation_table(model, ranges)
    choosing = None
    if method.keep_fp32 == AUTO:
        rows = draw_slice(context.train, seed=context.seed)
        encoded = _encoded(rows, context, onnx_path=onnx_path)
        choosing = Choosing(task=context.task, rows=rows, encoded=encoded, max_drop=method.largest_drop)
    repairing = Repairing(calibration=calibration if method.bias_correction else None, choosing=choosing, **where)

    def quantize(graph: "ModelProto", kept: Sequence[str]) -> "ModelProto":
        return quantized_model(method, graph, plain_ranges(ranges), exclude=kept)

    with context.progress.stage(f"quantize {context.task.name}", total=1) as advance:
        made, kept = repairing.quantized(model, quantize)
        let_grids_clip(made)  # last, for repairs look at what layers read before their grids
        drop_unused_initializers(made)
        advance()
    write_saturation_table(table, context.to)
    warnings = (*said, *saturation_warnings(table, rule=method.ranges.rule))
    if kept is not None and kept.weights:
        warnings = (*warnings, kept_warning(kept, max_drop=method.largest_drop))
    return made, Quantized(warnings=warnings, kept=kept)


def _encoded(rows: Rows, context: Context, *, onnx_path: Path) -> EncodedRows:
    return encode_rows(rows, tokenizer_path=onnx_path.parent / TOKENIZER_NAME, max_length=context.task.max_length)


def ranges_of(method: StaticQuantization, source: Artifact, context: Context, *, onnx_path: Path) -> Measured:
    """The ranges of the source's activations: those that the store has, or taken here where nobody made them.

    Args:
        method: Resolved.
        source: What is quantized.
        context: Where and how.
        onnx_path: The source's fp32 model.
    """
    found = context.ingredients.get(RANGES)
    if found is not None:
        return read_ranges(found.path)
    exported = Artifact(path=onnx_path.parent, manifest=replace(source.manifest, format="onnx-fp32"))
    with tempfile.TemporaryDirectory() as folder:
        method.ranges.compress(exported, replace(context, to=Path(folder)))
        return read_ranges(Path(folder))


def quantized_model(
    method: Quantization, model: "ModelProto", ranges: Ranges, *, exclude: Collection[str] = frozenset()
) -> "ModelProto":
    """The INT8 model; `model` is used up.

    Args:
        method: Resolved.
        model: fp32.
        ranges: Of every tensor that `activations` names; empty for dynamic quantization.
        exclude: Names of weights that stay fp32, beside those that `nodes_to_exclude` names.

    Raises:
        InvalidParameter: If `nodes_to_exclude` names what the model does not have.
    """
    from onnxruntime.quantization.quant_utils import add_infer_metadata

    excluded = excluded_weights(model, method.nodes_to_exclude) | frozenset(exclude)
    linear_as_matmul(model)
    for place, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{place}"
    weights = take_weights(model, rows_as_matrices=isinstance(method, QuantQdq), excluded=excluded)
    nodes = list(weights.nodes)
    if not nodes:  # the quantizer would take an empty list for all
        raise InvalidParameter(f"nodes_to_exclude={method.nodes_to_exclude} leaves nothing to quantize: name fewer")
    if isinstance(method, QuantQdq) and method.quantizes_attention:
        nodes += [node.name for node in _attention_products(method, model)]
    ranges = ranges | {f"{name}{ROWS_SUFFIX}": bounds for name, bounds in ranges.items()}
    add_infer_metadata(model)  # shapes are there: without the mark the quantizer writes the model out and infers them
    with quiet_libraries():
        quantizer = _quantizer(method, model, ranges, nodes=nodes)
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    made: ModelProto = quantizer.model.model
    put_codes(made, weights, reduce_range=bool(method.reduce_range))
    if method.per_channel:
        scale_tables_by_feature(made, weights.tables)
    if isinstance(method, QuantQdq) and method.s8_to_u8:
        move_to_unsigned(made)
    read_float_tensors(made)
    drop_unused_initializers(made)
    strip_exporter_traces(made)
    return made


def _attention_products(method: QuantQdq, model: "ModelProto") -> "list[NodeProto]":
    return attention_products(model, scores_only=method.attention_matmuls == "scores")


def _signed_grids(products: "Sequence[NodeProto]", model: "ModelProto") -> dict[str, list[dict[str, Any]]]:
    """Symmetric S8 grids for what attention multiplies, softmax left out: OpenVINO has INT8 kernels for no others."""
    from onnxruntime.quantization.quant_utils import QuantType

    softmax = {node.output[0] for node in model.graph.node if node.op_type == "Softmax"}
    inputs = {name for node in products for name in node.input} - softmax
    return {name: [{"quant_type": QuantType.QInt8, "symmetric": True}] for name in sorted(inputs)}


def _quantizer(method: Quantization, model: "ModelProto", ranges: Ranges, *, nodes: list[str]) -> Any:
    """ONNX Runtime's quantizer for the method's form."""
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
        if method.quantizes_attention:
            settings["extra_options"]["MatMulConstBOnly"] = False
            if not method.reduce_range:  # both sides take all 8 bits: without VNNI, S8 by S8 saturates in OpenVINO
                signed = _signed_grids(_attention_products(method, model), model)
                settings["extra_options"]["TensorQuantOverrides"] = signed
        settings["extra_options"]["DedicatedQDQPair"] = method.dedicated_qdq_pair
        return QDQQuantizer(model, **settings)
    return ONNXQuantizer(model, mode=QuantizationMode.QLinearOps, static=True, **settings)
