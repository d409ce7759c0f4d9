"""Affine INT8 quantization: real = scale * (code - zero point). Arrays in, arrays out; no model, no file."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

CodeType = Literal["int8", "uint8"]


@dataclass(frozen=True)
class Codes:
    """A quantized tensor."""

    values: np.ndarray
    """int8 or uint8, of the tensor's shape."""
    scale: np.ndarray
    """float32; a scalar, or one a column."""
    zero_point: np.ndarray
    """Of the codes' type and the scale's shape."""


def symmetric_codes(values: np.ndarray, *, per_column: bool, reduce_range: bool = False) -> Codes:
    """int8 codes with zero point 0, as ONNX Runtime makes them for weights.

    Args:
        values: float32; its last axis are the columns.
        per_column: One scale for each column instead of one for all.
        reduce_range: Codes in -64..64 instead of -127..127: two products of them and 8-bit activations then fit into
            the 16 bits that CPUs without VNNI add them up in.
    """
    largest = 64 if reduce_range else 127
    axes = tuple(range(values.ndim - 1)) if per_column else None
    bound = np.maximum(values.max(axis=axes), -values.min(axis=axes))
    # Through float64, as ONNX Runtime does: the same weights give the same codes to the last bit.
    scale = (2.0 * bound.astype(np.float64) / (2 * largest)).astype(np.float32)
    scale = np.where(scale < np.finfo(np.float32).tiny, np.float32(1.0), scale).astype(np.float32)
    codes = values / scale
    np.rint(codes, out=codes)
    np.clip(codes, -largest, largest, out=codes)
    return Codes(codes.astype(np.int8), scale, np.zeros_like(scale, dtype=np.int8))


def asymmetric_codes(values: np.ndarray, *, code_type: CodeType) -> Codes:
    """Codes on the full grid that covers the values and holds zero exactly, one scale for all."""
    info = np.iinfo(code_type)
    low, high = (float(bound) for bound in (min(values.min(), 0.0), max(values.max(), 0.0)))
    scale = np.float32((high - low) / (info.max - info.min))
    if scale < np.finfo(np.float32).tiny:
        scale, zero_point = np.float32(1.0), 0
    else:
        zero_point = round(info.min - low / float((high - low) / (info.max - info.min)))
    codes = values / scale
    np.rint(codes, out=codes)
    codes += zero_point
    np.clip(codes, info.min, info.max, out=codes)
    return Codes(codes.astype(code_type), np.array(scale), np.array(zero_point, dtype=code_type))


def to_unsigned(codes: Codes) -> Codes:
    """int8 codes as uint8: codes and zero point move by +128, so each stands for the value it stood for.

    Only the arithmetic may differ: x86 kernels without VNNI saturate on unsigned activations and full-range weights.
    """

    def moved(values: np.ndarray) -> np.ndarray:
        return (values.astype(np.int16) + 128).astype(np.uint8)

    return Codes(moved(codes.values), codes.scale, moved(codes.zero_point))


def quantized(values: np.ndarray, *, scale: np.ndarray, zero_point: np.ndarray) -> np.ndarray:
    """The codes of values on a given grid, as QuantizeLinear makes them: rounded half to even, clipped to its type."""
    info = np.iinfo(zero_point.dtype)
    codes = np.rint(values / scale) + zero_point.astype(np.int32)
    return np.asarray(np.clip(codes, info.min, info.max).astype(zero_point.dtype))


def real_values(codes: Codes) -> np.ndarray:
    """The float32 values that codes stand for."""
    steps = codes.values.astype(np.int32) - codes.zero_point.astype(np.int32)
    return np.asarray(steps.astype(np.float32) * codes.scale)
