from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats
from sklearn.metrics import accuracy_score, matthews_corrcoef

from compressbench.reporting.comparison import comparison
from compressbench.reporting.notes import notes_of
from compressbench.reporting.seeds import over_seeds
from compressbench.reporting.tables import task_blocks
from tests.unit import fake_run


def row(chain: str, seed: int, score: float | None, task: str = "CoLA") -> dict[str, Any]:
    empty: dict[str, Any] = dict.fromkeys(
        ("score_interval", "retention", "retention_above_chance", "score_p_value_holm", "agreement", "size_bytes",
         "compression_ratio", "compressed_bytes")
    )  # fmt: skip
    scores = {} if score is None else {"matthews_correlation": score}
    own = {"task": task, "method": chain, "chain": chain, "seed": seed, "primary_score": score, "scores": scores}
    return {**empty, **own, "latency": {}, "speedup": {}, "warnings": [], "budget": {}}


def a_run() -> list[dict[str, Any]]:
    scores = {
        "baseline": [0.55, 0.56, 0.54], "distill": [0.30, 0.36, 0.33], "distill:mapping=top": [0.28, 0.33, 0.32],
        "prune": [0.5, None, None],
    }  # fmt: skip
    return [row(chain, seed, score) for chain, each in scores.items() for seed, score in enumerate(each, start=1)]


def test_means_and_paired_differences_agree_with_scipy() -> None:
    entries = {each["chain"]: each for each in over_seeds(a_run())}
    first, second = (entries[chain]["scores"] for chain in ("distill", "distill:mapping=top"))
    expected = scipy_stats.ttest_1samp(first, 0).confidence_interval()
    assert entries["distill"]["mean"] == pytest.approx(0.33)
    assert entries["distill"]["interval"] == pytest.approx((expected.low, expected.high))
    paired = scipy_stats.ttest_rel(second, first).confidence_interval()
    assert entries["distill:mapping=top"]["difference"]["mean"] == pytest.approx(-0.02)
    assert entries["distill:mapping=top"]["difference"]["interval"] == pytest.approx((paired.low, paired.high))
    assert entries["distill"]["difference"] is entries["baseline"]["difference"] is None


def test_seeds_that_failed_are_left_out_of_both_sides() -> None:
    entries = {each["chain"]: each for each in over_seeds(a_run())}
    assert entries["prune"]["interval"] is None
    difference = entries["prune"]["difference"]
    assert (difference["from"], difference["seeds"], difference["interval"]) == ("distill", [1], None)
    assert difference["mean"] == pytest.approx(0.2)


def test_the_table_stands_below_the_rows_and_is_explained() -> None:
    result = {"rows": a_run(), "environment": {}, "over_seeds": over_seeds(a_run())}
    (block,) = task_blocks(result)
    table = block.tables[-1]
    assert table.title == "CoLA: MCC over seeds, in points"
    assert table.columns[5] == "minus distill"
    assert list(table.rows[2]) == ["distill:mapping=top", "3", "31.0", "24.4–37.6", "–", "-2.0", "-4.5, 0.5", "–"]
    assert list(table.rows[3][3:]) == ["–", "–", "+20.0", "–", "–"]
    assert any("Over seeds: mean of trainings that differ in their seed" in note for note in notes_of(result))


@pytest.mark.parametrize(("task", "score"), [("MRPC", accuracy_score), ("CoLA", matthews_corrcoef)])
def test_intervals_over_seeds_and_rows_agree_with_resampling_both(task: str, score: Callable[..., float]) -> None:
    seeds = (1, 2, 3)
    result = comparison(
        fake_run.fake_run((task,), ("baseline", "distill", "quant-qdq"), seeds=seeds), environment={}, folder=Path()
    )
    entries = {each["chain"]: each for each in result["over_seeds"]}
    found = entries["quant-qdq"]["difference"]
    truth = fake_run.references(task, "dev").astype(int)
    answers = {
        chain: [np.asarray(fake_run.quality(task, chain, "dev", seed).logits).argmax(axis=1) for seed in seeds]
        for chain in ("distill", "quant-qdq")
    }
    by_seed = [
        score(truth, after) - score(truth, before)
        for before, after in zip(answers["distill"], answers["quant-qdq"], strict=True)
    ]
    assert found["scores"] == pytest.approx(by_seed)
    rng = np.random.default_rng(1)
    means = []
    for _ in range(400):
        rows = rng.integers(len(truth), size=len(truth))
        sides = [np.mean([score(truth[rows], each[rows]) for each in answers[chain]]) for chain in answers]
        means.append(sides[1] - sides[0])
    over_seeds_reach = scipy_stats.t.ppf(0.975, 2) * scipy_stats.sem(by_seed)
    reach = np.hypot(over_seeds_reach, 1.96 * np.std(means))
    low, high = found["interval_with_rows"]
    assert (high - low) / 2 == pytest.approx(reach, rel=0.1)
    assert low < found["interval"][0] < found["mean"] < found["interval"][1] < high


def test_a_run_of_one_seed_says_nothing_over_seeds() -> None:
    assert "over_seeds" not in comparison(fake_run.fake_run(("MRPC",)), environment={}, folder=Path())


def test_one_seed_has_no_such_table() -> None:
    result = {"rows": [each for each in a_run() if each["seed"] == 1], "environment": {}}
    (block,) = task_blocks(result)
    assert not [table for table in block.tables if "over seeds" in table.title]
    assert not [note for note in notes_of(result) if "Over seeds" in note]
