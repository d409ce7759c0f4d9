"""Masks that grow while a model trains: how much, when, by what, and that zeros hold."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from compressbench.errors import BadInput, MethodFailed
from compressbench.methods.iterative_pruning import IterativePruning, PruningPlan, linear_weights, pruning_plan
from compressbench.numerics.pruning_schedule import increment_steps, pruned_counts

SHARES = st.floats(0.001, 0.999)
SCHEDULES = st.sampled_from(["linear", "cubic", "one-shot"])


@given(total=st.integers(1, 10**8), amount=SHARES, increments=st.integers(1, 40), schedule=SCHEDULES)
def test_the_final_count_is_the_one_asked_for_to_one_weight(
    total: int, amount: float, increments: int, schedule: str
) -> None:
    counts = pruned_counts(total, amount=amount, increments=increments, schedule=schedule)
    assert counts[-1] == round(amount * total)
    assert len(counts) == (1 if schedule == "one-shot" else increments)
    assert list(counts) == sorted(counts)


def test_linear_grows_in_equal_increments_and_cubic_as_published() -> None:
    assert pruned_counts(1000, amount=0.6, increments=3) == (200, 400, 600)
    shares = [0.6 + (0 - 0.6) * (1 - t / 4) ** 3 for t in range(1, 5)]  # Zhu and Gupta 2017, s_i = 0
    assert pruned_counts(1000, amount=0.6, increments=4, schedule="cubic") == tuple(round(1000 * s) for s in shares)


@pytest.mark.parametrize("amount", [0.1, 0.37, 0.5])
def test_remaining_counts_as_torch_does_at_every_step(amount: float) -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(31, 17), nn.Linear(17, 23))
    weights = {f"{place}.weight": layer.weight.detach().clone() for place, layer in enumerate(layers)}
    plan = pruning_plan(weights, amount=amount, of="remaining", ramp_epochs=4, steps_per_epoch=1)
    pruning = IterativePruning(weights, plan)
    for step in range(4):
        pruning.begin_epoch(step)
        prune.global_unstructured([(each, "weight") for each in layers], prune.L1Unstructured, amount=amount)
        for place, layer in enumerate(layers):
            assert torch.equal(weights[f"{place}.weight"] != 0, layer.weight_mask.bool())
        pruning.after_step()
    assert pruning.finish() == plan.counts[-1]
    once = pruned_counts(31 * 17 + 17 * 23, amount=amount, of="remaining", increments=4, schedule="one-shot")
    assert once == plan.counts[-1:]


@given(increments=st.integers(1, 30), ramp_steps=st.integers(2, 500), waits=st.booleans())
def test_increments_lie_evenly_within_the_ramp(increments: int, ramp_steps: int, waits: bool) -> None:
    steps = increment_steps(increments, ramp_steps=ramp_steps, needs_steps_before=waits)
    assert len(steps) == increments
    assert list(steps) == sorted(steps)
    assert (steps[0] > 0) if waits else (steps[0] == 0)
    assert steps[-1] < ramp_steps
    assert np.ptp(np.diff([*steps, ramp_steps])[1:-1]) <= 1 if increments > 2 else True


def test_an_increment_an_epoch_comes_at_its_beginning() -> None:
    assert increment_steps(6, ramp_steps=6 * 37) == tuple(37 * epoch for epoch in range(6))


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.3),
    "Adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01, weight_decay=0.1),
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.02, momentum=0.9, weight_decay=0.1),
}


def train(
    model: nn.Module, pruning: IterativePruning, *, steps: int, epoch: int, optimizer: str, seed: int = 0
) -> None:
    stepper = OPTIMIZERS[optimizer](model.parameters())
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        if step % epoch == 0:
            pruning.begin_epoch(step // epoch)
        inputs = torch.randn(4, 6, generator=generator)
        nn.functional.mse_loss(model(inputs), inputs[:, :2]).backward()
        pruning.before_step()
        stepper.step()
        stepper.zero_grad()
        pruning.after_step()


def small_model(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))


@settings(max_examples=15, deadline=None)
@given(
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    schedule=SCHEDULES,
    criterion=st.sampled_from(["magnitude", "movement"]),
    of=st.sampled_from(["total", "remaining"]),
    amount=st.floats(0.05, 0.9),
    increments=st.integers(1, 7),
    seed=st.integers(0, 99),
)
def test_whatever_the_plan_and_the_optimizer_pruned_weights_are_zero(
    optimizer: str, schedule: str, criterion: str, of: str, amount: float, increments: int, seed: int
) -> None:
    model = small_model(seed)
    weights = linear_weights(model)
    schedule = "linear" if (of, schedule) == ("remaining", "cubic") else schedule
    plan = pruning_plan(
        weights, amount=amount, increments=increments, schedule=schedule, of=of, criterion=criterion,
        ramp_epochs=3, steps_per_epoch=5,
    )  # fmt: skip
    pruning = IterativePruning(weights, plan)
    train(model, pruning, steps=25, epoch=5, optimizer=optimizer, seed=seed)
    zeros = sum(int((each == 0).sum()) for each in weights.values())
    assert pruning.finish() == plan.counts[-1] == zeros


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_after_a_thousand_steps_every_pruned_weight_is_exactly_zero(optimizer: str) -> None:
    model = small_model(0)
    weights = linear_weights(model)
    plan = pruning_plan(weights, amount=0.5, ramp_epochs=5, steps_per_epoch=100)
    pruning = IterativePruning(weights, plan)
    train(model, pruning, steps=1000, epoch=100, optimizer=optimizer)
    before = {name: each.clone() for name, each in weights.items()}
    assert pruning.finish() == 20
    assert sum(int((each == 0.0).sum()) for each in weights.values()) == 20
    assert all(torch.equal(before[name], each) for name, each in weights.items())


def test_movement_prunes_what_moves_towards_zero() -> None:
    weight = nn.Parameter(torch.tensor([[5.0, 0.1, -5.0, -0.1]]))
    plan = PruningPlan(counts=(2,), steps=(1,), steps_per_epoch=3, criterion="movement")
    pruning = IterativePruning({"w": weight}, plan)
    pruning.begin_epoch(0)
    weight.grad = torch.tensor([[1.0, -1.0, -1.0, 1.0]])  # the large ones shrink, the small ones grow
    pruning.before_step()
    assert torch.allclose(pruning.state()["score.w"], torch.tensor([[-5.0, 0.1, -5.0, 0.1]]))
    pruning.after_step()
    assert weight.tolist() == [[0.0, pytest.approx(0.1), 0.0, pytest.approx(-0.1)]]
    assert "score.w" not in pruning.state()


def test_movement_adds_up_over_steps_until_it_prunes() -> None:
    model = small_model(3)
    weights = linear_weights(model)
    pruning = IterativePruning(weights, PruningPlan(counts=(9,), steps=(4,), steps_per_epoch=9, criterion="movement"))
    expected = {name: torch.zeros_like(each) for name, each in weights.items()}
    stepper = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        model(torch.randn(4, 6)).square().sum().backward()
        for name, each in weights.items():
            expected[name] -= each.detach() * each.grad
        pruning.before_step()
        stepper.step()
        stepper.zero_grad()
        pruning.after_step()
    state = pruning.state()
    assert all(torch.allclose(state[f"score.{name}"], each) for name, each in expected.items())


def test_movement_without_a_step_before_it_is_refused() -> None:
    with pytest.raises(BadInput, match="criterion=movement needs a step before it prunes, and the ramp has 1"):
        pruning_plan({"w": torch.ones(2, 2)}, amount=0.5, ramp_epochs=1, steps_per_epoch=1, criterion="movement")


def test_masks_that_do_not_hold_are_noticed() -> None:
    weights = {"w": torch.tensor([[1.0, 2.0, 3.0, 4.0]])}
    pruning = IterativePruning(weights, pruning_plan(weights, amount=0.5, ramp_epochs=1, steps_per_epoch=1))
    pruning.begin_epoch(0)
    weights["w"][0, 1] = 0.5
    with pytest.raises(MethodFailed, match="pruning ended with 2 masked weights of 2 and 1 of them not zero"):
        pruning.finish()


def test_a_ramp_that_was_cut_short_is_noticed() -> None:
    weights = {"w": torch.tensor([[1.0, 2.0, 3.0, 4.0]])}
    pruning = IterativePruning(weights, pruning_plan(weights, amount=0.5, ramp_epochs=2, steps_per_epoch=1))
    pruning.begin_epoch(0)
    with pytest.raises(MethodFailed, match="1 masked weights of 2 and 0 of them"):
        pruning.finish()


def test_pruned_weights_stay_pruned_from_epoch_to_epoch() -> None:
    weights = {"w": torch.tensor([[1.0, 2.0, 3.0, 4.0]])}
    pruning = IterativePruning(weights, pruning_plan(weights, amount=0.5, ramp_epochs=2, steps_per_epoch=1))
    pruning.begin_epoch(0)
    weights["w"].copy_(torch.tensor([[9.0, 8.0, 1.0, 7.0]]))  # as an optimizer would
    pruning.after_step()
    pruning.begin_epoch(1)
    pruning.after_step()
    pruning.begin_epoch(2)
    assert weights["w"].tolist() == [[0.0, 8.0, 0.0, 7.0]]


def test_increments_within_an_epoch_come_between_its_steps() -> None:
    weights = {"w": torch.arange(1.0, 9.0).reshape(1, 8)}
    pruning = IterativePruning(
        weights, pruning_plan(weights, amount=0.5, increments=4, ramp_epochs=1, steps_per_epoch=8)
    )
    zeros = []
    pruning.begin_epoch(0)
    for _ in range(8):
        zeros.append(int((weights["w"] == 0).sum()))
        pruning.after_step()
    assert zeros == [1, 1, 2, 2, 3, 3, 4, 4]


def test_a_state_goes_on_where_it_was() -> None:
    def begun(seed: int) -> tuple[nn.Module, IterativePruning]:
        model = small_model(seed)
        weights = linear_weights(model)
        plan = pruning_plan(weights, amount=0.6, ramp_epochs=2, steps_per_epoch=10, criterion="movement")
        return model, IterativePruning(weights, plan)

    model, pruning = begun(0)
    train(model, pruning, steps=7, epoch=10, optimizer="SGD")
    other, resumed = begun(1)
    other.load_state_dict(model.state_dict())
    resumed.restore({name: each.clone() for name, each in pruning.state().items()})
    for each, hook in ((model, pruning), (other, resumed)):
        train(each, hook, steps=13, epoch=10, optimizer="SGD", seed=5)
        hook.finish()
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"mask.w": torch.ones(2, 3).bool(), "step": torch.tensor(1)}, r"\(w is \[2, 3\] there and \[2, 2\] here\)"),
        ({"mask.v": torch.ones(2, 2).bool(), "step": torch.tensor(1)}, r"masks of another model \(this one has no v\)"),
        ({"w": torch.ones(2, 2).bool()}, "has no step count, so another version wrote it: remove the checkpoint"),
    ],
)
def test_masks_of_another_model_are_refused(state: dict[str, torch.Tensor], message: str) -> None:
    weights = {"w": torch.ones(2, 2)}
    pruning = IterativePruning(weights, pruning_plan(weights, amount=0.5, ramp_epochs=1, steps_per_epoch=1))
    with pytest.raises(BadInput, match=message):
        pruning.restore(state)
    assert weights["w"].all()


def test_a_model_without_linear_weights_is_refused() -> None:
    plan = PruningPlan(counts=(1,), steps=(0,), steps_per_epoch=1)
    with pytest.raises(BadInput, match="the model has no Linear weights, so there is nothing to prune"):
        IterativePruning(linear_weights(nn.Embedding(3, 3)), plan)
