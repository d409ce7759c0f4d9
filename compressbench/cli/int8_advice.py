"""Which instructions this CPU multiplies INT8 with, and what a quantized model may be expected to gain by them."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Int8Path:
    """A family of INT8 instructions."""

    name: str
    flags: frozenset[str]
    """Any of these CPU flags tells it."""
    expect: str


PATHS = (
    Int8Path(
        name="AMX",
        flags=frozenset({"amx_int8"}),
        expect="tiles of INT8 products with 32-bit sums; at least what VNNI gives, more at large batches",
    ),
    Int8Path(
        name="VNNI",
        flags=frozenset({"avx512_vnni", "avx_vnni"}),
        expect="32-bit sums; a static INT8 BERT-Base was seen at 2-3x its fp32 in ONNX Runtime and at 3-4x in OpenVINO",
    ),
    Int8Path(
        name="Arm dot product",
        flags=frozenset({"i8mm", "asimddp"}),
        expect="32-bit sums, signed activations (target=arm64); not measured by this project",
    ),
    Int8Path(
        name="AVX512 without VNNI",
        flags=frozenset({"avx512f"}),
        expect="16-bit sums that saturate, so weights get 7 bits (reduce_range); expect far less than with VNNI",
    ),
    Int8Path(
        name="AVX2",
        flags=frozenset({"avx2"}),
        expect="16-bit sums that saturate, so weights get 7 bits (reduce_range); a static INT8 BERT-Base was seen at "
        "1.5x its fp32 in ONNX Runtime, and in OpenVINO below its fp32",
    ),
)
"""The fastest first."""
NO_PATH = Int8Path(name="none known", flags=frozenset(), expect="no speedup; a quantized file is smaller all the same")


def int8_path(flags: Collection[str]) -> Int8Path:
    """The fastest path that a CPU with these flags has."""
    return next((path for path in PATHS if path.flags & set(flags)), NO_PATH)


def int8_advice(flags: Collection[str], *, target: str) -> str:
    """One line for `doctor`.

    Args:
        flags: Of the CPU.
        target: What ``target=native`` means on it.
    """
    path = int8_path(flags)
    return f"INT8: {path.name} (target={target}): {path.expect}"
