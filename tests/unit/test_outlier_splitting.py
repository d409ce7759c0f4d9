"""Outlier channels taken apart: the mathematics, the graph that computes it, and the method that asks for it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import numpy_helper

from compressbench.artifacts.artifact import Artifact
from compressbench.errors import InvalidParameter
from compressbench.harness.int8_check import check_int8
from compressbench.harness.shapes import Shape
from compressbench.harness.weights import weights_of
from compressbench.methods.chain import parse_chain
from compressbench.methods.method import Context
from compressbench.methods.quantize.calibration import Rule, measure_ranges
from compressbench.methods.quantize.outliers import SPLIT_SUFFIX, WITHIN_SUFFIX, split_graph
from compressbench.methods.quantize.sources import activations
from compressbench.methods.quantize.static import StaticQuantization
from compressbench.models.onnx_graph import linear_as_matmul, read_model, to_array, write_model
from compressbench.numerics.outlier_splitting import SLACK, Split, split_outliers, split_rows, split_values
from compressbench.prediction import EncodedRows, encode_rows, predict
from compressbench.progress import Quiet
from compressbench.runtimes.onnxruntime import open_model
from tests.conftest import draw_tiny_rows

AsArtifact = Callable[..., Artifact]
Compress = Callable[[str], Path]
CHANNELS = 12
ENDS = arrays(np.float32, (2, CHANNELS), elements=st.floats(-50, 50, width=32))


def split_of(ends: np.ndarray, room: int) -> Split | None:
    return split_outliers(ends.min(axis=0), ends.max(axis=0), room=room)


def test_one_channel_that_stands_out_fills_pieces_one_after_the_other() -> None:
    lows, highs = np.array([-1.0, -2.0, 0.0]), np.array([1.0, 9.5, 2.0])
    split = split_outliers(lows, highs, room=4)
    assert split is not None
    # Five parts of 1.9 would do for 9.5, but then -2 and 2 need a piece each; from a width of 2 on they need none.
    width = 2.0 * SLACK
    assert split.low == -2.0
    assert split.high == pytest.approx(width)
    assert split.channels.tolist() == [1, 1, 1, 1]
    assert split.offsets.tolist() == pytest.approx([-width, -2 * width, -3 * width, -4 * width])
    assert split.gain == pytest.approx(11.5 / (2.0 + width))
    wide = split_values(np.array([0.5, 9.5, -0.25], dtype=np.float32), split)
    np.testing.assert_allclose(wide, [0.5, width, -0.25, width, width, width, max(0, 9.5 - 4 * width)], rtol=1e-6)


@given(ENDS, st.integers(1, 2 * CHANNELS), st.integers(0, 2**31))
def test_products_are_the_same_for_every_value_that_was_seen(ends: np.ndarray, room: int, seed: int) -> None:
    split = split_of(ends, room)
    assume(split is not None)
    assert split is not None
    rng = np.random.default_rng(seed)
    low, high = np.minimum(ends.min(axis=0), 0), np.maximum(ends.max(axis=0), 0)
    values = (low + (high - low) * rng.random((16, CHANNELS))).astype(np.float32)
    values[0], values[1] = low, high
    weight = rng.normal(size=(CHANNELS, 5)).astype(np.float32)
    wide = split_values(values, split)
    exact = values.astype(np.float64) @ weight
    found = wide.astype(np.float64) @ split_rows(weight, split)
    np.testing.assert_allclose(found, exact, atol=1e-4 * max(1.0, float(np.abs(values).max())))


@given(ENDS, st.integers(0, 2 * CHANNELS))
def test_pieces_fit_the_room_and_the_grid_and_the_grid_is_narrower(ends: np.ndarray, room: int) -> None:
    split = split_of(ends, room)
    if split is None:
        return
    assert 1 <= len(split.channels) <= room
    assert split.gain > 1
    inside = split_values(np.stack([ends.min(axis=0), ends.max(axis=0)]), split)
    assert inside.min() >= np.float32(split.low)
    assert inside.max() <= np.float32(split.high)


@given(st.floats(0.125, 40), st.integers(0, 5))
def test_even_channels_and_no_room_leave_everything_as_it_is(peak: float, room: int) -> None:
    lows, highs = np.full(CHANNELS, -peak), np.full(CHANNELS, peak)
    assert split_outliers(lows, highs, room=room) is None  # two pieces for each channel, or none
    assert split_outliers(np.zeros(CHANNELS), np.zeros(CHANNELS), room=room) is None


@pytest.fixture(scope="module")
def standing_out(tiny_onnx_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The teacher with an outlier channel behind each LayerNormalization and Gelu that the next layer hardly weighs."""
    folder = tmp_path_factory.mktemp("standing-out")
    shutil.copytree(tiny_onnx_teacher, folder, dirs_exist_ok=True)
    model = read_model(folder / "model.onnx")
    for each in model.graph.initializer:
        values = numpy_helper.to_array(each).copy()
        if each.name.endswith("LayerNorm.weight"):
            values[5] *= 15.0
        elif each.name.endswith("intermediate.dense.bias"):
            values[7] += 30.0
        elif each.name.endswith(("dense.weight", "query.weight", "key.weight", "value.weight")):
            values[5] /= 15.0
            if values.shape[0] == 64:
                values[7] /= 30.0
        each.CopyFrom(numpy_helper.from_array(values, each.name))
    write_model(model, folder / "model.onnx")
    return folder


