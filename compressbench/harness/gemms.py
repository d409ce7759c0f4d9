"""The matrix products of a model as ONNX Runtime runs them: its optimized graph, profiled once at a fixed shape."""

import math
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressbench.errors import BadInput
from compressbench.harness.inputs import latency_inputs
from compressbench.harness.shapes import Shape
from compressbench.harness.weights import WEIGHT_INPUT
from compressbench.models.onnx_graph import constant_names, external_files, read_model, write_model
from compressbench.runtimes.onnxruntime import profiled, session_options

if TYPE_CHECKING:
    from onnx import ModelProto

FLOAT_GEMMS = frozenset({"MatMul", "Gemm", "FusedMatMul", "FusedGemm", "MatMulNBits"})
"""ONNX Runtime makes MatMulNBits of a packed weight whose activations stay float: it may round them inside, by blocks
and at every call, which is not what a model calibrated for INT8 is meant to run."""
INT8_GEMMS = frozenset(WEIGHT_INPUT) - FLOAT_GEMMS
UNPACKING = frozenset({"DequantizeLinear", "Transpose", "Identity", "Cast", "Reshape"})
"""Operators between a weight and its product that leave it the same weight."""
Shapes = Mapping[str, tuple[list[int], list[int]]]
"""By node name: shapes of its first input and of its first output."""


@dataclass(frozen=True, kw_only=True)
class Gemm:
    """One matrix product of a graph."""

    node: str
    """Name of its node."""
    layer: str
    """What its weight is called, ``.weight`` left out; the node where both sides are computed."""
    is_int8: bool
    has_constant_weight: bool
    multiply_adds: int
    weight_sizes: tuple[int, ...] = ()
    """Sizes of a constant weight, ascending."""


def int8_share(gemms: Iterable[Gemm]) -> float:
    """INT8 multiply-adds over all; 0 where there are none."""
    gemms = list(gemms)
    total = sum(gemm.multiply_adds for gemm in gemms)
    return sum(gemm.multiply_adds for gemm in gemms if gemm.is_int8) / total if total else 0.0


def int8_by_layer(gemms: Iterable[Gemm]) -> dict[str, float]:
    """Share of INT8 multiply-adds of each layer, in the graph's order."""
    layers: dict[str, list[Gemm]] = {}
    for gemm in gemms:
        layers.setdefault(gemm.layer, []).append(gemm)
    return {name: int8_share(parts) for name, parts in layers.items()}


def profiled_graph(onnx_path: Path, shape: Shape) -> tuple["ModelProto", list[Gemm]]:
    """The graph that ONNX Runtime makes of a model, and its matrix products at `shape`.

    Raises:
        BadInput: If the model does not run at that shape.
    """
    with named_nodes(onnx_path) as named, tempfile.TemporaryDirectory() as folder:
        try:
            optimized, shapes = _optimized_and_shapes(named, _inputs(onnx_path, shape), Path(folder), optimized=True)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime has a class per kind of failure and no base for them
            raise BadInput(
                f"{onnx_path} does not run at {shape} ({str(error).strip().splitlines()[0][:160]}): if it takes only "
                "shorter rows, put its config.json beside it, whose max_position_embeddings says so"
            ) from None
    return optimized, gemms_of(optimized, shapes)


def source_gemms(onnx_path: Path, shape: Shape) -> list[Gemm]:
    """The matrix products of a model as its file has them, before any runtime rewrites it; none is INT8 yet."""
    with named_nodes(onnx_path) as named, tempfile.TemporaryDirectory() as folder:
        model, shapes = _optimized_and_shapes(named, _inputs(onnx_path, shape), Path(folder), optimized=False)
    return gemms_of(model, shapes)


def gemms_of(model: "ModelProto", shapes: Shapes) -> list[Gemm]:
    """The matrix products of a graph, weighed by what each ran at."""
    constants = constant_names(model)
    sizes = {each.name: tuple(sorted(each.dims)) for each in model.graph.initializer}
    sources = {name: node for node in model.graph.node for name in node.output}
    gemms = []
    for node in model.graph.node:
        if node.op_type in FLOAT_GEMMS | INT8_GEMMS and node.name in shapes:
            left, output = shapes[node.name]
            weight = node.input[WEIGHT_INPUT.get(node.op_type, 1)]
            is_constant = weight in constants
            while weight in sources and sources[weight].op_type in UNPACKING:
                weight = sources[weight].input[0]
            gemms.append(
                Gemm(
                    node=node.name,
                    layer=_layer_name(weight) if is_constant else re.sub(r"/\w*Fusion.*", "", node.name),
                    is_int8=node.op_type in INT8_GEMMS,
                    has_constant_weight=is_constant,
                    multiply_adds=math.prod(output) * left[-1],
                    weight_sizes=sizes.get(weight, ()) if is_constant else (),
                )
            )
    return gemms


def _layer_name(weight: str) -> str:
    """``bert.pooler.dense`` of ``bert.pooler.dense.weight_quantized``, or of what NNCF calls it."""
    return re.sub(r"^q_output_|(\.weight)?(_quantized|_transposed|_reshaped|_\d+)*$", "", weight)


@contextmanager
def named_nodes(onnx_path: Path) -> Iterator[Path]:
    """The model, or a copy in which every node has a name of its own: runtimes tell nodes apart by nothing else."""
    model = read_model(onnx_path)
    names = [node.name for node in model.graph.node]
    if all(names) and len(set(names)) == len(names):
        yield onnx_path
        return
    for place, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{place}"
    with tempfile.TemporaryDirectory() as folder:
        write_model(model, Path(folder) / "named.onnx")
        yield Path(folder) / "named.onnx"


def _inputs(onnx_path: Path, shape: Shape) -> dict[str, np.ndarray]:
    arrays = latency_inputs([onnx_path], [shape])
    return {name.split("/")[1]: array for name, array in arrays.items()}


def _optimized_and_shapes(
    onnx_path: Path, inputs: Mapping[str, np.ndarray], folder: Path, *, optimized: bool
) -> tuple["ModelProto", Shapes]:
    """The graph that ran, and for each of its nodes the shapes of first input and first output in one profiled run."""
    options = session_options(threads=1, as_written=not optimized)
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    if external_files(onnx_path):  # else the optimized graph asks for them in its own folder, where they are not
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "optimized.data")
    with profiled(onnx_path, options) as (session, events):
        session.run(None, {each.name: inputs[each.name] for each in session.get_inputs()})
    shapes = {}
    for event in events:
        details = event.get("args", {})
        if event.get("name", "").endswith("_kernel_time") and details.get("output_type_shape"):
            left, output = (next(iter(details[key][0].values())) for key in ("input_type_shape", "output_type_shape"))
            shapes[event["name"].removesuffix("_kernel_time")] = (left, output)
    return read_model(folder / "optimized.onnx"), shapes
