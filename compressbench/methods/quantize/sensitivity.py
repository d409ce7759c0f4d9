"""Which layers stay in fp32: those whose quantization alone moves the logits most, as few as the score asks for.

NNCF's accuracy control quantizes all, ranks groups of quantizers by what putting each back to float does to the
metric, and puts them back one by one. Here the ranking is by the logits, which move smoothly where a score on a few
hundred rows does not, one session serves all layers, and the number of kept layers is searched by halving.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressbench.errors import InvalidParameter
from compressbench.methods.quantize.int8_layers import Int8Layer
from compressbench.models.onnx_graph import ONE_FILE_BYTES, to_array, to_tensor, weight_bytes, write_model
from compressbench.numerics.affine import real_values
from compressbench.prediction import EncodedRows, batches_by_length
from compressbench.progress import Progress
from compressbench.tasks.scores import predicted, score_predictions
from compressbench.tasks.task import Rows, Task

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto
    from onnxruntime import InferenceSession

LARGEST_SHARE = 0.1
"""Of the training rows, that choices may be made by."""
SCORED_ROWS = 512
RANKED_ROWS = 64
BATCH_SIZE = 16


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Which layers stay in fp32, and what that was worth on the rows it was chosen by."""

    weights: tuple[str, ...]
    """Names of the kept layers' weights, most sensitive first."""
    layer_count: int
    rows: int
    score: float
    """In fp32."""
    drop_before: float
    """What the score lost with every layer in INT8."""
    drop: float
    """What it loses now."""


def draw_slice(train: Rows, *, seed: int) -> Rows:
    """Training rows to choose by: a tenth of them, 512 at most, drawn by the seed.

    Raises:
        InvalidParameter: If a tenth of the rows is none, or they have no labels.
    """
    count = min(SCORED_ROWS, int(LARGEST_SHARE * len(train)))
    if count < 1 or train.labels is None:
        raise InvalidParameter(
            f"keep_fp32=auto chooses layers by a tenth of the labelled training rows, and there are {len(train)}: "
            "name the layers, or give at least 10 rows"
        )
    return train.take(np.sort(np.random.default_rng([seed, 1]).permutation(len(train))[:count]))


def primary_score(task: Task, logits: np.ndarray, rows: Rows) -> float:
    """The task's primary score of logits."""
    assert rows.labels is not None  # `draw_slice` refuses rows without
    answers = predicted(logits, task.is_regression)
    scores = score_predictions(task.metrics[:1], answers, rows.labels, class_count=task.output_count)
    return float(scores[task.metrics[0]])


def fewest_kept(
    ranked: Sequence[str], drop_with: Callable[[Sequence[str]], float], *, max_drop: float, drop_before: float
) -> tuple[tuple[str, ...], float]:
    """The fewest of the most sensitive layers that bring the drop down to `max_drop`, and the drop then.

    The number is doubled until it suffices, then halved into the last step; a drop that is no monotone function of the
    number may make it larger than the least. All layers where none suffices.

    Args:
        ranked: Layers, most sensitive first.
        drop_with: The drop of the score with these layers kept in fp32; costs a quantization and a pass over the rows.
        max_drop: Allowed drop, a fraction.
        drop_before: The drop with none kept.
    """
    if drop_before <= max_drop:
        return (), drop_before
    low, high, drop = 0, 1, drop_with(ranked[:1])
    while drop > max_drop and high < len(ranked):
        low, high = high, min(2 * high, len(ranked))
        drop = drop_with(ranked[:high])
    while drop <= max_drop and high - low > 1:
        middle = (low + high) // 2
        middle_drop = drop_with(ranked[:middle])
        if middle_drop <= max_drop:
            high, drop = middle, middle_drop
        else:
            low = middle
    return tuple(ranked[:high]), drop


