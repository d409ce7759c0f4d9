import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from compressbench.errors import InvalidParameter
from compressbench.numerics.pruning_masks import (
    apply_masks,
    bake_masks,
    count_pruned,
    count_revived,
    global_magnitude_masks,
    global_masks,
    mask_gradients,
    with_floor,
)

SHAPES = st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=4)
SHARES = st.floats(0, 1)


def draw_weights(shapes: list[tuple[int, int]], *, seed: int, levels: int | None = None):
    """Normal weights, or whole numbers of few levels so that ties abound."""
    rng = np.random.default_rng(seed)
    return {
        f"layer{place}.weight": torch.from_numpy(
            (rng.normal(size=shape) if levels is None else rng.integers(-levels, levels + 1, size=shape)).astype("f4")
        )
        for place, shape in enumerate(shapes)
    }


def flat(masks: dict[str, torch.Tensor]):
    return torch.cat([mask.ravel() for mask in masks.values()]).numpy()


@pytest.mark.parametrize("amount", [0.0, 0.05, 0.2, 0.5, 0.93])
def test_masks_are_those_of_torch_global_unstructured(amount: float):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(31, 17), nn.Linear(17, 23), nn.Linear(23, 3))
    weights = {f"{place}.weight": layer.weight.detach().clone() for place, layer in enumerate(model)}
    masks = global_magnitude_masks(weights, sparsity=amount)
    prune.global_unstructured([(layer, "weight") for layer in model], prune.L1Unstructured, amount=amount)
    for place, layer in enumerate(model):
        assert torch.equal(masks[f"{place}.weight"], layer.weight_mask.bool())


@given(shapes=SHAPES, seed=st.integers(0, 99), sparsity=SHARES, levels=st.sampled_from([None, 0, 1, 3]))
def test_masks_prune_the_exact_count_and_no_larger_weight_before_a_smaller_one(
    shapes: list[tuple[int, int]], seed: int, sparsity: float, levels: int | None
):
    weights = draw_weights(shapes, seed=seed, levels=levels)
    masks = global_magnitude_masks(weights, sparsity=sparsity)
    kept, magnitudes = flat(masks), flat(weights).astype("f8").__abs__()
    order = np.argsort(magnitudes, kind="stable")  # an independent reference: first of equals first
    expected = np.ones(len(magnitudes), dtype=bool)
    expected[order[: round(sparsity * len(magnitudes))]] = False
    assert np.array_equal(kept, expected)
    assert {name: mask.shape for name, mask in masks.items()} == {name: each.shape for name, each in weights.items()}
    assert all(mask.dtype == torch.bool for mask in masks.values())
    assert count_pruned(masks) == round(sparsity * len(magnitudes))


