"""Pruning a matrix with reconstruction: counts to one weight, zeros where masked, and least squares for the rest."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compressbench.errors import InvalidParameter
from compressbench.numerics.pruning_masks import global_magnitude_masks
from compressbench.numerics.reconstruction import prune_and_reconstruct, share_counts


def correlated(tokens: int, inputs: int, *, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    few = torch.randn(tokens, inputs // 3, generator=generator)
    mixed = few @ torch.randn(inputs // 3, inputs, generator=generator)
    return mixed + 0.1 * torch.randn(tokens, inputs, generator=generator)


def error(before: Tensor, after: Tensor, rows: Tensor) -> float:
    return float((rows @ (before - after).T).square().sum())


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=20), st.floats(0.01, 0.99))
def test_shares_add_up_to_one_weight(sizes: list[int], amount: float) -> None:
    counts = share_counts(sizes, amount=amount)
    assert sum(counts) == round(amount * sum(sizes))
    assert all(abs(count - amount * size) <= 1 for count, size in zip(counts, sizes, strict=True))


@settings(deadline=None, max_examples=40)
@given(
    outputs=st.integers(1, 9), inputs=st.integers(3, 20), block=st.integers(1, 25), share=st.floats(0, 1),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_exactly_as_many_as_asked_are_zero(outputs: int, inputs: int, block: int, share: float, seed: int) -> None:
    rows = correlated(40, inputs, seed=seed)
    weight = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed))
    count = round(share * weight.numel())
    found, kept = prune_and_reconstruct(weight, rows.T @ rows, count=count, block=block)
    assert int((~kept).sum()) == count
    assert bool((found[~kept] == 0).all())
    assert not bool(torch.signbit(found[~kept]).any())  # a negative zero costs compressed bytes
    assert bool(torch.isfinite(found).all())


@pytest.mark.parametrize("block", [3, 8])
def test_the_rest_are_the_least_squares_solution(block: int) -> None:
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(200, 8, generator=generator) + torch.randn(200, 1, generator=generator)
    weight = torch.randn(5, 8, generator=generator)
    found, kept = prune_and_reconstruct(weight, rows.T @ rows, count=20, damping=1e-7, block=block)
    for row in range(5):
        own = rows[:, kept[row]].double().numpy()
        wanted, *_ = np.linalg.lstsq(own, (rows @ weight[row]).double().numpy(), rcond=None)
        np.testing.assert_allclose(found[row, kept[row]].numpy(), wanted, atol=1e-4)


def test_the_first_to_go_is_the_one_that_costs_least() -> None:
    """Optimal Brain Surgeon's choice, by trying each weight of a row out."""
    rows = correlated(60, 9)
    weight = torch.randn(1, 9, generator=torch.Generator().manual_seed(5))
    answers = (rows @ weight[0]).double().numpy()
    costs = []
    for place in range(9):
        others = np.delete(rows.double().numpy(), place, axis=1)
        costs.append(float(np.linalg.lstsq(others, answers, rcond=None)[1][0]))
    _, kept = prune_and_reconstruct(weight, rows.T @ rows, count=1, damping=1e-7, block=9)
    cost = costs[int((~kept).nonzero()[0, 1])]
    assert sorted(costs).index(cost) < 3  # a column's score looks at the columns on its right alone


def test_independent_inputs_leave_plain_magnitude_pruning() -> None:
    weight = torch.randn(6, 10, generator=torch.Generator().manual_seed(2))
    found, kept = prune_and_reconstruct(weight, 3 * torch.eye(10), count=30, block=10)
    assert kept.equal(global_magnitude_masks({"w": weight}, sparsity=0.5)["w"])
    torch.testing.assert_close(found, weight * kept)


@pytest.mark.parametrize("block", [8, 48])
def test_products_stay_closer_than_by_magnitude(block: int) -> None:
    rows, weight = correlated(300, 48), torch.randn(24, 48, generator=torch.Generator().manual_seed(3))
    found, _ = prune_and_reconstruct(weight, rows.T @ rows, count=576, block=block)
    plain = weight * global_magnitude_masks({"w": weight}, sparsity=0.5)["w"]
    assert error(weight, found, rows) < 0.1 * error(weight, plain, rows)


def test_inputs_that_are_never_there_break_nothing() -> None:
    rows = correlated(40, 12)
    rows[:, 3] = 0
    weight = torch.randn(4, 12, generator=torch.Generator().manual_seed(4))
    found, _ = prune_and_reconstruct(weight, rows.T @ rows, count=24)
    assert bool(torch.isfinite(found).all())


def test_a_weight_that_is_no_number_is_refused() -> None:
    weight = torch.full((2, 4), float("nan"))
    with pytest.raises(InvalidParameter, match="a weight is NaN"):
        prune_and_reconstruct(weight, torch.eye(4), count=4)
