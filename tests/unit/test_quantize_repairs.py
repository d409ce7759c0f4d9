"""The repairs as parameters of the static methods, on a model whose INT8 copy has lost its score."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import numpy_helper

from compressbench.artifacts.artifact import Artifact
from compressbench.errors import InvalidParameter
from compressbench.harness.int8_check import check_int8
from compressbench.harness.shapes import Shape
from compressbench.methods.chain import parse_chain, spell
from compressbench.methods.method import Compressed, Context
from compressbench.models.onnx_graph import read_model, weight_inputs, write_model
from compressbench.numerics.affine import symmetric_codes
from compressbench.prediction import encode_rows, predict
from compressbench.runtimes.onnxruntime import open_model
from compressbench.tasks.task import Rows
from tests.conftest import draw_tiny_rows

AsArtifact = Callable[..., Artifact]
STRETCH = 1000.0


@pytest.fixture(scope="module")
def stretched(tiny_onnx_teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The teacher with one channel of each context a thousand times larger: the same answers in fp32, other grids."""
    folder = tmp_path_factory.mktemp("stretched")
    shutil.copytree(tiny_onnx_teacher, folder, dirs_exist_ok=True)
    model = read_model(folder / "model.onnx")
    for each in model.graph.initializer:
        values = numpy_helper.to_array(each).copy()
        if each.name.endswith(("self.value.weight", "self.value.bias")):
            values[..., 0] *= STRETCH
        elif each.name.endswith("attention.output.dense.weight"):
            values[0] /= STRETCH
        each.CopyFrom(numpy_helper.from_array(values, each.name))
    write_model(model, folder / "model.onnx")
    return folder


@pytest.fixture(scope="module")
def train() -> Rows:
    return draw_tiny_rows(count=400, seed=3)


@pytest.fixture
def compress(
    stretched: Path, as_artifact: AsArtifact, tiny_context: Context, train: Rows
) -> Callable[[str], Compressed]:
    def made(spelled: str) -> Compressed:
        (method,) = parse_chain(spelled)
        resolved = method.resolved(task=tiny_context.task)
        return resolved.compress(as_artifact(stretched, format="onnx-fp32"), replace(tiny_context, train=train))

    return made


def logits(folder: Path) -> np.ndarray:
    rows = encode_rows(draw_tiny_rows(count=100, seed=9), tokenizer_path=folder / "tokenizer.json", max_length=32)
    return predict(open_model(folder / "model.onnx", threads=1), rows)


def flips(folder: Path, reference: Path) -> int:
    return int((logits(folder).argmax(axis=1) != logits(reference).argmax(axis=1)).sum())


@pytest.mark.parametrize("name", ["quant-qdq", "quant-qop"])
def test_smoothing_gives_back_what_an_outlier_channel_took(
    name: str, compress: Callable[[str], Compressed], stretched: Path, tiny_context: Context
) -> None:
    compress(f"{name}:per_channel=false")
    exact = logits(stretched)
    off = np.abs(logits(tiny_context.to) - exact).mean()
    compress(f"{name}:per_channel=false:smooth=0.5")
    assert np.abs(logits(tiny_context.to) - exact).mean() < 0.5 * off
    record = check_int8(tiny_context.to / "model.onnx", shape=Shape(1, 16), measured_key="m")
    assert record is not None
    assert (record.constant_gemm_share, record.leftover_qdq_pairs) == (1.0, 0)


def test_biases_alone_change_where_they_are_corrected(
    compress: Callable[[str], Compressed], stretched: Path, tiny_context: Context
) -> None:
    weights = []
    for spelled in ("quant-qdq", "quant-qdq:bias_correction=true"):
        compress(spelled)
        model = read_model(tiny_context.to / "model.onnx")
        weights.append({each.name: each.raw_data for each in model.graph.initializer})
    changed = {name for name in weights[0] if weights[0][name] != weights[1][name]}
    assert weights[0].keys() == weights[1].keys()
    assert len(changed) == 14
    assert all(name.endswith(".bias") for name in changed)
    assert np.abs(logits(tiny_context.to) - logits(stretched)).max() > 0


def test_the_layers_that_the_score_cannot_spare_stay_fp32(
    compress: Callable[[str], Compressed], stretched: Path, tiny_context: Context
) -> None:
    compress("quant-qdq:per_channel=false")
    flipped = flips(tiny_context.to, stretched)
    made = compress("quant-qdq:keep_fp32=auto:max_drop=2.5pt:per_channel=false")
    kept = {name.removesuffix(".weight") for _, name in weight_inputs(read_model(tiny_context.to / "model.onnx"))}
    assert 1 <= len(kept) == made.budget["layers_kept_fp32"] < 14
    assert made.budget["rows_chosen_by"] == 40
    assert flips(tiny_context.to, stretched) < flipped
    (warning,) = made.warnings
    assert warning.startswith("with all 14 layers in INT8 the score on 40 training rows falls by ")
    assert set(warning.rpartition(": ")[2].split(", ")) == kept


def test_no_layer_is_kept_where_the_score_stays(compress: Callable[[str], Compressed], tiny_context: Context) -> None:
    made = compress("quant-qdq:keep_fp32=auto:smooth=0.5:max_drop=10pt")
    assert made.budget["layers_kept_fp32"] == 0
    assert made.warnings == ()
    assert not list(weight_inputs(read_model(tiny_context.to / "model.onnx")))


