"""What a graph shows of its own tensors over calibration rows: nodes are added, run by batches, and taken out again.

Statistics are made inside the graph, so what comes out is small and memory does not grow with the rows.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressbench.models.onnx_graph import ONE_FILE_BYTES, to_tensor, weight_bytes, write_model
from compressbench.prediction import EncodedRows, batches_by_length
from compressbench.progress import Progress

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto
    from onnxruntime import InferenceSession

BATCH_SIZE = 8


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
) -> Iterator[list[np.ndarray]]:
    """Values of `outputs`, float32, for one batch of rows after the other, longest rows first.

    Args:
        model: fp32; the same afterwards.
        encoded: Rows to run.
        nodes: To add behind the graph's own.
        constants: Initializers that they read.
        outputs: Float tensors, of the graph or of `nodes`.
        threads: For ONNX Runtime.
        workplace: A folder for a model that protobuf cannot hold in one piece.
        progress: Told of each row.
        stage: What the work is called there.
        unpadded: Whether a batch holds rows of one length only, so that no statistic counts padding.
    """
    session = _session_with(
        model, nodes=nodes, constants=constants, outputs=outputs, threads=threads, workplace=workplace
    )
    inputs = [each.name for each in session.get_inputs()]
    with progress.stage(stage, total=len(encoded)) as advance:
        for alike in batches_by_length(encoded.lengths, batch_size=BATCH_SIZE):
            for indices in _of_one_length(encoded, alike) if unpadded else [alike]:
                arrays = encoded.batch(indices)
                yield session.run(list(outputs), {name: arrays[name] for name in inputs})
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
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs)
    try:
        if weight_bytes(model) < ONE_FILE_BYTES:
            content: bytes | str = model.SerializeToString()
        else:
            write_model(model, workplace / "observed.onnx")
            content = str(workplace / "observed.onnx")
        return InferenceSession(content, session_options(threads=threads), providers=["CPUExecutionProvider"])
    finally:
        del graph.node[counts[0] :]
        del graph.initializer[counts[1] :]
        del graph.output[counts[2] :]
