import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto
from onnxruntime.quantization.quant_utils import quantize_data

from compressbench.numerics.affine import asymmetric_codes, real_values, symmetric_codes

FLOATS = st.floats(-1000, 1000, width=32, allow_subnormal=False)
MATRICES = hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=FLOATS)


@given(MATRICES, st.booleans())
def test_symmetric_codes_are_onnx_runtimes(values: np.ndarray, reduce_range: bool) -> None:
    codes = symmetric_codes(values, per_column=False, reduce_range=reduce_range)
    zero_point, scale, theirs = quantize_data(values.ravel(), TensorProto.INT8, True, reduce_range)
    assert codes.scale == scale
    assert codes.zero_point == zero_point == 0
    assert np.array_equal(codes.values.ravel(), theirs)


@given(MATRICES)
def test_a_column_is_quantized_as_if_it_were_alone(values: np.ndarray) -> None:
    codes = symmetric_codes(values, per_column=True)
    for column in range(values.shape[1]):
        alone = symmetric_codes(values[:, column : column + 1], per_column=False)
        assert codes.scale[column] == alone.scale
        assert np.array_equal(codes.values[:, column : column + 1], alone.values)


@given(MATRICES, st.sampled_from(["int8", "uint8"]))
def test_asymmetric_codes_are_onnx_runtimes(values: np.ndarray, code_type: str) -> None:
    codes = asymmetric_codes(values, code_type=code_type)
    kind = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8}[code_type]
    zero_point, scale, theirs = quantize_data(values.ravel(), kind, False)
    assert codes.zero_point == zero_point
    assert codes.scale == pytest.approx(scale, rel=1e-6)
    assert np.abs(codes.values.ravel().astype(int) - theirs.astype(int)).max() <= 1


@given(MATRICES, st.booleans())
def test_no_weight_is_further_off_than_half_a_step(values: np.ndarray, per_column: bool) -> None:
    codes = symmetric_codes(values, per_column=per_column)
    assert (np.abs(real_values(codes) - values) <= codes.scale * 0.501 + 1e-30).all()


@given(MATRICES, st.sampled_from(["int8", "uint8"]))
def test_zero_is_exact_on_the_asymmetric_grid(values: np.ndarray, code_type: str) -> None:
    values.flat[0] = 0.0
    assert real_values(asymmetric_codes(values, code_type=code_type)).flat[0] == 0.0


def test_reduced_codes_fit_seven_bits() -> None:
    codes = symmetric_codes(np.array([[1.0, -3.0], [2.0, 3.0]], dtype=np.float32), per_column=False, reduce_range=True)
    assert codes.values.tolist() == [[21, -64], [43, 64]]


def test_all_zeros_have_a_scale_that_can_be_divided_by() -> None:
    for codes in (symmetric_codes(np.zeros((2, 2), np.float32), per_column=True),
                  asymmetric_codes(np.zeros((2, 2), np.float32), code_type="uint8")):  # fmt: skip
        assert (codes.scale > 0).all()
        assert not real_values(codes).any()
