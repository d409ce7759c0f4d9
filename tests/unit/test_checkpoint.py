"""The file that holds a training under way: what it costs, and what happens when it cannot be written or read."""

import dataclasses
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from compressbench.artifacts.artifact import Artifact
from compressbench.errors import MethodFailed
from compressbench.methods import checkpoint as checkpoint_module
from compressbench.methods.checkpoint import Checkpoint, Snapshot
from compressbench.methods.finetune import Finetune
from compressbench.methods.method import Context
from tests.interrupting import Interrupting

FIT = {"epochs": 3, "batch_size": 40, "learning_rate": 1e-3, "precision": "fp32", "train_rows": "all"}


@pytest.fixture
def as_source(tiny_encoder: Path, as_artifact: Callable[..., Artifact]) -> Any:
    return lambda method: as_artifact(tiny_encoder)


def run_finetune(as_source: Any, context: Context, checkpoint: Checkpoint, **stop: Any) -> Interrupting:
    progress = Interrupting(**stop)
    checkpoint.progress = progress
    method = Finetune(**FIT)
    method.compress(as_source(method), dataclasses.replace(context, progress=progress, checkpoint=checkpoint))
    return progress


def test_a_full_disk_costs_one_warning_and_no_training(
    as_source: Any, tiny_context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    monkeypatch.setattr(checkpoint_module, "COST_SHARE", 1e9)
    progress = run_finetune(as_source, tiny_context, Checkpoint(path=tmp_path / "state.safetensors", every_s=0))
    assert len(progress.said) == 1
    assert "no checkpoint of fine-tune tiny could be written to" in progress.said[0]
    assert "No space left on device" in progress.said[0]
    assert "Training goes on, and would begin anew if it were interrupted" in progress.said[0]
    assert (tiny_context.to / "model.safetensors").exists()
    assert [each.name for each in tmp_path.iterdir()] == ["made"]


def test_a_damaged_file_is_told_and_not_used(as_source: Any, tiny_context: Context, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    path.write_bytes(b"no safetensors at all")
    progress = run_finetune(as_source, tiny_context, Checkpoint(path=path))
    assert progress.began == {"fine-tune tiny": 0}
    assert f"the checkpoint {path} is not used (" in progress.said[0]
    assert progress.said[0].endswith("): training begins anew")


def test_a_file_of_another_format_is_told_and_not_used(as_source: Any, tiny_context: Context, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_file({"weight": torch.zeros(2)}, path, metadata={"format": "0"})
    progress = run_finetune(as_source, tiny_context, Checkpoint(path=path))
    assert "is not used (it is of another format): training begins anew" in progress.said[0]
    assert not path.exists()


def test_the_state_of_another_training_is_refused_and_removed(
    as_source: Any, tiny_context: Context, tmp_path: Path
) -> None:
    checkpoint = Checkpoint(path=tmp_path / "state.safetensors")
    checkpoint.write(Snapshot(stage="fine-tune tiny", values={"step": 1}, tensors={"module.model.x": torch.zeros(2)}))
    with pytest.raises(MethodFailed, match=r"was of another training and has been removed: run the same command again"):
        run_finetune(as_source, tiny_context, checkpoint)
    assert run_finetune(as_source, tiny_context, checkpoint).began == {"fine-tune tiny": 0}


def test_a_loss_that_is_no_number_leaves_nothing_to_go_on_from(
    as_source: Any, tiny_context: Context, tmp_path: Path
) -> None:
    path = tmp_path / "state.safetensors"
    method = Finetune(**FIT | {"learning_rate": 1e30})
    context = dataclasses.replace(tiny_context, checkpoint=Checkpoint(path=path))
    with pytest.raises(KeyboardInterrupt):
        method.compress(as_source(method), dataclasses.replace(context, progress=Interrupting("fine-tune tiny", 1)))
    assert path.exists()
    with pytest.raises(MethodFailed, match="the training loss is nan at step"):
        method.compress(as_source(method), context)
    assert not path.exists()


def test_writing_takes_a_small_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0

    def slow(tensors: Any, path: Path, metadata: Any) -> None:
        nonlocal now_s
        now_s += 6.0
        path.write_bytes(b"")

    monkeypatch.setattr("safetensors.torch.save_file", slow)
    checkpoint = Checkpoint(path=tmp_path / "state.safetensors", clock_s=lambda: now_s)
    snapshot = Snapshot(stage="fit", values={}, tensors={})
    assert not checkpoint.is_due
    now_s += 119
    assert not checkpoint.is_due
    now_s += 1
    assert checkpoint.is_due
    checkpoint.write(snapshot)
    now_s += 299  # 6 s are 2 % of 300 s
    assert not checkpoint.is_due
    now_s += 1
    assert checkpoint.is_due
    assert not Checkpoint(every_s=0).is_due
