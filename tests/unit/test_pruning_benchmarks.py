"""benchmarks/pruning: what its tables say, on records and models small enough to check by hand."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.pruning.__main__ import main
from benchmarks.pruning.control import ungrown, write_control
from benchmarks.pruning.curve import curve_table
from benchmarks.pruning.growing import doubled
from benchmarks.pruning.mask import mask_table
from benchmarks.pruning.sensitivity import score_parts, sensitivities
from benchmarks.pruning.study import is_pruned_from, study_table
from compressbench.errors import BadInput
from compressbench.models.geometry import Geometry
from compressbench.models.loading import load_classifier, save_classifier
from compressbench.records.log import LOG_NAME, RecordLog
from compressbench.tasks.task import Rows, Task
from tests.unit import fake_run

SEEDS = (1, 2, 3)
HALF = "prune:amount=0.5"


def run_with(folder: Path, chains: dict[str, str], *, task: str = "MRPC") -> Path:
    """A run's folder whose chains have the fake figures of others."""
    folder.mkdir()
    log = RecordLog(folder / LOG_NAME)
    log.append(fake_run.task_record(task))
    for seed in SEEDS:
        for chain, like in chains.items():
            key = fake_run.measured_key(task, like, seed)
            log.append(fake_run.cell(task, chain, seed=seed, measured_key=key))
            log.append(fake_run.quality(task, like, "dev", seed))
            log.append(fake_run.size(task, like, seed))
    return folder


def test_masks_of_both_sides_are_equal() -> None:
    text = mask_table(rounds=3, amount=0.3, threads=1, geometry=Geometry(layers=2, hidden=16, heads=2, intermediate=32))
    assert re.search(r"\| \d+\.\d+x \[\d+\.\d, \d+\.\d\] \| 0 \|$", text)


