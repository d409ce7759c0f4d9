"""What a graph shows of its own tensors over calibration rows: nodes are added, run by batches, and taken out again.

Statistics are made inside the graph, so what comes out is small and memory does not grow with the rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressbench.models.onnx_graph import to_tensor, weight_bytes, write_model
from compressbench.prediction import EncodedRows, batches_by_length
from compressbench.progress import Progress

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto
    from onnxruntime import InferenceSession

BATCH_SIZE = 8
AXES_AS_INPUT = 18
"""The opset from which on a reduction takes its axes as an input."""
FIRST_AXIS = {"first_axis": np.array([0], dtype=np.int64)}
"""The constant that `over_rows` reads."""
IN_MEMORY_BYTES = 64 * 1024**2
"""A larger model is handed to ONNX Runtime as a file: in memory there would be one copy of it more."""


def over_rows(
    model: "ModelProto", tensor: str, reductions: Mapping[str, str], *, width: str, name: str
) -> "list[NodeProto]":
    """Nodes that reduce a tensor over all its axes but the last, whatever their number, and the graph's opset.

    Args:
        model: Whose graph they are for.
        tensor: float [..., width].
        reductions: By output [width], what gives it: ReduceMax and the like.
        width: Name of the constant [-1, width].
        name: Of the tensor in between, [rows, width].
    """
    from onnx import helper

    opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    takes_axes = opset >= AXES_AS_INPUT
    inputs, attributes = ([name, *FIRST_AXIS], {}) if takes_axes else ([name], {"axes": [0]})
    return [
        helper.make_node("Reshape", [tensor, width], [name]),
        *(helper.make_node(kind, inputs, [output], keepdims=0, **attributes) for output, kind in reductions.items()),
    ]


def observe(
    model: "ModelProto",
    encoded: EncodedRows,
    *,
    nodes: Sequence["NodeProto"],
    constants: dict[str, np.ndarray],
    outputs: Sequence[str],
    threads: int,
    workplace: Path,
    progress: Progress,
    stage: str,
    unpadded: bool = False,
    seed: int | None = None,
    rows_at_once: int = BATCH_SIZE,
) -> Iterator[list[np.ndarray]]:
    """Values of `outputs`, float32, for one batch of rows after the other.

    Args:
        model: fp32; the same afterwards.
        encoded: Rows to run.
        nodes: To add behind the graph's own.
        constants: Initializers that they read.
        outputs: Float tensors, of the graph or of `nodes`.
        threads: For ONNX Runtime.
        workplace: A folder for a model that is not handed over in memory.
        progress: Told of each row.
        stage: What the work is called there.
        unpadded: Whether a batch holds rows of one length only, so that no statistic counts padding.
        seed: Draws the order of the batches; None: longest rows first.
        rows_at_once: Rows of a batch that run at one time, padded as the whole batch is; fewer take less memory.
    """
    session = _session_with(
        model, nodes=nodes, constants=constants, outputs=outputs, threads=threads, workplace=workplace
    )
    inputs = [each.name for each in session.get_inputs()]
    batches = list(batches_by_length(encoded.lengths, batch_size=BATCH_SIZE))
    if seed is not None:
        batches = [batches[place] for place in np.random.default_rng(seed).permutation(len(batches))]
    with progress.stage(stage, total=len(encoded)) as advance:
        for alike in batches:
            for indices in _of_one_length(encoded, alike) if unpadded else [alike]:
                arrays = encoded.batch(indices)
                for start in range(0, len(indices), rows_at_once):
                    part = {name: arrays[name][start : start + rows_at_once] for name in inputs}
                    yield session.run(list(outputs), part)
                advance(len(indices))


def _of_one_length(encoded: EncodedRows, indices: np.ndarray) -> list[np.ndarray]:
    """The rows, longest first, in parts of one length each."""
    return np.split(indices, np.flatnonzero(np.diff(encoded.lengths[indices])) + 1)


def _session_with(
    model: "ModelProto",
    *,
    nodes: Sequence["NodeProto"],
    constants: dict[str, np.ndarray],
    outputs: Sequence[str],
    threads: int,
    workplace: Path,
) -> "InferenceSession":
    """A session of the graph with these nodes and outputs, handed over in memory where that is possible."""
    from onnx import TensorProto, helper
    from onnxruntime import InferenceSession

    from compressbench.runtimes.onnxruntime import session_options

    graph = model.graph
    counts = len(graph.node), len(graph.initializer), len(graph.output)
    graph.node.extend(nodes)
    graph.initializer.extend(to_tensor(values, name) for name, values in constants.items())
    there = {each.name for each in graph.output}
    graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs if name not in there
    )
    try:
        if weight_bytes(model) < IN_MEMORY_BYTES:
            content: bytes | str = model.SerializeToString()
        else:
            write_model(model, workplace / "observed.onnx")
            content = str(workplace / "observed.onnx")
        return InferenceSession(content, session_options(threads=threads), providers=["CPUExecutionProvider"])
    finally:
        del graph.node[counts[0] :]
        del graph.initializer[counts[1] :]
        del graph.output[counts[2] :]