def rank_layers(
    model: "ModelProto",
    layers: Sequence[Int8Layer],
    grids: Mapping[str, np.ndarray],
    encoded: EncodedRows,
    *,
    threads: int,
    workplace: Path,
    progress: Progress,
) -> list[str]:
    """Names of the layers' weights by how far each layer's quantization alone moves the logits, farthest first.

    One session serves all: a weight is fed instead of its default, and a flag a layer sends its input through its grid.

    Args:
        model: fp32; the same afterwards.
        layers: Of the INT8 graph made of it.
        grids: Scales and zero points by the names the layers have for them.
        encoded: Rows to run; `RANKED_ROWS` of them, evenly spread, are used.
        threads: For ONNX Runtime.
        workplace: A folder for a model that protobuf cannot hold in one piece.
        progress: Told of each layer.
    """
    session = _switchable_session(model, layers, grids, threads=threads, workplace=workplace)
    picked = np.unique(np.linspace(0, len(encoded) - 1, min(RANKED_ROWS, len(encoded))).astype(np.int64))
    batches = [
        encoded.batch(picked[part]) for part in batches_by_length(encoded.lengths[picked], batch_size=BATCH_SIZE)
    ]
    text_inputs = [each.name for each in model.graph.input]

    def logits(fed: Mapping[str, np.ndarray]) -> np.ndarray:
        parts = [session.run(None, {name: batch[name] for name in text_inputs} | dict(fed))[0] for batch in batches]
        return np.concatenate(parts)

    exact = logits({})
    moved: dict[str, float] = {}
    with progress.stage("rank layers", total=len(layers)) as advance:
        for place, layer in enumerate(layers):
            fed = {_flag(place): np.array([True]), layer.weight: real_values(layer.weight_codes)}
            moved[layer.weight] = float(np.square(logits(fed) - exact).mean())
            advance()
    return sorted(moved, key=lambda name: -moved[name])


def grids_of(made: "ModelProto", layers: Sequence[Int8Layer]) -> dict[str, np.ndarray]:
    """Scales and zero points that the layers name."""
    wanted = {name for layer in layers for name in layer.input_grid}
    return {each.name: to_array(each) for each in made.graph.initializer if each.name in wanted}


def _flag(place: int) -> str:
    return f"quantize_{place}"


def _switchable_session(
    model: "ModelProto",
    layers: Sequence[Int8Layer],
    grids: Mapping[str, np.ndarray],
    *,
    threads: int,
    workplace: Path,
) -> "InferenceSession":
    """A session in which a layer's input passes its grid when its flag is fed, and in which weights can be fed."""
    from onnx import ModelProto, TensorProto, helper
    from onnxruntime import InferenceSession

    from compressbench.runtimes.onnxruntime import session_options

    switchable = ModelProto()
    switchable.CopyFrom(model)
    graph = switchable.graph
    by_weight = {layer.weight: (place, layer) for place, layer in enumerate(layers)}
    graph.initializer.extend(to_tensor(values, name) for name, values in grids.items())
    nodes: list[NodeProto] = []
    for node in graph.node:
        found = by_weight.get(node.input[1]) if node.op_type == "MatMul" else None
        if found is not None:
            place, layer = found
            codes, rounded, chosen = (f"{kind}_{place}" for kind in ("codes", "rounded", "chosen"))
            nodes.append(helper.make_node("QuantizeLinear", [node.input[0], *layer.input_grid], [codes]))
            nodes.append(helper.make_node("DequantizeLinear", [codes, *layer.input_grid], [rounded]))
            nodes.append(helper.make_node("Where", [_flag(place), rounded, node.input[0]], [chosen]))
            node.input[0] = chosen
            graph.initializer.append(to_tensor(np.array([False]), _flag(place)))
            graph.input.append(helper.make_tensor_value_info(_flag(place), TensorProto.BOOL, [1]))
            shape = list(layer.weight_codes.values.shape)
            graph.input.append(helper.make_tensor_value_info(layer.weight, TensorProto.FLOAT, shape))
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    content: bytes | str
    if weight_bytes(switchable) < ONE_FILE_BYTES:
        content = switchable.SerializeToString()
    else:
        write_model(switchable, workplace / "switchable.onnx")
        content = str(workplace / "switchable.onnx")
    return InferenceSession(content, session_options(threads=threads), providers=["CPUExecutionProvider"])
