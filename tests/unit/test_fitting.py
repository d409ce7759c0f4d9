from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from compressbench.methods.fitting import CLIP_NORM, fit_classifier, label_loss, squared_error
from compressbench.methods.training_loop import LoopHook, StageSettings
from compressbench.models.loading import load_classifier
from compressbench.prediction import EncodedRows, encode_rows
from compressbench.progress import Quiet
from compressbench.tasks.task import Rows

SETTINGS = StageSettings(name="fit", epochs=2, batch_size=10, learning_rate=1e-3, clip_norm=CLIP_NORM)
CROSS_ENTROPY = label_loss(is_regression=False)


@pytest.fixture
def encoded(tiny_rows: Rows, tiny_classifier: Path) -> EncodedRows:
    return encode_rows(tiny_rows.take(range(25)), tokenizer_path=tiny_classifier / "tokenizer.json", max_length=32)


def test_hooks_are_called_in_order_and_progress_told(
    encoded: EncodedRows, tiny_rows: Rows, tiny_classifier: Path
) -> None:
    model = load_classifier(tiny_classifier)
    weight = model.classifier.weight
    calls: list[object] = []
    seen: list[Tensor] = []

    class Recorder(LoopHook):
        def begin_epoch(self, epoch: int) -> None:
            calls.append(epoch)

        def before_step(self) -> None:
            assert weight.grad is not None
            seen.append(weight.detach().clone())
            calls.append("before")

        def after_step(self) -> None:
            assert not torch.equal(weight, seen[-1])
            calls.append("after")

        def end_epoch(self, epoch: int) -> None:
            calls.append(f"end {epoch}")

    progress = Quiet()
    settings = replace(SETTINGS, progress=progress)
    budget = fit_classifier(model, encoded, tiny_rows.labels, settings=settings, loss=CROSS_ENTROPY, hooks=[Recorder()])
    assert calls == [0, *["before", "after"] * 3, "end 0", 1, *["before", "after"] * 3, "end 1"]
    assert budget == {"epochs": 2, "steps": 6, "rows": 25}
    assert list(progress.durations_s) == ["fit"]
    assert not model.training


def test_a_loss_of_one_s_own_sees_the_targets_of_its_rows(encoded: EncodedRows, tiny_classifier: Path) -> None:
    targets = np.stack([encoded.lengths, np.arange(25)], axis=1).astype(np.float32)
    met: list[int] = []

    def loss(logits: Tensor, rows: Tensor) -> Tensor:
        assert logits.dtype == torch.float32
        met.extend(int(row) for row in rows[:, 1])
        return functional.mse_loss(logits, rows)

    model = load_classifier(tiny_classifier)
    fit_classifier(model, encoded, targets, settings=replace(SETTINGS, precision="bf16"), loss=loss)
    assert sorted(met) == sorted([*range(25)] * 2)


def test_gradients_masked_before_the_step_do_not_count_in_the_norm(
    encoded: EncodedRows, tiny_rows: Rows, tiny_classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms: list[float] = []
    clip = torch.nn.utils.clip_grad_norm_

    def recorded(parameters: object, limit: float) -> Tensor:
        norms.append(float(clip(parameters, limit)))
        return torch.tensor(norms[-1])

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", recorded)
    model = load_classifier(tiny_classifier)

    class DropGradients(LoopHook):
        def before_step(self) -> None:
            for each in model.parameters():
                each.grad = None

    fit_classifier(model, encoded, tiny_rows.labels, settings=SETTINGS, loss=CROSS_ENTROPY, hooks=[DropGradients()])
    assert norms == [0.0] * 6


def test_squared_error_is_the_mean_over_rows() -> None:
    logits, labels = torch.tensor([[1.0], [3.0]]), torch.tensor([2.0, 5.0], dtype=torch.float64)
    assert float(squared_error(logits, labels)) == pytest.approx((1 + 4) / 2)


def test_pieces_no_row_holds_keep_their_embeddings(
    encoded: EncodedRows, tiny_rows: Rows, tiny_classifier: Path
) -> None:
    model = load_classifier(tiny_classifier)
    table = model.get_input_embeddings()
    before = table.weight.detach().clone()
    fit_classifier(model, encoded, tiny_rows.labels, settings=SETTINGS, loss=CROSS_ENTROPY)
    assert model.get_input_embeddings() is table
    moved = set((table.weight != before).any(dim=1).nonzero().flatten().tolist())
    held = {piece for ids in encoded.input_ids for piece in ids}
    assert moved == held - {encoded.pad_id}
