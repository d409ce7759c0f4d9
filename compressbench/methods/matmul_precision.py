"""Products in fp32 by the faster of PyTorch's two libraries, where that gives the same numbers."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

FACTOR = 2.0
"""The error may be this many times that of the slower library, which is rounding either way; bf16's is 10,000 times."""


@contextmanager
def fast_matmul(*, device: str, precision: str) -> Iterator[None]:
    """Within it, fp32 products on a CPU go to oneDNN rather than MKL if that costs no accuracy on this CPU.

    PyTorch asks for it by the setting ``medium``, which *allows* bf16 inside; CPUs differ in whether they then use it,
    so one product is compared first. On two cores with AVX-512 every fp32 step took 1.7 to 2 times less. bf16 autocast
    and GPUs are left alone.
    """
    if device != "cpu" or precision != "fp32" or not medium_is_exact():
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@cache
def medium_is_exact() -> bool:
    """Whether ``medium`` multiplies as exactly as ``highest`` on this machine; tried once."""
    highest, medium = (matmul_error(setting) for setting in ("highest", "medium"))
    return medium <= FACTOR * highest


def matmul_error(setting: str) -> float:
    """Largest error of an fp32 product of BERT-Base's sizes, against fp64, relative to its largest entry."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(shape, generator=generator) for shape in ((256, 768), (768, 3072)))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(setting)
    try:
        found = left @ right
    finally:
        torch.set_float32_matmul_precision(before)
    exact = left.double() @ right.double()
    return float((found.double() - exact).abs().max() / exact.abs().max())