@pytest.fixture(scope="module")
def rows(tiny_onnx_teacher: Path) -> EncodedRows:
    path = tiny_onnx_teacher / "tokenizer.json"
    return encode_rows(draw_tiny_rows(count=100, seed=9), tokenizer_path=path, max_length=32)


def split_model(folder: Path, rows: EncodedRows, workplace: Path, *, share: float) -> onnx.ModelProto:
    model = read_model(folder / "model.onnx")
    linear_as_matmul(model)
    tensors = activations(model, outputs=False)
    measured = measure_ranges(
        Rule(), model, rows, tensors=tensors, threads=1, workplace=workplace, progress=Quiet()
    )  # fmt: skip
    ranges = split_graph(model, measured.ranges, measured.channels, share=share)
    for name, each in ranges.items():
        if name.endswith(SPLIT_SUFFIX):
            before = measured.ranges[name.removesuffix(SPLIT_SUFFIX)]
            assert (each.seen_low, each.seen_high) == (before.low, before.high)
            assert each.high - each.low < (before.high - before.low) / 2
    return model


def answers(path: Path, rows: EncodedRows) -> np.ndarray:
    return predict(open_model(path, threads=1), rows)


def test_the_split_graph_answers_as_before_where_it_was_calibrated(
    standing_out: Path, rows: EncodedRows, tmp_path: Path
) -> None:
    model = split_model(standing_out, rows, tmp_path, share=0.2)
    assert sum(node.op_type == "Concat" for node in model.graph.node) >= 4
    onnx.checker.check_model(model, full_check=True)
    write_model(model, tmp_path / "model.onnx")
    before = answers(standing_out / "model.onnx", rows)
    np.testing.assert_allclose(answers(tmp_path / "model.onnx", rows), before, atol=2e-4)


def test_channels_are_measured_beside_the_tensors_they_are_of(
    standing_out: Path, rows: EncodedRows, tmp_path: Path
) -> None:
    model = read_model(standing_out / "model.onnx")
    tensors = activations(model, outputs=True)
    measured = measure_ranges(Rule(), model, rows, tensors=tensors, threads=1, workplace=tmp_path, progress=Quiet())
    assert set(measured.channels) == set(activations(model, outputs=False))
    for name, found in measured.channels.items():
        assert found.shape[1] == 2
        whole = measured.ranges[name]
        assert (found[:, 0].min(), found[:, 1].max()) == (np.float32(whole.low), np.float32(whole.high))


