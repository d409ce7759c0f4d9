"""On a GPU: steps replayed from graphs train what the same steps kernel by kernel train. ``nox -s gpu``."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from compressbench.artifacts.artifact import Artifact
from compressbench.methods import captured_step, fitting
from compressbench.methods.checkpoint import Checkpoint
from compressbench.methods.distill import Distill, frozen_teacher, loop
from compressbench.methods.method import Context
from compressbench.methods.prune import Prune
from compressbench.models.loading import load_classifier
from tests.conftest import draw_tiny_rows
from tests.interrupting import Interrupting

pytestmark = pytest.mark.gpu

AsArtifact = Callable[..., Artifact]
USERS = (fitting, frozen_teacher, loop)
METHODS = {
    "layers": Distill(student="1x16x2x32", precision="fp32", intermediate_epochs=6, prediction_epochs=3, dropout=0.1),
    "recomputed": Distill(
        student="1x16x2x32", precision="bf16", intermediate_epochs=6, prediction_epochs=3, cache_gib=0,
        layer_weights="2",
    ),
    "cosine": Distill(student="1x32x2x64", recipe="distilbert", precision="fp32", prediction_epochs=4),
    "pruned": Prune(amount=0.5, precision="fp32", epochs=6),
}  # fmt: skip


def trained(method: Any, folder: Path, context: Context, as_artifact: AsArtifact) -> dict[str, Tensor]:
    context.to.mkdir()
    teacher = as_artifact(folder)
    resolved = method.resolved_on(teacher, task=context.task, teacher=None)
    resolved.compress(teacher, replace(context, device="cuda", train=draw_tiny_rows(count=250, seed=4)))
    return dict(load_classifier(context.to).state_dict())


def close(ours: dict[str, Tensor], theirs: dict[str, Tensor], *, tolerance: float) -> None:
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], atol=tolerance, rtol=tolerance, msg=lambda _, n=name: n)


@pytest.mark.parametrize("name", METHODS)
def test_replayed_steps_train_what_launched_ones_do(
    name: str, tiny_teacher: Path, tiny_context: Context, as_artifact: AsArtifact, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    replays = []
    replay = captured_step._Captured._replay
    monkeypatch.setattr(captured_step._Captured, "_replay", lambda *a: replays.append(1) or replay(*a))
    ours = trained(METHODS[name], tiny_teacher, replace(tiny_context, to=tmp_path / "graphs"), as_artifact)
    assert len(replays) > 20  # shapes come back
    for user in USERS:
        monkeypatch.setattr(user, "captured", lambda compute, **_: compute)
    theirs = trained(METHODS[name], tiny_teacher, replace(tiny_context, to=tmp_path / "kernels"), as_artifact)
    close(ours, theirs, tolerance=2e-2 if "16" in str(METHODS[name].precision) else 1e-4)


@pytest.mark.parametrize(("name", "stage"), [("layers", "distill tiny, intermediate"), ("pruned", "prune tiny")])
def test_interrupted_training_on_a_gpu_ends_as_an_uninterrupted_one(
    name: str, stage: str, tiny_teacher: Path, tiny_context: Context, as_artifact: AsArtifact, tmp_path: Path
) -> None:
    whole = trained(METHODS[name], tiny_teacher, replace(tiny_context, to=tmp_path / "whole"), as_artifact)
    context = replace(tiny_context, to=tmp_path / "first", checkpoint=Checkpoint(path=tmp_path / "state"))
    with pytest.raises(KeyboardInterrupt):
        trained(METHODS[name], tiny_teacher, replace(context, progress=Interrupting(stage, after=19)), as_artifact)
    resumed = trained(METHODS[name], tiny_teacher, replace(context, to=tmp_path / "second"), as_artifact)
    close(resumed, whole, tolerance=1e-4)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_what_no_graph_can_hold_runs_kernel_by_kernel_from_then_on(dropout: float) -> None:
    def asking(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        dropped = functional.dropout(batch["numbers"], p=dropout, training=True)
        return {"found": dropped * dropped.sum().item()}

    def answers(compute: captured_step.Compute) -> list[Tensor]:
        torch.manual_seed(0)
        return [compute(batch)["found"].clone() for batch in batches]

    lengths = (8, 8, 8, 8, 5, 5, 5, 8)  # the second of a length is where recording begins
    batches = [{"numbers": torch.arange(1.0, length + 1, device="cuda") + at} for at, length in enumerate(lengths)]
    step = captured_step.captured(asking, device="cuda")
    for ours, theirs in zip(answers(step), answers(asking), strict=True):
        assert ours.equal(theirs)
    assert isinstance(step, captured_step._Captured)
    assert not step._can_capture
    assert not any(step._graphs.values())

    def doubling(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"found": 2 * functional.dropout(batch["numbers"], p=dropout, training=True)}

    other = captured_step.captured(doubling, device="cuda")  # the way out of one leaves the others their graphs
    for ours, theirs in zip(answers(other), answers(doubling), strict=True):
        assert ours.equal(theirs)
    assert isinstance(other, captured_step._Captured)
    assert all(other._graphs.values())
    torch.cuda.synchronize()


def test_pruned_weights_are_exactly_zero(
    tiny_teacher: Path, tiny_context: Context, as_artifact: AsArtifact, tmp_path: Path
) -> None:
    made = trained(METHODS["pruned"], tiny_teacher, replace(tiny_context, to=tmp_path / "pruned"), as_artifact)
    linear = [each for name, each in made.items() if each.dim() == 2 and "embeddings" not in name]
    zeros, total = sum(int((each == 0).sum()) for each in linear), sum(each.numel() for each in linear)
    assert zeros == round(0.5 * total)
    assert np.isfinite([float(each.sum()) for each in linear]).all()
