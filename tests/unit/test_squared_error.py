"""Masked squared errors: their value and their gradient against the plain formula."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressbench.numerics.squared_error import masked_squared_error


@settings(deadline=None)
@given(
    leading=st.lists(st.integers(1, 3), max_size=2), rows=st.integers(1, 3), width=st.integers(1, 4),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_value_and_gradient_are_those_of_the_formula(leading: list[int], rows: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    student, teacher = (torch.randn(*leading, rows, width, dtype=torch.float64) for _ in range(2))
    keep = torch.rand(rows, 1) < 0.7
    weights = torch.randn(leading, dtype=torch.float64)
    ours, plain = (student.clone().requires_grad_() for _ in range(2))
    found = masked_squared_error(ours, teacher, keep)
    expected = (plain - teacher).square().where(keep, 0.0).sum(dim=(-2, -1))
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad)


def test_autograd_agrees_with_finite_differences() -> None:
    torch.manual_seed(0)
    student = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    teacher, keep = torch.randn(2, 3, 4, dtype=torch.float64), torch.tensor([[True], [False], [True]])
    assert torch.autograd.gradcheck(lambda each: masked_squared_error(each, teacher, keep), (student,))


@pytest.mark.parametrize("in_autocast", [False, True])
def test_16_bit_inputs_are_summed_in_32(*, in_autocast: bool) -> None:
    torch.manual_seed(0)
    student = torch.randn(2, 64, 300).bfloat16().requires_grad_()
    teacher = torch.randn(2, 64, 300).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=in_autocast):
        found = masked_squared_error(student, teacher, torch.ones(64, 1, dtype=torch.bool))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, (student.float() - teacher.float()).square().sum(dim=(1, 2)), rtol=1e-5, atol=0)
    found.sum().backward()
    assert student.grad is not None
    assert student.grad.dtype == torch.bfloat16
    torch.testing.assert_close(student.grad.float(), 2 * (student - teacher).detach().float(), rtol=2e-2, atol=1e-6)


def test_what_is_not_kept_may_be_anything_and_inputs_stay() -> None:
    student = torch.tensor([[1.0, float("nan")]], requires_grad=True)
    teacher = torch.tensor([[3.0, 5.0]])
    found = masked_squared_error(student, teacher, torch.tensor([True, False]))
    assert found.tolist() == [4.0]
    found.backward(torch.ones(1))
    assert student.grad is not None
    assert student.grad.tolist() == [[-4.0, 0.0]]
    assert student[0, 0].item() == 1.0
    assert teacher.tolist() == [[3.0, 5.0]]
