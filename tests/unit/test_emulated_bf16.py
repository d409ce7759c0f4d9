"""bf16 products that fp32 computes: the same numbers as the CPU's own bf16 product, in training and in inference."""

import pytest
import torch
from torch import Tensor, nn

from benchmarks.emulated_bf16 import EmulatedBf16, main


def ulps(first: Tensor, second: Tensor) -> int:
    """Largest distance in representable bf16 numbers, of numbers of like sign."""
    return int((first.view(torch.int16).int() - second.view(torch.int16).int()).abs().max())


@pytest.mark.parametrize("shape", [(3, 40), (2, 3, 40)])
def test_products_are_those_of_the_cpus_own_bf16(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    left = torch.rand(shape, generator=generator).bfloat16()
    right = torch.rand((40, 8), generator=generator).bfloat16()
    with EmulatedBf16():
        found = left @ right
    assert found.dtype == torch.bfloat16
    assert ulps(found, left @ right) <= 1
    exact = left.double() @ right.double()
    assert float(((found.double() - exact) / exact).abs().max()) <= 2**-8  # one rounding to 8 bits, not one a term


def test_gradients_and_inference_go_through_it() -> None:
    torch.manual_seed(0)
    layer, rows = nn.Linear(16, 4), torch.rand(5, 16)
    kept: list[Tensor] = []
    for mode in (EmulatedBf16(), torch.enable_grad()):
        layer.weight.grad = None
        with mode, torch.autocast("cpu", torch.bfloat16):
            layer(rows).float().pow(2).sum().backward()
        assert layer.weight.grad is not None
        kept.append(layer.weight.grad)
    assert torch.allclose(kept[0], kept[1], rtol=2**-6, atol=2**-6)
    assert not torch.equal(kept[0], torch.autograd.grad(layer(rows).pow(2).sum(), layer.weight)[0])
    with EmulatedBf16(), torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert layer(rows).dtype == torch.bfloat16


def test_what_is_no_bf16_product_is_left_alone() -> None:
    rows = torch.rand(4, 4)
    with EmulatedBf16():
        assert torch.equal(rows @ rows, torch.mm(rows, rows))
        assert (rows.bfloat16() + 1).dtype == torch.bfloat16


def test_it_is_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--methods", "abacus"]) == 2
    assert "abacus" in capsys.readouterr().err
