from typing import Any

import pytest
from scipy import stats as scipy_stats

from compressbench.reporting.notes import notes_of
from compressbench.reporting.seeds import over_seeds
from compressbench.reporting.tables import task_blocks


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
    entries = {each["row"]["chain"]: each for each in over_seeds(a_run())}
    first, second = (list(entries[chain]["scores"].values()) for chain in ("distill", "distill:mapping=top"))
    expected = scipy_stats.ttest_1samp(first, 0).confidence_interval()
    assert entries["distill"]["mean"] == pytest.approx(0.33)
    assert entries["distill"]["interval"] == pytest.approx((expected.low, expected.high))
    paired = scipy_stats.ttest_rel(second, first).confidence_interval()
    assert entries["distill:mapping=top"]["difference"]["mean"] == pytest.approx(-0.02)
    assert entries["distill:mapping=top"]["difference"]["interval"] == pytest.approx((paired.low, paired.high))
    assert entries["distill"]["difference"] is entries["baseline"]["difference"] is None


def test_seeds_that_failed_are_left_out_of_both_sides() -> None:
    entries = {each["row"]["chain"]: each for each in over_seeds(a_run())}
    assert entries["prune"]["interval"] is None
    assert entries["prune"]["difference"] == {"mean": pytest.approx(0.2), "interval": None}


def test_the_table_stands_below_the_rows_and_is_explained() -> None:
    comparison = {"rows": a_run(), "environment": {}}
    (block,) = task_blocks(comparison)
    table = block.tables[-1]
    assert table.title == "CoLA: MCC over seeds, in points"
    assert table.columns[-1] == "minus distill [95\u00a0%]"
    assert list(table.rows[2]) == ["distill:mapping=top", "3", "31.0", "24.4–37.6", "-2.0 [-4.5, 0.5]"]
    assert table.rows[3][3:] == ["–", "+20.0"]
    assert any("Over seeds: mean of trainings that differ in their seed" in note for note in notes_of(comparison))


def test_one_seed_has_no_such_table() -> None:
    comparison = {"rows": [each for each in a_run() if each["seed"] == 1], "environment": {}}
    (block,) = task_blocks(comparison)
    assert not [table for table in block.tables if "over seeds" in table.title]
    assert not [note for note in notes_of(comparison) if "Over seeds" in note]