@pytest.mark.parametrize("sparsity", [0.001, 0.2, 0.5, 0.999])
@pytest.mark.parametrize("kind", ["normal", "half zeros", "few values", "misleading sample", "ascending"])
def test_a_bracketed_search_finds_the_same_threshold(
    kind: str, sparsity: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compressbench.numerics.pruning_masks.CHUNK", 61)
    monkeypatch.setattr("compressbench.numerics.pruning_masks.SAMPLE", 2000)
    values = np.random.default_rng(0).normal(size=8000).astype("f4")
    match kind:
        case "half zeros":
            values[::2] = 0
        case "few values":
            values = values.round()
        case "misleading sample":
            values[::4] *= 1000  # and every fourth is what a sample of 2,000 draws
        case "ascending":
            values.sort()
    weights = {
        "a": torch.from_numpy(values[:3000]).reshape(50, 60),
        "b": torch.from_numpy(values[3000:]).reshape(5, 1000),
    }
    expected = np.ones(8000, dtype=bool)
    expected[np.argsort(np.abs(values), kind="stable")[: round(sparsity * 8000)]] = False
    masks = global_magnitude_masks(weights, sparsity=sparsity)
    assert np.array_equal(flat(masks), expected)
    assert np.array_equal(flat(global_magnitude_masks(weights, sparsity=sparsity, within=masks)), expected)


def test_masks_of_transposed_weights_lie_where_the_weights_do() -> None:
    weight = torch.arange(1.0, 7.0).reshape(2, 3).T
    assert global_magnitude_masks({"w": weight}, sparsity=0.5)["w"].tolist() == (weight > 3).tolist()


@given(shapes=SHAPES, seed=st.integers(0, 99), shares=st.tuples(SHARES, SHARES), levels=st.sampled_from([None, 1]))
def test_masks_nest_as_sparsity_rises(
    shapes: list[tuple[int, int]], seed: int, shares: tuple[float, float], levels: int | None
):
    weights = draw_weights(shapes, seed=seed, levels=levels)
    fewer, more = (flat(global_magnitude_masks(weights, sparsity=share)) for share in sorted(shares))
    assert not (more & ~fewer).any()


@given(shapes=SHAPES, seed=st.integers(0, 99), shares=st.tuples(SHARES, SHARES))
def test_pruned_weights_stay_pruned_when_weights_have_moved(
    shapes: list[tuple[int, int]], seed: int, shares: tuple[float, float]
):
    before = global_magnitude_masks(draw_weights(shapes, seed=seed), sparsity=min(shares))
    moved = draw_weights(shapes, seed=seed + 1)
    after = global_magnitude_masks(moved, sparsity=max(shares), within=before)
    assert not (flat(after) & ~flat(before)).any()
    assert count_pruned(after) == round(max(shares) * len(flat(after)))


@given(
    shapes=SHAPES,
    seed=st.integers(0, 99),
    floor=st.floats(0, 0.5),
    sparsities=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    signed=st.booleans(),
)
def test_a_floor_keeps_the_highest_of_each_layer_and_the_count_of_all(
    shapes: list[tuple[int, int]], seed: int, floor: float, sparsities: tuple[float, float], signed: bool
):
    scores = draw_weights(shapes, seed=seed)
    scores["layer0.weight"] *= 1e-6  # a global ranking would take all of it first
    within = None
    for sparsity in sorted(sparsities):
        count = int(sparsity * sum(each.numel() for each in scores.values()))
        raised = with_floor(scores, floor=floor, within=within, signed=signed)
        masks = global_masks(raised, count=count, within=within, signed=signed)
        assert count_pruned(masks) == count
        for name, mask in masks.items():
            ranked = scores[name] if signed else scores[name].abs()
            staying = int(floor * mask.numel())
            assert int(mask.count_nonzero()) >= staying
            highest = ranked.flatten().sort(descending=True).indices[:staying]
            assert mask.flatten()[highest].all()
        within = masks


def test_masks_leave_the_weights_as_they_are():
    weights = draw_weights([(4, 5)], seed=0)
    copy = weights["layer0.weight"].clone()
    global_magnitude_masks(weights, sparsity=0.5)
    assert torch.equal(weights["layer0.weight"], copy)


def test_masks_refuse_what_would_revive_weights():
    weights = draw_weights([(4, 5)], seed=0)
    before = global_magnitude_masks(weights, sparsity=0.5)
    with pytest.raises(InvalidParameter, match=r"sparsity=0\.4 would revive weights: it may only grow"):
        global_magnitude_masks(weights, sparsity=0.4, within=before)


@pytest.mark.parametrize("sparsity", [-0.1, 1.1, math.nan])
def test_masks_refuse_what_is_no_share(sparsity: float):
    with pytest.raises(InvalidParameter, match="is no share: use a number from 0 to 1"):
        global_magnitude_masks(draw_weights([(4, 5)], seed=0), sparsity=sparsity)


def test_masks_refuse_a_diverged_model():
    with pytest.raises(InvalidParameter, match="a weight is NaN: train with a lower learning rate"):
        global_magnitude_masks({"weight": torch.tensor([[1.0, math.nan]])}, sparsity=0.5)


def test_masks_of_counts_may_only_grow():
    weights = draw_weights([(4, 5)], seed=0)
    before = global_masks(weights, count=9)
    with pytest.raises(InvalidParameter, match="8 pruned weights would revive some of 9: they may only grow"):
        global_masks(weights, count=8, within=before)


@given(shapes=SHAPES, seed=st.integers(0, 99), shares=st.tuples(SHARES, SHARES), levels=st.sampled_from([None, 1]))
def test_signed_scores_rank_what_is_below_zero_lowest(
    shapes: list[tuple[int, int]], seed: int, shares: tuple[float, float], levels: int | None
):
    scores = draw_weights(shapes, seed=seed, levels=levels)
    total = len(flat(scores))
    fewer, more = (round(share * total) for share in sorted(shares))
    kept = flat(before := global_masks(scores, count=fewer, signed=True))
    expected = np.ones(total, dtype=bool)
    expected[np.argsort(flat(scores), kind="stable")[:fewer]] = False
    assert np.array_equal(kept, expected)
    moved = draw_weights(shapes, seed=seed + 1)
    after = flat(global_masks(moved, count=more, within=before, signed=True))
    ranked = np.where(kept, flat(moved), -np.inf)
    expected = np.ones(total, dtype=bool)
    expected[np.argsort(ranked, kind="stable")[:more]] = False
    assert np.array_equal(after, expected)


@settings(max_examples=30, deadline=None)
@given(
    optimizer=st.sampled_from(
        [
            lambda parameters: torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.3),
            lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.0, amsgrad=True),
            lambda parameters: torch.optim.Adam(parameters, lr=0.05, weight_decay=0.2),
            lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=0.2),
            lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True),
        ]
    ),
    seed=st.integers(0, 99),
    amount=st.floats(0, 0.9),
    as_floats=st.booleans(),
)
def test_no_optimizer_revives_a_pruned_weight(
    optimizer: Callable[..., torch.optim.Optimizer], seed: int, amount: float, as_floats: bool
):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))
    weights = {name: each for name, each in model.named_parameters() if each.dim() == 2}
    stepper = optimizer(model.parameters())
    inputs, targets = torch.randn(8, 6), torch.randn(8, 2)
    masks = {}
    for step in range(30):
        if step % 10 == 5:  # only now, so that the moments of weights about to be pruned are not zero
            masks = global_magnitude_masks(weights, sparsity=amount * (step + 5) / 30, within=masks or None)
            factors = {name: mask.float() for name, mask in masks.items()} if as_floats else masks
            apply_masks(weights, factors)
        nn.functional.mse_loss(model(inputs), targets).backward()
        if masks:
            mask_gradients(weights, factors)
            assert all(not weights[name].grad[~mask].any() for name, mask in masks.items())
        stepper.step()
        stepper.zero_grad()
        if masks:
            apply_masks(weights, factors)
            assert count_revived(weights, masks) == 0
    assert count_pruned(masks) == round(amount * (25 + 5) / 30 * 40)
    assert all(weights[name][mask].all() for name, mask in masks.items())