@pytest.fixture
def compress(standing_out: Path, as_artifact: AsArtifact, tiny_context: Context) -> Compress:
    def made(spelled: str) -> Path:
        (method,) = parse_chain(spelled)
        to = tiny_context.to.parent / spelled.replace(":", "-").replace("=", "-")
        to.mkdir()
        context = replace(tiny_context, train=draw_tiny_rows(count=400, seed=3), to=to)
        method.resolved(task=context.task).compress(as_artifact(standing_out, format="onnx-fp32"), context)
        return to / "model.onnx"

    return made


@pytest.mark.parametrize("more", ["", ":bias_correction=true", ":smooth=0.5", ":attention_matmuls=scores"])
def test_int8_answers_come_nearer_to_fp32s(
    more: str, compress: Compress, standing_out: Path, rows: EncodedRows
) -> None:
    exact = answers(standing_out / "model.onnx", rows)
    split = compress(f"quant-qdq:split_outliers=0.2{more}")
    whole = compress(f"quant-qdq:split_outliers=off{more.replace(':smooth=0.5', '')}")  # smoothing mends the same
    error, error_before = (float(np.abs(answers(each, rows) - exact).mean()) for each in (split, whole))
    assert error < error_before / 2
    record = check_int8(split, shape=Shape(batch=1, tokens=16), measured_key="split")
    assert record is not None
    assert (record.constant_gemm_share, record.leftover_qdq_pairs) == (1.0, 0)


def test_grids_clip_by_themselves_and_parameters_are_counted_once(compress: Compress, standing_out: Path) -> None:
    model = read_model(compress("quant-qdq:split_outliers=0.2"))
    whole = [node.input[0] for node in model.graph.node if node.output[0].endswith(WITHIN_SUFFIX)]
    joined = [node for node in model.graph.node if node.output[0].endswith(SPLIT_SUFFIX)]
    assert len(joined) > 4
    assert len(whole) <= 2, "of the pooler and the classifier, whose inputs have one row a text"
    names = {each.name: to_array(each) for each in model.graph.initializer}
    added = sum(len(values) for name, values in names.items() if "_split_channels" in name)
    before = sum(each.count for each in weights_of(read_model(standing_out / "model.onnx")))
    counted = sum(each.count for each in weights_of(model))
    assert added > 0
    assert before < counted <= before + added * 3 * 64  # rows for the pieces, and no more


def test_a_layer_that_stays_fp32_gets_the_whole_value(
    compress: Compress, standing_out: Path, rows: EncodedRows
) -> None:
    kept = compress("quant-qdq:split_outliers=0.2:nodes_to_exclude=bert.*")
    np.testing.assert_allclose(answers(kept, rows), answers(standing_out / "model.onnx", rows), atol=0.05)


@pytest.mark.parametrize(
    ("spelled", "resolved"),
    [
        ("quant-qdq", 0.0125),
        ("quant-qdq:activation_type=uint8", 0.0125),
        ("quant-qdq:activation_type=int8", "off"),
        ("quant-qdq:per_channel=false", "off"),
        ("quant-qdq:calibrate_method=entropy", "off"),
        ("quant-qdq:moving_average=true", "off"),
        ("quant-qdq:split_outliers=off", "off"),
        ("quant-qop", "off"),
        ("quant-qop:split_outliers=0.1", 0.1),
    ],
)
def test_what_auto_stands_for(spelled: str, resolved: object, tiny_context: Context) -> None:
    (method,) = parse_chain(spelled)
    assert isinstance(method, StaticQuantization)
    assert method.resolved(task=tiny_context.task).split_outliers == resolved


@pytest.mark.parametrize(
    ("spelled", "said"),
    [
        ("quant-qdq:split_outliers=0", "is not above 0 and up to 1"),
        ("quant-qdq:split_outliers=1.5", "is not above 0 and up to 1"),
        ("quant-qdq:split_outliers=0.1:calibrate_method=entropy", "use calibrate_method=minmax"),
        ("quant-qdq:split_outliers=0.1:moving_average=true", "without moving_average"),
    ],
)
def test_what_cannot_be_is_refused(spelled: str, said: str) -> None:
    with pytest.raises(InvalidParameter, match=said):
        parse_chain(spelled)