def test_a_drop_that_no_layer_mends_is_told() -> None:
    from compressbench.methods.quantize.repair import kept_warning
    from compressbench.methods.quantize.sensitivity import Kept

    kept = Kept(weights=("a.weight", "b.weight"), layer_count=2, rows=50, score=0.9, drop_before=0.04, drop=0.02)
    assert kept_warning(kept, max_drop=0.005) == (
        "with all 2 layers in INT8 the score on 50 training rows falls by 4.0 points; kept in fp32 it falls by 2.0 "
        "points: a, b. That is more than max_drop=0.5pt, and keeping more layers does not help"
    )


def test_layers_can_be_named(compress: Callable[[str], Compressed], tiny_context: Context) -> None:
    compress("quant-qdq:keep_fp32=classifier;*.layer.1.*.value:nodes_to_exclude=*pooler.dense")
    kept = [name for _, name in weight_inputs(read_model(tiny_context.to / "model.onnx"))]
    assert kept == ["bert.encoder.layer.1.attention.self.value.weight", "bert.pooler.dense.weight", "classifier.weight"]


@pytest.mark.parametrize("name", ["quant-qdq", "quant-qop"])
@pytest.mark.parametrize(
    ("parameter", "told"),
    [
        ("smooth=0", "smooth=0.0 is not between 0 and 1: use 0.5, or off"),
        ("smooth=1.0", "smooth=1.0 is not between 0 and 1"),
        ("smooth=on", "smooth=on is not a finite number or off"),
        ("max_drop=0.5", r"max_drop '0\.5' has no unit: it takes pt, such as 1pt"),
        ("max_drop=1%", "max_drop '1%' has the unit '%': it takes pt"),
        ("bias_correction=some", "bias_correction=some is not true or false"),
    ],
)
def test_values_that_cannot_be(name: str, parameter: str, told: str) -> None:
    with pytest.raises(InvalidParameter, match=f"{name}.*{told}"):
        parse_chain(f"{name}:{parameter}")


def test_too_few_rows_to_choose_layers_by(stretched: Path, as_artifact: AsArtifact, tiny_context: Context) -> None:
    (method,) = parse_chain("quant-qdq:calibration_rows=9:keep_fp32=auto")
    few = replace(tiny_context, train=draw_tiny_rows(count=9, seed=1))
    with pytest.raises(InvalidParameter, match="and there are 9: name the layers, or give at least 10 rows"):
        method.resolved(task=few.task).compress(as_artifact(stretched, format="onnx-fp32"), few)
    assert not list(few.to.iterdir())


def test_repairs_are_spelled_and_read_back() -> None:
    spelled = "quant-qdq:bias_correction=true:keep_fp32=auto:max_drop=1pt:smooth=0.5"
    assert spell(parse_chain(spelled)) == spelled
    assert spell(parse_chain("quant-qdq:smooth=off:max_drop=0.5pt:bias_correction=false")) == "quant-qdq"


@given(
    arrays(np.float32, (6, 4), elements=st.floats(-3, 3, width=32)),
    arrays(np.bool_, (6, 4)),
    st.booleans(),
    st.booleans(),
)
def test_a_zero_has_the_code_zero(values: np.ndarray, pruned: np.ndarray, per_column: bool, reduce_range: bool) -> None:
    codes = symmetric_codes(np.where(pruned, 0, values), per_column=per_column, reduce_range=reduce_range)
    assert (codes.zero_point == 0).all()
    assert (codes.values[pruned] == 0).all()


@pytest.mark.parametrize("repairs", ["", ":bias_correction=true:smooth=0.5", ":activation_type=int8:s8_to_u8=true"])
def test_pruned_weights_of_a_whole_model_are_exact_zeros_in_int8(
    repairs: str, stretched: Path, as_artifact: AsArtifact, tiny_context: Context, train: Rows, tmp_path: Path
) -> None:
    pruned = tmp_path / "pruned"
    shutil.copytree(stretched, pruned)
    model = read_model(pruned / "model.onnx")
    names = {name for _, name in weight_inputs(model)}
    rng = np.random.default_rng(0)
    masks = {}
    for each in model.graph.initializer:
        if each.name in names:
            values = numpy_helper.to_array(each).copy()
            masks[each.name] = rng.random(values.shape) < 0.4
            values[masks[each.name]] = 0.0
            each.CopyFrom(numpy_helper.from_array(values, each.name))
    write_model(model, pruned / "model.onnx")
    (method,) = parse_chain(f"quant-qdq{repairs}")
    resolved = method.resolved(task=tiny_context.task)
    resolved.compress(as_artifact(pruned, format="onnx-fp32"), replace(tiny_context, train=train))
    made = {each.name: each for each in read_model(tiny_context.to / "model.onnx").graph.initializer}
    for name, mask in masks.items():
        codes, zero_point = (numpy_helper.to_array(made[f"{name}_{part}"]) for part in ("quantized", "zero_point"))
        assert (zero_point == 0).all(), name
        assert (codes[mask] == 0).all(), name
