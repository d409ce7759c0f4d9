"""S8 activations as U8: the same values, on every code and in a whole model; and what each form fuses to."""

import platform
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

from compressbench.harness.int8_check import check_int8
from compressbench.harness.shapes import Shape
from compressbench.methods.chain import parse_chain
from compressbench.methods.quantize.rewriting import quantized_model
from compressbench.methods.quantize.signed_codes import move_to_unsigned
from compressbench.methods.quantize.sources import activations
from compressbench.methods.quantize.static import Quantization
from compressbench.models.onnx_export import export_classifier
from compressbench.models.onnx_graph import read_model, weight_inputs
from compressbench.numerics.affine import Codes, quantized, real_values, to_unsigned
from compressbench.tasks.task import Task

SIGNED = "quant-qdq:activation_type=int8"
Quantize = Callable[[str], onnx.ModelProto]


@pytest.fixture(scope="module")
def fp32_path(tiny_classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fp32")
    export_classifier(tiny_classifier, to=folder)
    return folder / "model.onnx"


@pytest.fixture
def quantize(fp32_path: Path, tiny_task: Task) -> Quantize:
    def made(spelled: str) -> onnx.ModelProto:
        (method,) = parse_chain(spelled)
        resolved = method.resolved(task=tiny_task)
        assert isinstance(resolved, Quantization)
        model = read_model(fp32_path)
        rng = np.random.default_rng(0)
        names = activations(model, outputs=True)
        return quantized_model(resolved, model, {name: (-rng.uniform(1, 4), rng.uniform(1, 4)) for name in names})

    return made


@pytest.mark.parametrize("zero_point", [-128, -5, 0, 77, 127])
def test_every_code_keeps_its_value(zero_point: int) -> None:
    codes = Codes(np.arange(-128, 128, dtype=np.int8), np.array(0.037, np.float32), np.array(zero_point, dtype=np.int8))
    moved = to_unsigned(codes)
    assert moved.values.dtype == moved.zero_point.dtype == np.uint8
    np.testing.assert_array_equal(moved.values, np.arange(256))
    np.testing.assert_array_equal(real_values(moved), real_values(codes))


@pytest.mark.parametrize("zero_point", [-128, -5, 0, 127])
def test_every_value_gets_the_code_moved_by_128(zero_point: int) -> None:
    values = np.linspace(-9, 9, 4001, dtype=np.float32)  # beyond both ends of every grid
    scale = np.float32(0.05)
    signed = quantized(values, scale=scale, zero_point=np.array(zero_point, dtype=np.int8))
    unsigned = quantized(values, scale=scale, zero_point=np.array(zero_point + 128, dtype=np.uint8))
    np.testing.assert_array_equal(unsigned, signed.astype(np.int16) + 128)
    assert {signed.min(), signed.max()} & {-128, 127}


def logits(model: onnx.ModelProto) -> np.ndarray:
    """As the graph says it, no kernel fused: each Q and DQ computed by itself."""
    options = SessionOptions()
    options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
    session = InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    ids = np.random.default_rng(1).integers(5, 40, size=(6, 12))
    mask = (np.arange(12) < np.array([[12], [9], [7], [5], [3], [2]])).astype(np.int64)
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    answers: np.ndarray = session.run(None, {each.name: feeds[each.name] for each in session.get_inputs()})[0]
    return answers


def test_a_whole_model_answers_the_same_to_the_last_bit(quantize: Quantize) -> None:
    signed = quantize(f"{SIGNED}:reduce_range=false")
    before = logits(signed)
    assert move_to_unsigned(signed) == len(_zero_points(signed))
    assert all(values.dtype == np.uint8 for values in _zero_points(signed).values())
    onnx.checker.check_model(signed)
    np.testing.assert_array_equal(logits(signed), before)
    np.testing.assert_array_equal(logits(quantize(f"{SIGNED}:reduce_range=false:s8_to_u8=true")), before)


def test_moved_codes_are_those_that_unsigned_calibration_gives(quantize: Quantize) -> None:
    moved, unsigned = (_zero_points(quantize(name)) for name in (f"{SIGNED}:s8_to_u8=true", "quant-qdq"))
    assert moved.keys() == unsigned.keys()
    for name, values in moved.items():
        np.testing.assert_array_equal(values, unsigned[name], err_msg=name)


def _zero_points(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    values = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    return {node.input[2]: values[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"}


def int8_shares(model: onnx.ModelProto, *, config: Path, folder: Path) -> tuple[float, int]:
    path = folder / "model.onnx"
    shutil.copyfile(config, folder / "config.json")
    path.write_bytes(model.SerializeToString())
    record = check_int8(path, shape=Shape(1, 16), measured_key="m")
    assert record is not None
    return record.constant_gemm_share, record.leftover_qdq_pairs


def test_where_signed_activations_lose_their_kernels(quantize: Quantize, fp32_path: Path, tmp_path: Path) -> None:
    plain, dedicated, moved = (
        int8_shares(quantize(name), config=fp32_path.with_name("config.json"), folder=tmp_path)
        for name in (SIGNED, f"{SIGNED}:dedicated_qdq_pair=true", f"{SIGNED}:s8_to_u8=true")
    )
    assert moved == (1.0, 0)
    if platform.machine() == "x86_64":  # Arm has kernels for signed activations
        assert plain[0] < 0.9
        assert plain[1] > 0
        assert dedicated == plain  # ONNX Runtime merges equal pairs again before it looks at them


def test_dedicated_pairs_help_where_onnx_runtime_does_not_merge_them(quantize: Quantize, tmp_path: Path) -> None:
    def int8_products(spelled: str, *, merged: bool) -> int:
        options = SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        options.log_severity_level = 3
        off = [] if merged else ["CommonSubexpressionElimination"]
        InferenceSession(quantize(spelled).SerializeToString(), options, disabled_optimizers=off)
        nodes = onnx.load(tmp_path / "optimized.onnx").graph.node
        return sum(node.op_type == "MatMulIntegerToFloat" for node in nodes)

    dedicated = f"{SIGNED}:dedicated_qdq_pair=true"
    if platform.machine() == "x86_64":
        assert int8_products(SIGNED, merged=False) == int8_products(dedicated, merged=True)
        assert int8_products(dedicated, merged=False) > int8_products(dedicated, merged=True)
    else:
        assert int8_products(dedicated, merged=True) > 0


def test_a_layer_that_is_excluded_stays_fp32(quantize: Quantize) -> None:
    kept = {name for _, name in weight_inputs(quantize("quant-qdq:nodes_to_exclude=classifier;*.1.output.dense"))}
    assert {name.removesuffix(".weight").rsplit(".", 3)[-1] for name in kept} == {"classifier", "dense"}
    assert len(kept) == 2
