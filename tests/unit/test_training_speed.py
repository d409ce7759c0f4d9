"""The benchmark of training speed: its arithmetic by hand, its yardstick at work, and a run on a tiny model."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import BertForSequenceClassification

from benchmarks import training_speed
from benchmarks.reference_loop import ReferenceLoop, TensorwiseAdam
from benchmarks.speed_table import Phase, factors
from compressbench.methods.distill.student import new_student
from compressbench.models.geometry import Geometry
from compressbench.numerics.layer_mapping import layer_mapping
from tests.conftest import TINY, draw_tiny_rows

PHASE = Phase(write_s=0.01, step_s=(0.32, 0.32), reference_s=(3.2, 3.2), cached_share=1.0, cache_gib=1.0, tokens=13.0)


def test_a_schedule_is_the_cache_once_and_every_epoch() -> None:
    found = factors(PHASE, replace(PHASE, step_s=(0.08,), write_s=0.005), epochs=20)
    assert found["equal_step"][0] == pytest.approx(10.0)
    assert found["equal"][0] == pytest.approx(20 * 0.1 / (0.01 + 20 * 0.01))
    assert found["whole"][0] == pytest.approx(20 * 0.1 / (0.005 + 20 * 0.0025))
    assert found["padding"][0] == pytest.approx(found["whole"][0] / found["equal"][0])
    assert found["reference_rows_per_s"][0] == pytest.approx(10.0)
    assert all(low <= middle <= high for middle, low, high in found.values())


def test_steps_that_differ_widen_the_interval() -> None:
    uneven = replace(PHASE, step_s=(0.16, 0.48) * 4)
    middle, low, high = factors(uneven, PHASE, epochs=20)["equal_step"]
    assert low < 0.9 * middle
    assert high > 1.1 * middle


def test_adam_moves_as_computed_by_hand() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = TensorwiseAdam({"weight": weight}, learning_rate=0.1)
    weight.grad = torch.tensor([0.5])
    optimizer.step()
    assert weight.item() == pytest.approx(1.0 - 0.1 * 0.05 / ((0.001 * 0.25) ** 0.5 + 1e-6))
    assert weight.grad is None


def test_the_yardstick_learns(tiny_classifier: Path) -> None:
    torch.manual_seed(0)
    teacher = BertForSequenceClassification.from_pretrained(tiny_classifier)
    sizes = replace(Geometry(layers=1, hidden=16, heads=2, intermediate=32), vocab=TINY.vocab, positions=TINY.positions)
    student, _ = new_student(teacher, sizes, init="random", dropout=0.1)
    loop = ReferenceLoop(
        teacher, student, layer_mapping("uniform", teacher_layers=2, student_layers=1), learning_rate=1e-2
    )
    assert teacher.training
    inputs = {"input_ids": torch.tensor([[2, 6, 7, 3, 0]]), "attention_mask": torch.tensor([[1, 1, 1, 1, 0]])}
    losses = [loop.step(inputs) for _ in range(40)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_a_tiny_run_writes_both_files(
    tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "glue" / "SST-2"
    folder.mkdir(parents=True)
    lines = "".join(f"{text} \t1\n" for text in draw_tiny_rows(count=150, seed=0).first)
    for name in ("train", "dev"):
        (folder / f"{name}.tsv").write_text(f"sentence\tlabel\n{lines}")
    monkeypatch.setattr(
        sys, "argv",
        ["training_speed", "--data-dir", str(tmp_path / "glue"), "--teacher", str(tiny_encoder), "--tasks", "SST-2",
         "--student", "1x16x2x32", "--rows", "150", "--threads", "1", "--precision", "fp32", "--reference-steps", "2",
         "--equal-epochs", "2", "--real-epochs", "2", "--to", str(tmp_path / "results")],
    )  # fmt: skip
    training_speed.main()
    result = json.loads((tmp_path / "results" / "training_speed.json").read_text())
    (task,) = result["tasks"]
    assert task["rows"] == 150
    assert task["equal"]["tokens"] == 64.0
    assert task["real"]["tokens"] < 16
    assert len(task["equal"]["reference_s"]) >= 2
    assert task["factors"]["whole"][0] > 0
    assert str(tmp_path) not in json.dumps(result)
    table = (tmp_path / "results" / "training_speed.md").read_text()
    assert table in capsys.readouterr().out
    assert "| SST-2 | 150 |" in table