def test_without_remasking_momentum_revives_weights():
    weight = nn.Parameter(torch.tensor([[1.0, 0.1]]))
    stepper = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    weight.sum().backward()
    stepper.step()
    masks = global_magnitude_masks({"w": weight}, sparsity=0.5)
    apply_masks({"w": weight}, masks)
    mask_gradients({"w": weight}, masks)
    assert count_revived({"w": weight}, masks) == 0
    stepper.step()
    assert count_revived({"w": weight}, masks) == 1


def test_baked_zeros_are_positive():
    weights = {"w": torch.tensor([[-1.0, 2.0, -3.0]])}
    masks = {"w": torch.tensor([[False, False, True]])}
    apply_masks(weights, masks)
    assert torch.signbit(weights["w"][0, 0])
    bake_masks(weights, masks)
    assert weights["w"].tolist() == [[0.0, 0.0, -3.0]]
    assert not torch.signbit(weights["w"][0, 0])


def test_gradients_that_are_not_there_are_left_alone():
    weight = nn.Parameter(torch.ones(1, 2))
    mask_gradients({"w": weight}, {"w": torch.tensor([[True, False]])})
    assert weight.grad is None


def test_not_a_number_counts_as_revived():
    assert count_revived({"w": torch.tensor([math.nan, 0.0])}, {"w": torch.tensor([False, False])}) == 1
