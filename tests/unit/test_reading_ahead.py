"""Batches prepared beside the training: the same batches, in order, and the same student."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from compressbench.artifacts.artifact import Artifact
from compressbench.methods.distill import layer_cache, teacher_outputs
from compressbench.methods.distill.method import Distill
from compressbench.methods.method import Context
from compressbench.methods.training import prepared_ahead, to_device


def test_the_next_is_prepared_while_one_is_worked_on() -> None:
    prepared: list[int] = []
    reached = {number: threading.Event() for number in range(5)}

    def prepare(number: int) -> str:
        prepared.append(number)
        reached[number].set()
        return str(number)

    taken = []
    for text in prepared_ahead(range(5), prepare):
        taken.append(text)
        if int(text) < 4:
            assert reached[int(text) + 1].wait(timeout=10)  # without being asked for
            assert len(prepared) <= int(text) + 2
    assert taken == ["0", "1", "2", "3", "4"]
    assert list(prepared_ahead([], prepare)) == []


def test_what_goes_wrong_beside_is_raised_here() -> None:
    def prepare(number: int) -> float:
        return 1 / number

    ahead = prepared_ahead([1, 0, 2], prepare)
    assert next(ahead) == 1
    with pytest.raises(ZeroDivisionError):
        next(ahead)


def test_the_thread_ends_with_a_training_that_is_stopped() -> None:
    ahead = prepared_ahead(iter(range(100)), lambda number: number)
    next(ahead)
    ahead.close()  # type: ignore[attr-defined]
    assert not [each for each in threading.enumerate() if each.name.startswith("batches")]


def test_a_gpu_is_fed_from_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(self) or self)
    tensor = torch.ones(2)
    assert to_device(tensor, device="cpu") is tensor
    assert not pinned
    assert to_device(tensor, device="meta").device.type == "meta"
    assert pinned == [tensor]


def test_a_cache_on_disk_gives_the_same_student(
    tiny_classifier: Path, as_artifact: Callable[..., Artifact], tiny_context: Context, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    method = Distill(student="1x16x2x32", intermediate_epochs=2, prediction_epochs=1, precision="fp32")
    asked: list[bool] = []
    real = teacher_outputs.TeacherOutputs.is_worth_reading_ahead

    def told(self: teacher_outputs.TeacherOutputs, rows: object) -> bool:
        asked.append(real(self, rows))  # type: ignore[arg-type]
        return asked[-1]

    monkeypatch.setattr(teacher_outputs.TeacherOutputs, "is_worth_reading_ahead", told)
    weights = []
    for on_disk in (False, True):
        monkeypatch.setattr(layer_cache, "fits_in_memory", lambda size, there=on_disk: not there)
        to = tmp_path / f"disk-{on_disk}"
        to.mkdir()
        method.resolved(task=tiny_context.task).compress(as_artifact(tiny_classifier), replace(tiny_context, to=to))
        weights.append((to / "model.safetensors").read_bytes())
        assert set(asked) == {on_disk}
        asked.clear()
    assert weights[0] == weights[1]