def test_a_curve_pools_seeds_and_says_which_differences_are_shown(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", {"baseline": "baseline", "distill": "distill", "prune": "prune"})
    text, drawing = curve_table([run], against="baseline")
    (line,) = [line for line in text.splitlines() if line.startswith("| MRPC")]
    truth = fake_run.references("MRPC", "dev").astype(int)

    def score(chain: str, seed: int) -> float:
        logits = np.asarray(fake_run.quality("MRPC", chain, "dev", seed).logits)
        return 100 * float(accuracy_score(truth, logits.argmax(axis=1)))

    cells = [cell.strip() for cell in line.strip("|").split("|")]
    by_seed = [score("prune", seed) - score("baseline", seed) for seed in SEEDS]
    assert [float(each) for each in cells[5].split(", ")] == pytest.approx(by_seed, abs=0.051)
    assert float(cells[4]) == pytest.approx(np.mean([score("prune", seed) for seed in SEEDS]), abs=0.051)
    assert cells[1:3] == ["`prune`", "20.0 %"]
    low, high = map(float, re.search(r"\[(\S+), (\S+)\]", cells[6]).groups())  # type: ignore[union-attr]
    for verdict, margin in zip(cells[7:], (1, 2), strict=True):
        assert verdict == ("yes" if low > -margin else "no" if high < -margin else "not shown")
    assert "<svg" in drawing
    same, _ = curve_table([run, run], against="prune")
    assert "| +0.0, +0.0, +0.0, +0.0, +0.0, +0.0 | +0.00 [+0.00, +0.00] | yes | yes |" in same


def test_a_curve_of_students_takes_chains_with_that_beginning(tmp_path: Path) -> None:
    chains = {"baseline": "baseline", "distill": "distill", f"distill+{HALF}": "distill+prune", HALF: "prune"}
    chains |= {"prune:structured=ffn-0.5": "prune", "prune-sparsegpt": "prune"}
    run = run_with(tmp_path / "run", chains)
    text, _ = curve_table([run], against="distill", prefix="distill")
    assert re.findall(r"`([^`]*)`", text) == ["distill", f"distill+{HALF}"]
    plain, drawing = curve_table([run], against="baseline")
    assert re.findall(r"`([^`]*)`", plain) == ["baseline", HALF, "prune-sparsegpt"]
    assert "MRPC, prune</text>" in drawing
    assert "MRPC, prune-sparsegpt</text>" in drawing
    with pytest.raises(BadInput, match="no seed has both finetune and a chain that ends in plain prune"):
        curve_table([run], against="finetune")


def test_the_studys_table_pairs_students_with_their_pruned_selves(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", {"distill": "distill", "distill+prune": "distill+prune"})
    text = study_table([run], threads=1)
    assert "| the study | 20 % | 6 % | not told | 52 -> 50 (-3.8 %) |" in text
    assert "| ours | 20.0 % | 6.5 % |" in text
    assert len([line for line in text.splitlines() if line.startswith("| MRPC")]) == len(SEEDS)
    twice = study_table([run, run], threads=1)
    assert [twice.count(line) for line in text.splitlines() if line.startswith("| MRPC")] == [2] * len(SEEDS)
    with pytest.raises(
        BadInput, match="has no student with and without pruning: run benchmarks/plans/seed_study_small"
    ):
        study_table([run, run_with(tmp_path / "other", {"distill": "distill", "prune": "prune"})], threads=1)


@pytest.mark.parametrize(
    ("pruned", "whole", "is_so"),
    [
        ("distill+prune", "distill", True),
        ("distill:train_rows=9+prune:amount=0.5", "distill:train_rows=9", True),
        ("distill:prune_amount=0.2", "distill", True),
        ("distill:prune_amount=0.2", "distill:train_rows=9", False),
        ("distill:train_rows=9+prune", "distill", False),
        ("distill+prune:structured=ffn-0.5", "distill", False),
        ("distill+prune+quant-qdq", "distill", False),
        ("distill", "distill", False),
    ],
)
def test_which_chain_is_the_pruned_one(pruned: str, whole: str, is_so: bool) -> None:
    assert is_pruned_from(pruned, whole) is is_so


def test_each_part_is_pruned_alone_and_put_back() -> None:
    weights = {
        "bert.encoder.layer.0.attention.self.query.weight": torch.tensor([[1.0, 2.0]]),
        "bert.encoder.layer.0.attention.self.key.weight": torch.tensor([[4.0, 8.0]]),
        "bert.encoder.layer.0.output.dense.weight": torch.tensor([[16.0, 32.0]]),
        "classifier.weight": torch.tensor([[64.0, 128.0]]),
    }
    whole, found = score_parts(weights, lambda: float(sum(each.sum() for each in weights.values())), amounts=[0.5, 1.0])
    assert whole == 255
    assert {part: [whole - score for score in scores] for part, scores in found.items()} == {
        "layer 0 attention": [3, 15], "layer 0 FFN": [16, 48], "classifier": [64, 192],
    }  # fmt: skip
    assert sum(float(each.sum()) for each in weights.values()) == 255


def test_a_model_without_its_classifier_answers_one_class(tiny_teacher: Path, tiny_task: Task, tiny_rows: Rows) -> None:
    whole, found = sensitivities(tiny_teacher, tiny_task, tiny_rows, amounts=[1.0])
    assert whole > 0.9
    majority = max(tiny_rows.labels.mean(), 1 - tiny_rows.labels.mean())
    assert found["classifier"][0] in (pytest.approx(majority), pytest.approx(1 - majority))
    assert list(found) == [
        "layer 0 attention", "layer 0 FFN", "layer 1 attention", "layer 1 FFN", "pooler", "classifier",
    ]  # fmt: skip


def test_the_control_takes_out_exactly_what_growth_added(tiny_teacher: Path, tmp_path: Path) -> None:
    small = load_classifier(tiny_teacher)
    grown = doubled(small)
    inputs = {"input_ids": torch.tensor([[2, 6, 7, 15, 3]]), "attention_mask": torch.ones(1, 5, dtype=torch.long)}
    with torch.no_grad():
        before, big = small(**inputs).logits, grown(**inputs).logits
        after = ungrown(grown)(**inputs).logits
    assert torch.allclose(before, big, atol=1e-4)
    assert torch.allclose(before, after, atol=1e-5)
    save_classifier(grown, tokenizer_from=tiny_teacher, to=tmp_path / "grown")
    assert "2x32x2x64" in write_control(tmp_path / "grown", to=tmp_path / "control")
    again = load_classifier(tmp_path / "control")
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(again.parameters(), small.parameters(), strict=True))


def test_a_grown_teacher_answers_as_the_small_one_and_its_twins_differ(
    tiny_teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["grow", "--model", str(tiny_teacher), "--folder", str(tmp_path / "grown")]) == 0
    assert "4x64x2x128" in capsys.readouterr().out
    small, grown = load_classifier(tiny_teacher), load_classifier(tmp_path / "grown")
    inputs = {"input_ids": torch.tensor([[2, 6, 7, 15, 3]]), "attention_mask": torch.ones(1, 5, dtype=torch.long)}
    with torch.no_grad():
        before, after = small(**inputs).logits, grown(**inputs).logits
    assert torch.allclose(before, after, atol=0.1 * float(before.abs().max()))
    query = grown.bert.encoder.layer[0].attention.self.query.weight
    assert not torch.equal(query[::2], query[1::2])


def test_a_model_that_was_not_doubled_is_no_grown_one() -> None:
    config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=8)
    with pytest.raises(BadInput, match="a model of 3x8x2x8 was not grown by doubling: give the grown teacher"):
        ungrown(BertForSequenceClassification(config))


def test_what_cannot_be_used_ends_with_2_and_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", str(tmp_path / "absent")]) == 2
    assert "is no folder" in capsys.readouterr().err
    assert main(["sensitivity", "--model", str(tmp_path), "--task", "CoLA", "--amounts", "1.5"]) == 2
    assert "--amounts 1.5: give shares above 0 and up to 1" in capsys.readouterr().err


def test_a_table_is_written_with_its_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_with(tmp_path / "run", {"baseline": "baseline", "prune": "prune"})
    assert main(["curve", str(run), "--to", str(tmp_path / "curve.md")]) == 0
    assert (tmp_path / "curve.md").read_text() == capsys.readouterr().out
    assert (tmp_path / "curve.svg").read_text().startswith("<svg")
