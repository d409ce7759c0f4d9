"""The matrix products of a model as ONNX Runtime runs them: its optimized graph, profiled once at a fixed shape."""

import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compressbench.errors import BadInput
from compressbench.harness.inputs import latency_inputs
from compressbench.harness.shapes import Shape
from compressbench.harness.weights import WEIGHT_INPUT
from compressbench.models.onnx_graph import read_model, write_model
from compressbench.runtimes.onnxruntime import session_options

if TYPE_CHECKING:
    from onnx import ModelProto

FLOAT_GEMMS = frozenset({"MatMul", "Gemm", "FusedMatMul", "FusedGemm"})
INT8_GEMMS = frozenset(WEIGHT_INPUT) - FLOAT_GEMMS
Shapes = Mapping[str, tuple[list[int], list[int]]]
"""By node name: shapes of its first input and of its first output."""


@dataclass(frozen=True, kw_only=True)
class Gemm:
    """One matrix product of the optimized graph."""

    is_int8: bool
    has_constant_weight: bool
    multiply_adds: int


def profiled_graph(onnx_path: Path, shape: Shape) -> tuple["ModelProto", list[Gemm]]:
    """The graph that ONNX Runtime makes of a model, and its matrix products at `shape`.

    Raises:
        BadInput: If the model does not run at that shape.
    """
    arrays = latency_inputs([onnx_path], [shape])
    inputs = {name.split("/")[1]: array for name, array in arrays.items()}
    with tempfile.TemporaryDirectory() as folder:
        named = _with_named_nodes(onnx_path, Path(folder))
        try:
            optimized, shapes = _optimized_and_shapes(named, inputs, Path(folder))
        except Exception as error:  # noqa: BLE001 - ONNX Runtime has a class per kind of failure and no base for them
            raise BadInput(
                f"{onnx_path} does not run at {shape} ({str(error).strip().splitlines()[0][:160]}): if it takes only "
                "shorter rows, put its config.json beside it, whose max_position_embeddings says so"
            ) from None
    return optimized, gemms_of(optimized, shapes)


def gemms_of(optimized: "ModelProto", shapes: Shapes) -> list[Gemm]:
    """The matrix products of an optimized graph, weighed by what each ran at."""
    constants = constant_names(optimized)
    gemms = []
    for node in optimized.graph.node:
        if node.op_type in FLOAT_GEMMS | INT8_GEMMS and node.name in shapes:
            left, output = shapes[node.name]
            weight = node.input[WEIGHT_INPUT.get(node.op_type, 1)]
            gemms.append(
                Gemm(
                    is_int8=node.op_type in INT8_GEMMS,
                    has_constant_weight=weight in constants,
                    multiply_adds=math.prod(output) * left[-1],
                )
            )
    return gemms


def constant_names(model: "ModelProto") -> set[str]:
    """Initializers and what is computed from them alone: a weight that DequantizeLinear unpacks is constant."""
    names = {each.name for each in model.graph.initializer}
    for node in model.graph.node:  # in topological order, as ONNX demands
        if node.input and all(name in names for name in node.input if name):
            names |= set(node.output)
    return names


def _with_named_nodes(onnx_path: Path, folder: Path) -> Path:
    """The model, or a copy in which every node has a name of its own: the profile tells nodes apart by nothing else."""
    model = read_model(onnx_path)
    names = [node.name for node in model.graph.node]
    if all(names) and len(set(names)) == len(names):
        return onnx_path
    for place, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{place}"
    write_model(model, folder / "named.onnx")
    return folder / "named.onnx"


def _optimized_and_shapes(
    onnx_path: Path, inputs: Mapping[str, np.ndarray], folder: Path
) -> tuple["ModelProto", Shapes]:
    """The optimized graph, and for each of its nodes the shapes of first input and first output in one profiled run."""
    from onnxruntime import InferenceSession

    options = session_options(threads=1)
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = InferenceSession(str(onnx_path), options, providers=["CPUExecutionProvider"])
    session.run(None, {each.name: inputs[each.name] for each in session.get_inputs()})
    events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text())
    shapes = {}
    for event in events:
        details = event.get("args", {})
        if event.get("name", "").endswith("_kernel_time") and details.get("output_type_shape"):
            left, output = (next(iter(details[key][0].values())) for key in ("input_type_shape", "output_type_shape"))
            shapes[event["name"].removesuffix("_kernel_time")] = (left, output)
    return read_model(folder / "optimized.onnx"), shapes
