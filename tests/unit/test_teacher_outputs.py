"""Cached outputs equal the teacher's own, whatever the budget, the batch and the place of the cache."""

import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from transformers import PreTrainedModel

from compressbench.errors import BadInput
from compressbench.methods.distill.teacher_outputs import LayerOutputs, TeacherOutputs, WantedLayers
from compressbench.models.loading import load_classifier
from compressbench.prediction import EncodedRows
from compressbench.progress import Quiet

ROWS = [[2, 7, 9, 11, 3], [2, 8, 3], [2, 12, 13, 14, 15, 16, 3], [2, 3]]
BOTH = WantedLayers(hidden=(0, 2), attention=(1,))
ROW_BYTES = {length: 2 * (2 * length * 32 + 2 * length**2) for length in (2, 3, 5, 7)}
"""16-bit numbers: two hidden states of width 32, one layer's attention of two heads."""


@pytest.fixture
def encoded() -> EncodedRows:
    return EncodedRows(input_ids=ROWS, token_type_ids=[[0] * len(row) for row in ROWS], pad_id=0)


def computed(
    folder: Path, encoded: EncodedRows, *, wanted: WantedLayers = BOTH, budget_bytes: int = 10**9
) -> TeacherOutputs:
    outputs = TeacherOutputs(
        load_classifier(folder), encoded, wanted=wanted, budget_bytes=budget_bytes, precision="fp32", device="cpu"
    )
    outputs.compute(Quiet(), name="teacher")
    return outputs


def one_by_one(model: PreTrainedModel, row: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, hidden states 0 and 2, and attention scores of layer 1 from its own projections, unpadded."""
    with torch.no_grad():
        answer = model(torch.tensor([row]), output_hidden_states=True)
        layer = model.bert.encoder.layer[1].attention.self
        query, key = (
            part(answer.hidden_states[1]).view(len(row), 2, 16).transpose(0, 1) for part in (layer.query, layer.key)
        )
    scores = query @ key.transpose(1, 2) / 4
    return answer.logits[0], torch.stack([answer.hidden_states[0][0], answer.hidden_states[2][0]]), scores


def assert_same(left: LayerOutputs, right: LayerOutputs) -> None:
    torch.testing.assert_close(left.hidden, right.hidden, atol=0.02, rtol=0.02)
    torch.testing.assert_close(left.attention, right.attention, atol=0.02, rtol=0.02)


def test_a_batch_holds_what_the_teacher_says_of_each_row_alone(tiny_classifier: Path, encoded: EncodedRows) -> None:
    model = load_classifier(tiny_classifier)
    with computed(tiny_classifier, encoded) as outputs:
        batch = outputs.layers_of(np.array([2, 0, 1]))
        assert batch.hidden is not None
        assert batch.attention is not None
        assert batch.hidden.shape == (2, 3, 7, 32)
        assert batch.attention.shape == (1, 3, 2, 7, 7)
        for place, row in enumerate([2, 0, 1]):
            logits, hidden, scores = one_by_one(model, ROWS[row])
            n = len(ROWS[row])
            torch.testing.assert_close(torch.from_numpy(outputs.logits[row]), logits, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(batch.hidden[:, place, :n].float(), hidden, atol=0.02, rtol=0.01)
            torch.testing.assert_close(batch.attention[0, place, :, :n, :n].float(), scores, atol=0.02, rtol=0.01)
            assert not batch.hidden[:, place, n:].any()
            assert not batch.attention[:, place, :, n:].any()
            assert not batch.attention[:, place, :, :, n:].any()


@pytest.mark.parametrize("budget_bytes", [0, 10**6])
def test_first_tokens_alone_are_those_of_the_whole_and_take_less_room(
    tiny_classifier: Path, encoded: EncodedRows, budget_bytes: int
) -> None:
    rows, first = np.array([2, 0, 1]), WantedLayers(hidden=(1, -1), attention=(), first_token_only=True)
    with computed(tiny_classifier, encoded, wanted=WantedLayers(hidden=(1, 2), attention=())) as outputs:
        whole = outputs.hidden_of(rows)
    with computed(tiny_classifier, encoded, wanted=first, budget_bytes=budget_bytes) as outputs:
        assert outputs.hidden_of(rows).shape == (2, 3, 1, 32)
        torch.testing.assert_close(outputs.hidden_of(rows), whole[:, :, :1], atol=0.02, rtol=0.02)
    with computed(tiny_classifier, encoded, wanted=first, budget_bytes=4 * 2 * 2 * 32) as outputs:
        assert outputs.cached_rows == 4


@pytest.mark.parametrize(("budget_bytes", "cached"), [(0, 0), (ROW_BYTES[2] + ROW_BYTES[3], 2), (10**6, 4)])
def test_rows_beyond_the_budget_are_computed_again(
    tiny_classifier: Path, encoded: EncodedRows, budget_bytes: int, cached: int
) -> None:
    with (
        computed(tiny_classifier, encoded) as whole,
        computed(tiny_classifier, encoded, budget_bytes=budget_bytes) as part,
    ):
        assert part.cached_rows == cached
        assert np.array_equal(part.logits, whole.logits)
        for rows in ([0, 1, 2, 3], [3, 1], [2]):
            assert_same(part.layers_of(np.array(rows)), whole.layers_of(np.array(rows)))


def test_only_wanted_outputs_are_kept(tiny_classifier: Path, encoded: EncodedRows) -> None:
    with computed(tiny_classifier, encoded, wanted=WantedLayers(hidden=(1,), attention=())) as outputs:
        batch = outputs.layers_of(np.array([0]))
        assert batch.attention is None
        assert batch.hidden is not None
        assert batch.hidden.shape == (1, 1, 5, 32)
    with computed(tiny_classifier, encoded, wanted=WantedLayers(hidden=(), attention=())) as outputs:
        assert outputs.logits.any(axis=1).all()


def test_the_teacher_is_frozen_and_in_eval_mode(tiny_classifier: Path, encoded: EncodedRows) -> None:
    teacher = load_classifier(tiny_classifier).train()
    settings = {"wanted": BOTH, "budget_bytes": 0, "precision": "bf16", "device": "cpu"}
    with TeacherOutputs(teacher, encoded, **settings) as outputs:
        first, second = (outputs.layers_of(np.array([0, 1])) for _ in range(2))
        assert not teacher.training
        assert first.hidden is not None
        assert second.hidden is not None
        assert first.hidden.equal(second.hidden)
        assert not first.hidden.requires_grad


def test_a_cache_too_large_for_memory_lives_in_a_file_and_goes_with_it(
    tiny_classifier: Path, encoded: EncodedRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with computed(tiny_classifier, encoded) as in_memory:
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=0))
        with computed(tiny_classifier, encoded) as in_file:
            assert [path.stat().st_size for path in tmp_path.glob("*/teacher.bin")] == [sum(ROW_BYTES.values())]
            assert_same(in_file.layers_of(np.arange(4)), in_memory.layers_of(np.arange(4)))
        assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_before_any_work(
    tiny_classifier: Path, encoded: EncodedRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=0))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5))
    with pytest.raises(BadInput, match=r"teacher outputs needs 0\.00 MiB and .* lower cache_gib, or set TMPDIR"):
        computed(tiny_classifier, encoded)
