"""Faster fp32 products only where they are as exact, and nowhere else."""

from collections.abc import Callable, Iterator

import pytest
import torch

from compressbench.methods import matmul_precision
from compressbench.methods.matmul_precision import fast_matmul, matmul_error, medium_is_exact


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Pretends a CPU on which the two settings have these errors."""
    medium_is_exact.cache_clear()

    def pretend(**by_setting: float) -> None:
        monkeypatch.setattr(matmul_precision, "matmul_error", lambda setting: by_setting[setting])

    yield pretend
    medium_is_exact.cache_clear()


def inside(**where: str) -> str:
    with fast_matmul(**where):
        return torch.get_float32_matmul_precision()


def test_fp32_on_a_cpu_that_stays_exact_is_faster(errors: Callable[..., None]) -> None:
    errors(highest=4e-7, medium=5e-7)
    assert inside(device="cpu", precision="fp32") == "medium"
    assert inside(device="cpu", precision="bf16") == "highest"
    assert inside(device="cuda", precision="fp32") == "highest"
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_cpu_that_rounds_to_bf16_is_left_exact(errors: Callable[..., None]) -> None:
    errors(highest=4e-7, medium=3e-3)
    assert inside(device="cpu", precision="fp32") == "highest"


def test_the_setting_returns_after_an_error(errors: Callable[..., None]) -> None:
    errors(highest=4e-7, medium=4e-7)
    with pytest.raises(KeyError), fast_matmul(device="cpu", precision="fp32"):
        raise KeyError
    assert torch.get_float32_matmul_precision() == "highest"


def test_the_error_is_rounding_here_whatever_is_decided() -> None:
    assert matmul_error("highest") < 1e-5
    with fast_matmul(device="cpu", precision="fp32"):
        left, right = torch.randn(64, 768), torch.randn(768, 768)
        torch.testing.assert_close((left @ right).double(), left.double() @ right.double(), rtol=1e-4, atol=1e-3)
