import dataclasses
import platform
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnxruntime import InferenceSession
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import QuantizationMode, QuantType

from compressbench.artifacts.artifact import Artifact
from compressbench.errors import BadInput, InvalidParameter
from compressbench.harness.int8_check import check_int8
from compressbench.harness.shapes import Shape
from compressbench.harness.weights import weights_of
from compressbench.methods.chain import parse_chain
from compressbench.methods.method import Context, Method
from compressbench.methods.quantize import observing
from compressbench.methods.quantize.calibration import activation_ranges, draw_rows
from compressbench.methods.quantize.rewriting import quantized_model
from compressbench.methods.quantize.sources import activations
from compressbench.methods.quantize.static import Quantization
from compressbench.models.onnx_export import export_classifier
from compressbench.models.onnx_graph import FACTORS_SUFFIX, graph_key, read_model, weight_inputs
from compressbench.prediction import encode_rows, predict
from compressbench.progress import Quiet
from compressbench.runtimes.onnxruntime import open_model
from compressbench.targets import native_target
from compressbench.tasks.task import Rows, Task
from tests.conftest import draw_tiny_rows

AsArtifact = Callable[..., Artifact]
LINEAR_LAYERS = 2 * 6 + 2


@pytest.fixture(scope="module")
def fp32_folder(tiny_classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fp32")
    export_classifier(tiny_classifier, to=folder)
    return folder


@pytest.fixture
def context(tiny_context: Context) -> Context:
    return replace(tiny_context, train=draw_tiny_rows(count=160, seed=5))


def method(spelled: str, task: Task) -> Quantization:
    (made,) = parse_chain(spelled)
    resolved = made.resolved(task=task)
    assert isinstance(resolved, Quantization)
    return resolved


def some_ranges(model: onnx.ModelProto, *, outputs: bool) -> dict[str, tuple[float, float]]:
    rng = np.random.default_rng(0)
    return {name: (-rng.uniform(1, 4), rng.uniform(1, 4)) for name in activations(model, outputs=outputs)}


def library_quantizer(spelled: str, model: onnx.ModelProto, ranges: dict[str, tuple[float, float]]) -> Any:
    """ONNX Runtime's own quantizer on the whole model, weights included."""
    weights = {each.name for each in model.graph.initializer if len(each.dims) == 2 and "position_ids" not in each.name}
    data = {
        name: TensorData(lowest=np.array(low, dtype=np.float32), highest=np.array(high, dtype=np.float32))
        for name, (low, high) in ranges.items()
    }
    settings: dict[str, Any] = {
        "per_channel": "per_channel=false" not in spelled and not spelled.startswith("quant-qop"),
        "reduce_range": "reduce_range=true" in spelled,
        "weight_qType": QuantType.QInt8,
        "activation_qType": QuantType.QInt8 if "activation_type=int8" in spelled else QuantType.QUInt8,
        "tensors_range": TensorsData(CalibrationMethod.MinMax, data) if data else None,
        "nodes_to_quantize": [node.name for node in model.graph.node if weights & set(node.input)],
        "nodes_to_exclude": [],
        "op_types_to_quantize": ["MatMul", "Gather"],
        "extra_options": {"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": ["MatMul"]},
    }
    if spelled.startswith("quant-qdq"):
        return QDQQuantizer(model, **settings)
    if spelled.startswith("quant-qop"):
        return ONNXQuantizer(model, mode=QuantizationMode.QLinearOps, static=True, **settings)
    return ONNXQuantizer(model, mode=QuantizationMode.IntegerOps, static=False, **settings)


@pytest.mark.parametrize(
    "spelled",
    ["quant-qdq", "quant-qdq:per_channel=false", "quant-qdq:activation_type=int8", "quant-qdq:reduce_range=true",
     "quant-qop", "quant-dynamic", "quant-dynamic:per_channel=false:reduce_range=true"],
)  # fmt: skip
def test_the_model_is_what_onnx_runtimes_quantizer_makes(spelled: str, fp32_folder: Path, tiny_task: Task) -> None:
    made_by = method(spelled if "reduce_range" in spelled else f"{spelled}:reduce_range=false", tiny_task)
    static = not spelled.startswith("quant-dynamic")
    model = read_model(fp32_folder / "model.onnx")
    ranges = some_ranges(model, outputs=spelled.startswith("quant-qop")) if static else {}
    ours = quantized_model(made_by, model, ranges)
    quantizer = library_quantizer(spelled, read_model(fp32_folder / "model.onnx"), ranges)
    quantizer.quantize_model()
    theirs = quantizer.model.model
    rows = 2 if spelled.startswith("quant-qdq") else 0  # pooler and classifier: an axis on, an axis off
    nodes = Counter(node.op_type for node in ours.graph.node) - Counter(Unsqueeze=rows, Squeeze=rows)
    expected_nodes = Counter(node.op_type for node in theirs.graph.node)
    by_feature = made_by.per_channel
    if by_feature:  # where theirs has a grid for a table, ours has one for each of its features
        pairs = 3 if spelled.startswith("quant-qdq") else 0
        expected_nodes -= Counter(DequantizeLinear=3 + pairs, QuantizeLinear=pairs)  # theirs: before and behind
        expected_nodes += Counter(Cast=3, Mul=3)
    assert nodes == expected_nodes
    expected = {each.name: numpy_helper.to_array(each) for each in theirs.graph.initializer}
    compared = 0
    for each in ours.graph.initializer:
        if "_embeddings.weight" in each.name and (by_feature or "reduce_range=true" in spelled):
            continue  # the library takes a bit from tables too, though they enter no sum
        if each.name == "rows_axis":
            continue
        values = numpy_helper.to_array(each)
        each.name = each.name.replace("_rows", "")
        assert values.dtype == expected[each.name].dtype, each.name
        np.testing.assert_allclose(values, expected[each.name].reshape(values.shape), rtol=1e-6, err_msg=each.name)
        compared += values.dtype in (np.int8, np.uint8) and values.ndim == 2
    assert compared == LINEAR_LAYERS + (0 if by_feature or "reduce_range=true" in spelled else 3)


@pytest.mark.parametrize("spelled", ["quant-qdq", "quant-qdq:activation_type=int8", "quant-dynamic"])
def test_each_feature_of_a_table_has_its_grid_and_one_entry_spoils_no_other(
    spelled: str, fp32_folder: Path, tiny_task: Task
) -> None:
    model = read_model(fp32_folder / "model.onnx")
    (table,) = (each for each in model.graph.initializer if "position_embeddings.weight" in each.name)
    values = numpy_helper.to_array(table).copy()
    values[0, 3] = 100 * np.abs(values).max()
    table.CopyFrom(numpy_helper.from_array(values, table.name))
    ranges = some_ranges(model, outputs=False) if spelled != "quant-dynamic" else {}
    made = quantized_model(method(spelled, tiny_task), model, ranges)
    parts = {each.name: numpy_helper.to_array(each) for each in made.graph.initializer}
    codes, scales = parts[f"{table.name}_codes"], parts[f"{table.name}{FACTORS_SUFFIX}"]
    np.testing.assert_allclose(scales, np.abs(values).max(axis=0) / 127, rtol=1e-6)
    assert np.array_equal(codes, np.rint(values / scales).astype(np.int8))
    assert (np.abs(codes * scales - values) <= scales / 2 + 1e-7).all()
    assert not any(name.endswith("embeddings.weight_quantized") for name in parts)


@pytest.mark.parametrize("spelled", ["quant-qdq", "quant-qop", "quant-dynamic", "quant-qdq:activation_type=int8"])
def test_answers_stay_close_to_fp32(spelled: str, fp32_folder: Path, as_artifact: AsArtifact, context: Context) -> None:
    source = as_artifact(fp32_folder, format="onnx-fp32")
    method(spelled, context.task).compress(source, context)
    rows = encode_rows(context.train, tokenizer_path=fp32_folder / "tokenizer.json", max_length=32)
    before, after = (
        predict(open_model(path, threads=1), rows) for path in (source.onnx_path, context.to / "model.onnx")
    )
    assert np.abs(after - before).max() < 0.1 * before.std(axis=0).max() + 0.02
    assert np.abs(after - before).max() > 0  # it is another model
    assert {"config.json", "tokenizer.json"} <= {path.name for path in context.to.iterdir()}


def test_no_linear_layer_and_no_embedding_stays_fp32(fp32_folder: Path, tiny_task: Task) -> None:
    for spelled in ("quant-qdq", "quant-qop", "quant-dynamic"):
        model = read_model(fp32_folder / "model.onnx")
        ranges = some_ranges(model, outputs=True)
        made = quantized_model(method(spelled, tiny_task), model, ranges)
        assert not [name for _, name in weight_inputs(made)], spelled
        large = [each.name for each in made.graph.initializer if each.data_type == 1 and len(each.dims) > 1]
        assert not large, spelled


@pytest.mark.parametrize(
    ("spelled", "all_int8"),
    [("quant-qdq", True), ("quant-qop", True), ("quant-dynamic", True), ("quant-qdq:activation_type=int8", False)],
)
def test_every_linear_layer_runs_in_int8_unless_activations_are_signed(
    spelled: str, all_int8: bool, fp32_folder: Path, as_artifact: AsArtifact, context: Context
) -> None:
    method(spelled, context.task).compress(as_artifact(fp32_folder, format="onnx-fp32"), context)
    record = check_int8(context.to / "model.onnx", shape=Shape(1, 16), measured_key="m")
    assert record is not None
    if all_int8:
        assert (record.constant_gemm_share, record.leftover_qdq_pairs) == (1.0, 0)
    elif platform.machine() == "x86_64":  # Arm has kernels for signed activations
        assert record.constant_gemm_share < 0.9
        assert record.leftover_qdq_pairs > 0


@pytest.mark.parametrize("spelled", ["quant-qdq", "quant-qop", "quant-dynamic", "quant-dynamic:per_channel=false"])
def test_parameters_are_counted_as_in_fp32_and_pruned_weights_stay_zero(
    spelled: str, fp32_folder: Path, tiny_task: Task
) -> None:
    def counted(model: onnx.ModelProto) -> tuple[int, int]:
        weights = list(weights_of(model))
        return sum(each.count for each in weights), sum(each.count for each in weights if each.is_linear)

    model = read_model(fp32_folder / "model.onnx")
    tensor = next(each for each in model.graph.initializer if each.name.endswith("0.intermediate.dense.weight"))
    values = numpy_helper.to_array(tensor).copy()
    values[::2] = 0.0
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    before = counted(model)
    made = quantized_model(method(spelled, tiny_task), model, some_ranges(model, outputs=True))
    assert counted(made) == before
    found = {each.name.removesuffix("_quantized"): each.nonzero_count for each in weights_of(made)}
    assert found[tensor.name] <= values.size // 2


def test_one_method_on_two_tasks_makes_one_graph(fp32_folder: Path, tiny_task: Task, tmp_path: Path) -> None:
    keys = []
    for name, factor in (("one", 1.0), ("two", 3.0)):
        model = read_model(fp32_folder / "model.onnx")
        ranges = {key: (factor * low, factor * high) for key, (low, high) in some_ranges(model, outputs=False).items()}
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(quantized_model(method("quant-qdq", tiny_task), model, ranges).SerializeToString())
        keys.append((graph_key(path), path.read_bytes()))
    assert keys[0][0] == keys[1][0]
    assert keys[0][1] != keys[1][1]


@pytest.mark.parametrize("in_memory", [True, False])
def test_ranges_are_the_extremes_over_all_rows_padding_included(
    in_memory: bool, fp32_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = read_model(fp32_folder / "model.onnx")
    tensors = activations(model, outputs=True)
    encoded = encode_rows(
        draw_tiny_rows(count=21, seed=2), tokenizer_path=fp32_folder / "tokenizer.json", max_length=32
    )
    before = model.SerializeToString(deterministic=True)
    monkeypatch.setattr(observing, "IN_MEMORY_BYTES", 2**31 if in_memory else 0)
    found = activation_ranges(model, encoded, tensors=tensors, threads=1, workplace=tmp_path, progress=Quiet())
    assert bool(list(tmp_path.iterdir())) is not in_memory
    assert model.SerializeToString(deterministic=True) == before
    wanted = tensors[:-1]  # the last is the output itself
    for name in wanted:
        model.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    order = np.argsort(-encoded.lengths, kind="stable")
    runs = [session.run(wanted, encoded.batch(order[start : start + 8])) for start in range(0, 21, 8)]
    for place, name in enumerate(wanted):
        extremes = (min(run[place].min() for run in runs), max(run[place].max() for run in runs))
        assert found[name] == pytest.approx(extremes, rel=1e-4, abs=1e-6)


def test_calibration_rows_are_drawn_from_train_by_the_seed() -> None:
    train = draw_tiny_rows(count=50, seed=1)
    one, again, other = (draw_rows(train, count=20, seed=seed) for seed in (1, 1, 2))
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert len(one) == 20
    assert draw_rows(train, count=50, seed=3).fingerprint == train.fingerprint


def test_more_calibration_rows_than_there_are(context: Context, fp32_folder: Path, as_artifact: AsArtifact) -> None:
    with pytest.raises(InvalidParameter, match=r"calibration_rows=161, but the training split has 160 rows"):
        method("quant-qdq:calibration_rows=161", context.task).compress(
            as_artifact(fp32_folder, format="onnx-fp32"), context
        )


@pytest.mark.parametrize(
    ("spelled", "told"),
    [
        ("quant-qdq:calibration_rows=0", r"quant-qdq: calibration_rows=0 leaves nothing to calibrate on: use 128"),
        ("quant-qop:calibration_rows=-5", r"calibration_rows=-5 leaves nothing"),
        ("quant-qdq:calibration_rows=many", r"calibration_rows=many is not a whole number"),
        ("quant-qdq:calibrate_method=mean", r"calibrate_method=mean is not distribution, entropy, minmax or"),
        ("quant-qdq:activation_type=int4", r"activation_type=int4 is not int8 or uint8"),
        ("quant-dynamic:reduce_range=maybe", r"reduce_range=maybe is not true or false or auto"),
        ("quant-dynamic:target=z80", r"target=z80 is not native or arm64, avx2, avx512, avx512_vnni or portable"),
        ("quant-qdq:s8_to_u8=true", r"s8_to_u8=true moves signed activations, and activation_type=auto has none"),
    ],
)
def test_values_that_cannot_be(spelled: str, told: str) -> None:
    with pytest.raises(InvalidParameter, match=told):
        parse_chain(spelled)


def test_a_target_that_is_none_is_refused_from_python_too() -> None:
    from compressbench.methods.quantize.qdq import QuantQdq

    target: Any = "z80"
    with pytest.raises(InvalidParameter, match="target=z80 is unknown: use native, portable, avx2"):
        QuantQdq(target=target)


def test_reduced_weights_fit_seven_bits(fp32_folder: Path, tiny_task: Task) -> None:
    model = read_model(fp32_folder / "model.onnx")
    made = quantized_model(method("quant-dynamic:reduce_range=true", tiny_task), model, {})
    codes = [
        numpy_helper.to_array(each) for each in made.graph.initializer if each.name.endswith("dense.weight_quantized")
    ]
    assert max(np.abs(values.astype(int)).max() for values in codes) == 64


def test_a_quantized_source_is_refused(
    context: Context, fp32_folder: Path, as_artifact: AsArtifact, tmp_path: Path
) -> None:
    method("quant-dynamic", context.task).compress(as_artifact(fp32_folder, format="onnx-fp32"), context)
    again = replace(context, to=tmp_path / "again")
    again.to.mkdir()
    with pytest.raises(
        BadInput, match=r"is quantized already \(it has DynamicQuantizeLinear\): give quant-qop the fp32 model"
    ):
        method("quant-qop", context.task).compress(as_artifact(context.to, format="onnx-fp32"), again)
    assert not list(again.to.iterdir())


def test_pairs_and_token_types_calibrate_too(fp32_folder: Path, as_artifact: AsArtifact, context: Context) -> None:
    single = draw_tiny_rows(count=140, seed=8)
    pairs = Rows(first=single.first, second=single.first[::-1], labels=single.labels)
    task = replace(context.task, text_columns=("one", "two"))
    made = method("quant-qdq", task).compress(
        as_artifact(fp32_folder, format="onnx-fp32"), replace(context, train=pairs, task=task)
    )
    assert made.budget == {"calibration_rows": 128}
    assert made.target == native_target()


def test_parameters_have_onnx_runtimes_names(tiny_task: Task) -> None:
    names = {each.name for each in dataclasses.fields(method("quant-qdq", tiny_task))}
    assert {"activation_type", "weight_type", "per_channel", "reduce_range", "calibrate_method"} <= names
    assert isinstance(method("quant-qop", tiny_task), Method)
