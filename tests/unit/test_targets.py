"""Targets: what `native` is, what this machine can check, and that 7-bit weights never overflow a pair of products."""

import platform
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from compressbench import environment
from compressbench.errors import InvalidParameter
from compressbench.methods.chain import parse_chain
from compressbench.methods.quantize.qdq import QuantQdq
from compressbench.methods.quantize.static import StaticQuantization
from compressbench.models.geometry import BERT_BASE
from compressbench.numerics.affine import quantized, symmetric_codes
from compressbench.targets import TARGET_NAMES, TARGETS, check_target, misfit, native_target
from compressbench.tasks.task import Task

MACHINES = {
    "avx2": ("x86_64", {"avx2"}),
    "avx512": ("x86_64", {"avx2", "avx512f"}),
    "avx512_vnni": ("x86_64", {"avx2", "avx512f", "avx512_vnni"}),
    "client with VNNI": ("AMD64", {"avx2", "avx_vnni"}),
    "arm64": ("aarch64", {"asimddp"}),
    "mac": ("arm64", set()),
    "old x86": ("x86_64", {"sse4_2"}),
    "other": ("riscv64", set()),
}


@pytest.fixture
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    kind, flags = MACHINES[name]
    monkeypatch.setattr(platform, "machine", lambda: kind)
    monkeypatch.setattr(environment, "cpu_description", lambda: (name, frozenset(flags)))
    return name


NATIVE_OF = {
    "client with VNNI": "avx512_vnni", "mac": "arm64", "old x86": "portable", "other": "portable",
    **{name: name for name in ("avx2", "avx512", "avx512_vnni", "arm64")},
}  # fmt: skip
CHECKED_ON = {
    "avx2": {"portable", "avx2", "avx512"},
    "avx512": {"portable", "avx2", "avx512"},
    "avx512_vnni": {"portable", "avx2", "avx512", "avx512_vnni"},
    "arm64": {"portable", "arm64"},
    "other": {"portable"},
}


@pytest.mark.parametrize("machine", MACHINES, indirect=True)
def test_native_is_the_target_of_the_cpu(machine: str) -> None:
    assert native_target() == NATIVE_OF[machine]
    check_target("native")


@pytest.mark.parametrize("machine", CHECKED_ON, indirect=True)
def test_a_machine_checks_the_targets_whose_numbers_it_computes(machine: str) -> None:
    checked = {name for name in TARGET_NAMES if misfit(name) is None}
    for name in TARGET_NAMES:
        if name in checked:
            check_target(name)
        else:
            with pytest.raises(InvalidParameter, match=f"target={name} cannot be checked on .* use target=portable"):
                check_target(name)
    assert checked == CHECKED_ON[machine]


@pytest.mark.parametrize("machine", ["avx2"], indirect=True)
def test_a_misfit_says_why(machine: str) -> None:
    assert machine in str(misfit("avx512_vnni"))
    assert "adds INT8 products in 16 bits, which saturate" in str(misfit("avx512_vnni"))
    assert "has other INT8 kernels" in str(misfit("arm64"))
    assert misfit("x86_64+avx2") is None  # as earlier versions wrote it


@pytest.mark.parametrize("machine", ["avx2"], indirect=True)
def test_a_plan_refuses_a_target_this_machine_cannot_check(machine: str) -> None:
    (method,) = parse_chain("quant-qdq:target=avx512_vnni")
    with pytest.raises(InvalidParameter, match="target=avx512_vnni cannot be checked on this machine, a CPU of target"):
        method.check(BERT_BASE)
    (method,) = parse_chain(f"quant-qdq:target={machine}")
    assert method.check(BERT_BASE) == BERT_BASE


@pytest.mark.parametrize(
    ("target", "reduce_range", "activation_type"),
    [("portable", True, "uint8"), ("avx2", True, "uint8"), ("avx512", True, "uint8"), ("avx512_vnni", False, "uint8"),
     ("arm64", False, "int8")],
)  # fmt: skip
def test_the_target_decides_what_is_auto(
    target: str, reduce_range: bool, activation_type: str, tiny_task: Task
) -> None:
    (made,) = parse_chain(f"quant-qdq:target={target}")
    made = made.resolved(task=tiny_task)
    assert isinstance(made, StaticQuantization)
    assert (made.reduce_range, made.activation_type, made.target) == (reduce_range, activation_type, target)
    assert made.resolved(task=tiny_task) == made
    kept = replace(QuantQdq(target=made.target), reduce_range=not reduce_range, activation_type="int8")
    kept = kept.resolved(task=tiny_task)
    assert (kept.reduce_range, kept.activation_type) == (not reduce_range, "int8")


