"""NNCF's quantization as a method: what its graph holds, what the parameters do to it, and what is said without it."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from compressbench.artifacts.artifact import ONNX_NAME, Artifact
from compressbench.errors import BadInput, InvalidParameter
from compressbench.harness.int8_check import check_int8
from compressbench.harness.shapes import Shape
from compressbench.methods.chain import parse_chain
from compressbench.methods.method import Context
from compressbench.methods.quantize import nncf as method_module
from compressbench.methods.quantize.nncf import QuantNncf
from compressbench.models.onnx_export import export_classifier
from compressbench.plan_parts import check_chain
from compressbench.runtimes.catalog import open_model
from tests.conftest import TINY, draw_tiny_rows

AsArtifact = Callable[..., Artifact]
LAYER = "bert.encoder.layer.1.output.dense"
INPUTS = {
    "input_ids": np.array([[2, 6, 7, 15, 3, 0], [2, 5, 8, 9, 19, 3]], dtype=np.int64),
    "attention_mask": np.array([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]], dtype=np.int64),
    "token_type_ids": np.zeros((2, 6), dtype=np.int64),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, tiny_teacher: Path) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export_classifier(tiny_teacher, to=folder)
    return folder


@pytest.fixture
def quantize(exported: Path, as_artifact: AsArtifact, tiny_context: Context) -> Callable[..., Path]:
    """``quantize(parameter=value)`` gives the ONNX file."""

    def quantized(**parameters: object) -> Path:
        method = replace(QuantNncf(calibration_rows=16), **parameters).resolved(task=tiny_context.task)
        to = tiny_context.to / f"made{len(list(tiny_context.to.iterdir()))}"
        to.mkdir()
        context = replace(tiny_context, to=to, train=draw_tiny_rows(count=64, seed=0))
        method.compress(as_artifact(exported, format="onnx-fp32"), context)
        return to / ONNX_NAME

    return quantized


def test_runs_in_int8_and_agrees_in_both_runtimes(quantize: Callable[..., Path], exported: Path) -> None:
    path = quantize()
    expected = open_model("onnxruntime", exported / ONNX_NAME, threads=1)(INPUTS)
    for runtime in ("onnxruntime", "openvino"):
        record = check_int8(path, shape=Shape(2, 8), measured_key="key", runtime=runtime)
        assert record is not None
        assert all(share == 1.0 for name, share in record.layers.items() if name.startswith("bert.encoder."))
        logits = open_model(runtime, path, threads=1)(INPUTS)
        np.testing.assert_allclose(logits, expected, atol=0.3)
        assert (logits.argmax(axis=1) == expected.argmax(axis=1)).all()


def test_quantizes_the_query_key_product_which_quant_qdq_leaves(quantize: Callable[..., Path]) -> None:
    record = check_int8(quantize(reduce_range=False), shape=Shape(2, 8), measured_key="key", runtime="openvino")
    assert record is not None
    products = [share for name, share in record.layers.items() if not name.startswith(("bert.", "classifier"))]
    assert sorted(products) == [0.0] * TINY.layers + [1.0] * TINY.layers  # softmax x values stays fp32


def test_unsigned_codes_hold_the_same_values(quantize: Callable[..., Path]) -> None:
    signed, unsigned = (quantize(activation_type=each, reduce_range=False) for each in ("int8", "uint8"))
    types = [{each.data_type for each in zero_points(onnx.load(path))} for path in (signed, unsigned)]
    assert types == [{onnx.TensorProto.INT8}, {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}]
    one, other = (open_model("openvino", path, threads=1)(INPUTS) for path in (signed, unsigned))
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_queries_and_keys_do_not_saturate_where_sums_have_16_bits(quantize: Callable[..., Path]) -> None:
    path = quantize(reduce_range=True)
    assert {each.data_type for each in zero_points(onnx.load(path))} == {onnx.TensorProto.UINT8}
    record = check_int8(path, shape=Shape(2, 8), measured_key="key", runtime="openvino")
    assert record is not None  # signed by signed is what OpenVINO has a saturating kernel for; this runs in fp32
    assert {share for name, share in record.layers.items() if name.startswith("MatMul")} == {0.0}


def test_reduced_weights_have_seven_bits(quantize: Callable[..., Path]) -> None:
    assert largest_weight_code(quantize(reduce_range=True)) <= 64
    assert largest_weight_code(quantize(reduce_range=False)) > 100


def test_an_excluded_layer_stays_fp32(quantize: Callable[..., Path]) -> None:
    record = check_int8(quantize(nodes_to_exclude=LAYER), shape=Shape(2, 8), measured_key="key", runtime="openvino")
    assert record is not None
    assert [name for name, share in record.layers.items() if share == 0 and "bert" in name] == [LAYER]


def test_smoothing_can_be_switched_off(quantize: Callable[..., Path]) -> None:
    smoothed, plain = (
        sum(node.op_type == "Mul" for node in onnx.load(quantize(smooth_quant_alpha=alpha)).graph.node)
        for alpha in (0.95, -1)
    )
    assert smoothed > plain


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("quant-nncf:smooth_quant_alpha=2", "smooth_quant_alpha=2 is not from 0 to 1, or -1 for none: use 0.95"),
        ("quant-nncf:calibration_rows=0", "calibration_rows=0 leaves nothing to calibrate on: use 128"),
    ],
)
def test_parameters_that_mean_nothing_are_refused(typed: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        parse_chain(typed)


def test_without_the_package_it_is_listed_and_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(method_module, "find_spec", lambda name: None)
    chain = parse_chain("quant-nncf")
    with pytest.raises(
        BadInput,
        match=r'quant-nncf needs the package nncf, which is not installed: pip install "compressbench\[openvino\]"',
    ) as caught:
        check_chain(chain, TINY, teacher=None, offline=True)
    assert caught.value.exit_code == 2


def test_the_package_reports_nothing_to_its_makers() -> None:
    code = """
import logging, sys
told = []
EVENTS = {"socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen", "os.exec", "os.fork"}
from compressbench.methods.quantize.nncf import _quiet_nncf
sys.addaudithook(lambda event, values: told.append((event, values)) if event in EVENTS else None)
before = logging.getLoggerClass()
with _quiet_nncf() as nncf:
    from nncf.telemetry.wrapper import telemetry
    telemetry.send_event(event_category="a", event_action="b", event_label="c")
sent = [event for event in told if event[0].startswith("socket")]
print(sent, type(telemetry).__name__, before is logging.getLoggerClass())
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[] MagicMock True"


def zero_points(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    names = {node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    return [each for each in model.graph.initializer if each.name in names]


def largest_weight_code(path: Path) -> int:
    """Of the Linear layers' weights; embeddings are looked up, and no sum of theirs can saturate."""
    graph = onnx.load(path).graph
    unpacked = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    weights = {unpacked.get(node.input[1]) for node in graph.node if node.op_type == "MatMul"}
    codes = [numpy_helper.to_array(each).astype(np.int32) for each in graph.initializer if each.name in weights]
    return max(int(np.abs(each).max()) for each in codes)
