"""Counts and INT8 shares against hand-made graphs and PyTorch's own counts."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import zstandard
from onnx import TensorProto, helper, numpy_helper

from compressbench.errors import BadInput
from compressbench.harness.gemms import profiled_graph
from compressbench.harness.int8_check import check_int8
from compressbench.harness.shapes import Shape
from compressbench.harness.size import WHOLE_BYTES, compressed_bytes, measure_size
from compressbench.models.geometry import encoder_flops
from compressbench.models.onnx_export import export_classifier
from compressbench.models.onnx_graph import model_files
from compressbench.progress import Quiet
from tests.conftest import TINY


@pytest.fixture(scope="module")
def exported_once(tiny_classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export_classifier(tiny_classifier, to=folder)
    return folder


@pytest.fixture
def exported(exported_once: Path, tmp_path: Path) -> Path:
    shutil.copytree(exported_once, tmp_path, dirs_exist_ok=True)
    return tmp_path / "model.onnx"


def test_counts_equal_pytorchs(exported: Path, tiny_classifier: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(tiny_classifier)
    size = measure_size(exported, measured_key="key", progress=Quiet())
    assert size.parameter_count == sum(each.numel() for each in model.parameters())
    assert size.nonzero_count == sum(int(each.count_nonzero()) for each in model.parameters())
    linear = [module.weight for module in model.modules() if isinstance(module, torch.nn.Linear)]
    assert size.linear_count == size.linear_nonzero_count == sum(each.numel() for each in linear)
    assert size.size_bytes == exported.stat().st_size


def test_flops_are_the_encoders_and_the_heads(exported: Path) -> None:
    _, gemms = profiled_graph(exported, Shape(2, 16))
    head = 2 * 2 * (TINY.hidden**2 + 2 * TINY.hidden)
    assert 2 * sum(gemm.multiply_adds for gemm in gemms) == encoder_flops(TINY, batch=2, tokens=16) + head


def test_zeros_of_a_linear_weight_are_counted(exported: Path) -> None:
    before = measure_size(exported, measured_key="key", progress=Quiet())
    model = onnx.load(exported)
    tensor = next(each for each in model.graph.initializer if list(each.dims) == [TINY.hidden, TINY.intermediate])
    array = numpy_helper.to_array(tensor).copy()
    array[:5] = 0
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(model, exported)
    after = measure_size(exported, measured_key="key", progress=Quiet())
    assert before.linear_nonzero_count - after.linear_nonzero_count == 5 * TINY.intermediate
    assert before.nonzero_count - after.nonzero_count == 5 * TINY.intermediate
    assert after.parameter_count == before.parameter_count


@pytest.mark.parametrize("size", [0, 1, 1000, WHOLE_BYTES])
def test_small_files_are_compressed_whole(tmp_path: Path, size: int) -> None:
    data = np.random.default_rng(0).integers(0, 7, size=size).astype(np.uint8).tobytes()
    (tmp_path / "file").write_bytes(data)
    streamed = len(zstandard.ZstdCompressor(level=19).compressobj().compress(b""))
    expected = len(zstandard.ZstdCompressor(level=19, write_content_size=False).compress(data)) + streamed
    assert compressed_bytes(tmp_path / "file") == pytest.approx(expected, abs=16)


def test_large_files_are_estimated_well(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(3_000_000).astype(np.float32)
    weights[rng.random(len(weights)) < 0.2] = 0  # as a pruned model has them
    data = weights.tobytes()
    assert len(data) > WHOLE_BYTES
    (tmp_path / "file").write_bytes(data)
    exact = len(zstandard.ZstdCompressor(level=19).compress(data))
    assert compressed_bytes(tmp_path / "file") == pytest.approx(exact, rel=0.01)


def quantized_graph(path: Path, *, activation: int) -> Path:
    """One Linear layer between quantizers, as a QDQ file has it."""
    zero = {TensorProto.UINT8: 128, TensorProto.INT8: 0}[activation]
    rng = np.random.default_rng(0)
    codes = rng.integers(-127, 128, size=(50, 8)).astype(np.int8)
    codes[0] = 0
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("QuantizeLinear", ["rows", "scale", "zero"], ["rows_codes"]),
        helper.make_node("DequantizeLinear", ["rows_codes", "scale", "zero"], ["rows_back"]),
        helper.make_node("DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["weight_back"]),
        helper.make_node("MatMul", ["rows_back", "weight_back"], ["product"]),
        helper.make_node("ReduceMean", ["product", "axes"], ["logits"], keepdims=0),
    ]
    initializers = [
        numpy_helper.from_array(rng.standard_normal((20, 50)).astype(np.float32), "table"),
        numpy_helper.from_array(np.array(0.02, dtype=np.float32), "scale"),
        helper.make_tensor("zero", activation, [], [zero]),
        numpy_helper.from_array(codes, "weight"),
        numpy_helper.from_array(np.array(0.01, dtype=np.float32), "weight_scale"),
        numpy_helper.from_array(np.array(0, dtype=np.int8), "weight_zero"),
        numpy_helper.from_array(np.array([1]), "axes"),
    ]
    graph = helper.make_graph(
        nodes,
        "quantized",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 8])],
        initializers,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)
    (path.parent / "config.json").write_text('{"vocab_size": 20}')
    return path


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_fused_graph_computes_in_int8(tmp_path: Path, runtime: str) -> None:
    path = quantized_graph(tmp_path / "model.onnx", activation=TensorProto.UINT8)
    record = check_int8(path, shape=Shape(1, 16), measured_key="key", runtime=runtime)
    assert record is not None
    assert (record.gemm_share, record.constant_gemm_share, record.leftover_qdq_pairs) == (1.0, 1.0, 0)
    assert record.layers == {"weight": 1.0}


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_mis_quantized_graph_is_caught(tmp_path: Path, runtime: str) -> None:
    path = quantized_graph(tmp_path / "model.onnx", activation=TensorProto.UINT8)
    model = onnx.load(path)
    # A clipping between DequantizeLinear and MatMul: harmless to read, and it keeps the product in fp32.
    place = next(index for index, node in enumerate(model.graph.node) if node.op_type == "MatMul")
    model.graph.node[place].input[0] = "rounded"
    model.graph.node.insert(place, helper.make_node("Sin", ["rows_back"], ["rounded"]))
    onnx.save(model, path)
    record = check_int8(path, shape=Shape(1, 16), measured_key="key", runtime=runtime)
    assert record is not None
    assert (record.gemm_share, record.constant_gemm_share) == (0.0, 0.0)
    assert list(record.layers.values()) == [0.0]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_activations_quantized_for_an_fp32_weight_are_leftover_pairs(tmp_path: Path, runtime: str) -> None:
    path = quantized_graph(tmp_path / "model.onnx", activation=TensorProto.UINT8)
    model = onnx.load(path)
    codes = next(each for each in model.graph.initializer if each.name == "weight")
    floats = numpy_helper.from_array(numpy_helper.to_array(codes).astype(np.float32) * 0.01, "weight_back")
    model.graph.node.remove(next(node for node in model.graph.node if node.output[0] == "weight_back"))
    model.graph.initializer.append(floats)
    onnx.save(model, path)
    record = check_int8(path, shape=Shape(1, 16), measured_key="key", runtime=runtime)
    assert record is not None
    assert (record.constant_gemm_share, record.leftover_qdq_pairs) == (0.0, 1)


def test_pytorchs_linear_layers_are_int8_and_its_attention_is_not(exported: Path, tiny_classifier: Path) -> None:
    record = check_int8(
        exported, shape=Shape(2, 16), measured_key="key", runtime="torch-int8", torch_path=tiny_classifier
    )
    assert record is not None
    head = 2 * 2 * (TINY.hidden**2 + 2 * TINY.hidden)
    whole = encoder_flops(TINY, batch=2, tokens=16) + head
    attention = 2 * TINY.layers * 2 * 16 * 2 * 16 * TINY.hidden
    assert record.gemm_share == pytest.approx(1 - attention / whole)
    assert (record.constant_gemm_share, record.leftover_qdq_pairs) == (1.0, 0)
    assert record.layers["bert.encoder.layer.0.output.dense"] == 1.0
    assert record.layers["attention"] == 0.0


@pytest.mark.parametrize("runtime", ["torch", "torch-bf16"])
def test_pytorchs_float_runtimes_have_no_int8_record(exported: Path, tiny_classifier: Path, runtime: str) -> None:
    assert (
        check_int8(exported, shape=Shape(1, 16), measured_key="k", runtime=runtime, torch_path=tiny_classifier) is None
    )


def test_codes_that_equal_their_zero_point_are_zeros(tmp_path: Path) -> None:
    path = quantized_graph(tmp_path / "model.onnx", activation=TensorProto.UINT8)
    size = measure_size(path, measured_key="key", progress=Quiet())
    codes = numpy_helper.to_array(next(each for each in onnx.load(path).graph.initializer if each.name == "weight"))
    assert size.linear_count == 400
    assert size.linear_nonzero_count == np.count_nonzero(codes) <= 392
    assert size.parameter_count == 400 + 20 * 50  # scales and zero points are none


def test_fp32_models_have_no_int8_record(exported: Path) -> None:
    assert check_int8(exported, shape=Shape(1, 16), measured_key="key") is None


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x00\x01 no model")
    with pytest.raises(BadInput, match=r"no readable ONNX model|holds no graph"):
        measure_size(tmp_path / "model.onnx", measured_key="key", progress=Quiet())


@pytest.mark.parametrize("suffix", [".data", "_data"])
def test_weights_beside_the_graph_count_whatever_tool_wrote_them(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "model.onnx").write_bytes(b"graph")
    assert model_files(tmp_path / "model.onnx") == [tmp_path / "model.onnx"]
    (tmp_path / f"model.onnx{suffix}").write_bytes(b"weights")
    assert [each.name for each in model_files(tmp_path / "model.onnx")] == ["model.onnx", f"model.onnx{suffix}"]