def sums_in_16_bits(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A product as CPUs without VNNI compute it: vpmaddubsw on pairs, which saturates, then vpmaddwd into 32 bits.

    Args:
        activations: uint8 [rows, features], an even number of features.
        weights: int8 [features, columns].
    """
    products = activations[:, :, None].astype(np.int32) * weights[None].astype(np.int32)
    pairs = products[:, 0::2] + products[:, 1::2]
    return np.clip(pairs, -(2**15), 2**15 - 1).sum(axis=1)


def exact_sums(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return activations.astype(np.int32) @ weights.astype(np.int32)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_full_range_weights_saturate_where_seven_bits_do_not(sign: float) -> None:
    rng = np.random.default_rng(0)
    weights = sign * rng.uniform(0.6, 1.0, size=(64, 8)).astype(np.float32)
    activations = np.full((4, 64), 250, dtype=np.uint8)
    full, reduced = (symmetric_codes(weights, per_column=True, reduce_range=reduce) for reduce in (False, True))
    saturated, exact = sums_in_16_bits(activations, full.values), exact_sums(activations, full.values)
    assert (np.abs(saturated) < 0.9 * np.abs(exact)).all()  # not a rounding: a tenth of the sum and more is lost
    np.testing.assert_array_equal(sums_in_16_bits(activations, reduced.values), exact_sums(activations, reduced.values))
    real = 250 * weights.sum(axis=0)
    np.testing.assert_allclose(
        sums_in_16_bits(activations, reduced.values)[0] * reduced.scale, real, rtol=0.5 / 38
    )  # codes of 38 and more, each off by half a step


@given(
    st.lists(st.tuples(st.integers(0, 255), st.floats(-9, 9, width=32)), min_size=2, max_size=32),
    st.floats(0.0078125, 128, width=32),
)
def test_no_weights_and_activations_overflow_seven_bits(pairs: list[tuple[int, float]], factor: float) -> None:
    pairs = pairs[: len(pairs) // 2 * 2]
    activations = np.array([[code for code, _ in pairs]], dtype=np.uint8)
    weights = np.float32(factor) * np.array([[value] for _, value in pairs], dtype=np.float32)
    codes = symmetric_codes(weights, per_column=False, reduce_range=True).values
    np.testing.assert_array_equal(sums_in_16_bits(activations, codes), exact_sums(activations, codes))


def test_the_largest_pair_of_seven_bits_is_just_within_sixteen() -> None:
    assert 2 * 255 * 64 <= 2**15 - 1 < 2 * 255 * 65
    top = quantized(np.float32([1e9]), scale=np.float32(1), zero_point=np.array(0, dtype=np.uint8))
    assert int(top[0]) == 255


def librarys_product(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """ONNX Runtime's kernel for unsigned activations and constant signed weights, on this CPU."""
    shape = [activations.shape[0], weights.shape[1]]
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["left", "right"], ["product"])],
        "product",
        [helper.make_tensor_value_info("left", TensorProto.UINT8, activations.shape)],
        [helper.make_tensor_value_info("product", TensorProto.INT32, shape)],
        [numpy_helper.from_array(weights, "right")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    product: np.ndarray = session.run(None, {"left": activations})[0]
    return product


@pytest.mark.parametrize("largest", [127, 64])
def test_the_kernel_of_this_cpu_saturates_where_its_target_says_so(largest: int) -> None:
    activations = np.full((4, 64), 250, dtype=np.uint8)
    weights = np.full((64, 16), largest, dtype=np.int8)
    wide = TARGETS[native_target()].adds_in_32_bits or largest == 64
    emulated = exact_sums(activations, weights) if wide else sums_in_16_bits(activations, weights)
    found = librarys_product(activations, weights)
    if native_target() == "portable":  # its kernels are not known: either is right
        assert int(found[0, 0]) in (int(emulated[0, 0]), int(exact_sums(activations, weights)[0, 0]))
    else:
        np.testing.assert_array_equal(found, emulated)
