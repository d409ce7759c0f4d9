"""Bias correction and the choice of layers that stay in fp32, on tiny models."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnxruntime import InferenceSession

from compressbench.errors import InvalidParameter
from compressbench.methods.chain import parse_chain
from compressbench.methods.quantize.bias_correction import correct_biases, float_layers
from compressbench.methods.quantize.calibration import activation_ranges
from compressbench.methods.quantize.int8_layers import int8_layers
from compressbench.methods.quantize.rewriting import activations, quantized_model
from compressbench.methods.quantize.sensitivity import draw_slice, fewest_kept, grids_of, rank_layers
from compressbench.methods.quantize.static import Quantization
from compressbench.models.onnx_graph import read_model
from compressbench.numerics.affine import real_values
from compressbench.numerics.bias_correction import expected_error
from compressbench.prediction import EncodedRows, encode_rows
from compressbench.progress import Quiet
from compressbench.tasks.task import Rows, Task
from tests.conftest import draw_tiny_rows

LAYERS = 2 * 6 + 2


@pytest.fixture(scope="module")
def rows(tiny_onnx_teacher: Path) -> EncodedRows:
    tokenizer_path = tiny_onnx_teacher / "tokenizer.json"
    return encode_rows(draw_tiny_rows(count=32, seed=5), tokenizer_path=tokenizer_path, max_length=32)


def quantized(spelled: str, model: onnx.ModelProto, rows: EncodedRows, task: Task, folder: Path) -> onnx.ModelProto:
    (method,) = parse_chain(spelled)
    method = method.resolved(task=task)
    assert isinstance(method, Quantization)
    tensors = activations(model, outputs=spelled.startswith("quant-qop"))
    ranges = activation_ranges(model, rows, tensors=tensors, threads=1, workplace=folder, progress=Quiet())
    used_up = onnx.ModelProto()
    used_up.CopyFrom(model)
    return quantized_model(method, used_up, ranges)


def run(model: onnx.ModelProto, rows: EncodedRows, outputs: Sequence[str]) -> list[np.ndarray]:
    """The outputs for each row by itself, without padding, joined over tokens: [tokens of all rows, channels]."""
    for name in outputs:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    del model.graph.output[1:]
    found: list[list[np.ndarray]] = [[] for _ in outputs]
    for place in range(len(rows)):
        batch = rows.batch(np.array([place]))
        values = session.run(list(outputs), {each.name: batch[each.name] for each in session.get_inputs()})
        for kept, each in zip(found, values, strict=True):
            kept.append(each.reshape(-1, each.shape[-1]))
    return [np.concatenate(each) for each in found]


def test_expected_error_is_the_mean_of_the_errors() -> None:
    rng = np.random.default_rng(0)
    inputs, weight = rng.normal(size=(50, 6)), rng.normal(size=(6, 4))
    rounded_inputs, rounded_weight = np.round(inputs), np.round(weight * 4) / 4
    errors = inputs @ weight - rounded_inputs @ rounded_weight
    found = expected_error(
        inputs.mean(axis=0), rounded_inputs.mean(axis=0), weight=weight, rounded_weight=rounded_weight
    )
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, errors.mean(axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("spelled", ["quant-qdq:reduce_range=true", "quant-qop:reduce_range=true"])
def test_each_bias_takes_the_mean_error_of_its_layer_over_all_tokens_but_padding(
    spelled: str, tiny_onnx_teacher: Path, rows: EncodedRows, tiny_task: Task, tmp_path: Path
) -> None:
    model = read_model(tiny_onnx_teacher / "model.onnx")
    before = float_layers(model)
    made = quantized(spelled, model, rows, tiny_task, tmp_path)
    biases = {each.name: numpy_helper.to_array(each) for each in made.graph.initializer}
    layers = {each.weight: each for each in int8_layers(made)}
    inputs = dict(zip(layers, run(made, rows, [each.input for each in layers.values()]), strict=True))
    corrected = correct_biases(made, before, rows, threads=1, workplace=tmp_path, progress=Quiet())
    assert len(corrected) == len(layers) == LAYERS
    after = {each.name: numpy_helper.to_array(each) for each in made.graph.initializer}
    for weight, layer in layers.items():
        scale, zero_point = (after[name] for name in layer.input_grid)
        codes = np.clip(np.rint(inputs[weight] / scale) + zero_point.astype(int), 0, 255)
        rounded = (codes - zero_point.astype(int)) * scale
        errors = inputs[weight] @ before[weight].weight - rounded @ real_values(layer.weight_codes)
        change = after[before[weight].bias] - biases[before[weight].bias]
        np.testing.assert_allclose(change, errors.mean(axis=0), atol=2e-5, err_msg=weight)
        assert np.abs(change).max() > 0


def test_corrected_layers_are_right_on_average(
    tiny_onnx_teacher: Path, rows: EncodedRows, tiny_task: Task, tmp_path: Path
) -> None:
    model = read_model(tiny_onnx_teacher / "model.onnx")
    for each in model.graph.initializer:  # a weight far from its grid: one value stretches it
        if each.name == "bert.encoder.layer.0.intermediate.dense.weight":
            values = numpy_helper.to_array(each).copy()
            values[3, 3] = 6.0
            each.CopyFrom(numpy_helper.from_array(values, each.name))
    output = next(node.output[0] for node in model.graph.node if node.input[:1] and node.op_type == "Gelu")
    layer = next(node.input[0] for node in model.graph.node if node.output[0] == output)
    exact = run(model, rows, [layer])[0]
    spelled = "quant-qdq:per_channel=false:reduce_range=true"
    made = quantized(spelled, model, rows, tiny_task, tmp_path)
    plain = run(made, rows, [layer])[0]
    correct_biases(made, float_layers(model), rows, threads=1, workplace=tmp_path, progress=Quiet())
    repaired = run(made, rows, [layer])[0]
    off_before, off_after = (np.abs((each - exact).mean(axis=0)).mean() for each in (plain, repaired))
    assert off_after < 0.5 * off_before


def test_the_layer_that_is_hard_to_quantize_is_ranked_first(
    tiny_onnx_teacher: Path, rows: EncodedRows, tiny_task: Task, tmp_path: Path
) -> None:
    model = read_model(tiny_onnx_teacher / "model.onnx")
    hard = "classifier.weight"
    for each in model.graph.initializer:
        if each.name == hard:
            values = numpy_helper.to_array(each).copy()
            values[0, 0] = 4.0  # with one scale for all, every other weight rounds to nothing
            each.CopyFrom(numpy_helper.from_array(values, each.name))
    made = quantized("quant-qdq:per_channel=false", model, rows, tiny_task, tmp_path)
    layers = list(int8_layers(made))
    before = model.SerializeToString(deterministic=True)
    ranked = rank_layers(model, layers, grids_of(made, layers), rows, threads=1, workplace=tmp_path, progress=Quiet())
    assert len(ranked) == len(set(ranked)) == LAYERS
    assert ranked[0] == hard
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    ("needed", "count", "tries"), [(0, 0, 0), (1, 1, 1), (2, 2, 2), (3, 3, 4), (6, 6, 6), (14, 14, 9), (99, 14, 5)]
)
def test_the_fewest_layers_that_suffice_are_kept(needed: int, count: int, tries: int) -> None:
    ranked = [f"layer{place}" for place in range(14)]
    tried = []

    def drop_with(kept: Sequence[str]) -> float:
        assert list(kept) == ranked[: len(kept)]
        tried.append(len(kept))
        return 0.001 if len(kept) >= needed else 0.02

    kept, drop = fewest_kept(ranked, drop_with, max_drop=0.005, drop_before=0.02 if needed else 0.001)
    assert len(kept) == count
    assert list(kept) == ranked[:count]
    assert drop == (0.001 if needed <= 14 else 0.02)
    assert len(tried) <= tries


def test_layers_are_chosen_by_a_tenth_of_the_training_rows() -> None:
    train = draw_tiny_rows(count=160, seed=1)
    one, again, other = (draw_slice(train, seed=seed) for seed in (1, 1, 2))
    assert len(one) == 16
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert set(one.first) <= set(train.first)
    assert len(draw_slice(draw_tiny_rows(count=9000, seed=1), seed=1)) == 512


@pytest.mark.parametrize("labelled", [True, False])
def test_too_few_rows_to_choose_by(labelled: bool) -> None:
    rows = draw_tiny_rows(count=9 if labelled else 90, seed=1)
    if not labelled:
        rows = Rows(first=rows.first, second=None, labels=None)
    with pytest.raises(InvalidParameter, match=r"keep_fp32=auto chooses layers by a tenth of the labelled training"):
        draw_slice(rows, seed=1)
