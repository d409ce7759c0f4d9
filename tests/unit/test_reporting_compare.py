import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_run import SHAPES, fake_run, latency, measured_key, quality, references, size
from rich.console import Console
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from compressbench.errors import BadInput
from compressbench.records.run_folder import RunRecords
from compressbench.records.schema import LatencyRecord, QualityRecord, Record, SizeRecord
from compressbench.reporting.compare import compare_runs, print_run_comparison, run_comparison_markdown, within_margin
from compressbench.stats import holm

MACHINE = {"isa_class": "x86_64+avx2", "threads": 2}
CHAINS = ("baseline", "distill")


def run(name: str, records: Sequence[Record], environment: dict[str, Any] | None = None) -> RunRecords:
    return RunRecords(
        folder=Path("runs") / name, records=records, environment=MACHINE if environment is None else environment
    )


def changed(records: Sequence[Record], *newer: Record) -> list[Record]:
    """Later records count, so a change is an addition."""
    return [*records, *newer]


@pytest.fixture(scope="module")
def first() -> list[Record]:
    return fake_run(("CoLA", "MRPC"), CHAINS)


def better_answers(task: str) -> QualityRecord:
    """The student's answers, every second wrong one put right."""
    standing = quality(task, "distill", "dev")
    logits, truth = np.array(standing.logits), references(task, "dev")
    wrong = np.flatnonzero(logits.argmax(axis=1) != truth)[::2]
    logits[wrong] = np.eye(2)[truth[wrong]]
    return QualityRecord(**{**vars(standing), "logits": logits.tolist()})


def test_a_run_against_itself_differs_in_nothing(first: list[Record]) -> None:
    compared = compare_runs(run("a", first), run("b", first))
    for row in compared["rows"]:
        assert row["difference"]["difference"] == 0.0
        assert row["difference"]["p_value"] == 1.0
        assert row["size_ratio"] == 1.0
        assert row["latency_ratio"]["onnxruntime"]["1x128"]["ratio"] == 1.0
    assert (compared["only_in_a"], compared["only_in_b"]) == ([], [])


def test_scores_are_paired(first: list[Record]) -> None:
    second = changed(first, better_answers("MRPC"))
    row = rows_of(compare_runs(run("a", first), run("b", second)))["MRPC", "distill"]
    before, after = np.array(quality("MRPC", "distill", "dev").logits), np.array(better_answers("MRPC").logits)
    truth = references("MRPC", "dev")
    won = int(((before.argmax(1) != truth) & (after.argmax(1) == truth)).sum())
    assert row["difference"]["difference"] == pytest.approx(won / len(truth))
    assert row["difference"]["difference"] == pytest.approx(row["score_b"] - row["score_a"])
    assert row["difference"]["low"] > 0
    assert row["difference"]["p_value"] == pytest.approx(binomtest(0, won).pvalue)


def test_every_score_of_a_task_is_compared(first: list[Record]) -> None:
    compared = compare_runs(run("a", first), run("b", changed(first, better_answers("MRPC"))))
    row = rows_of(compared)["MRPC", "distill"]
    assert (row["metric"], list(row["further"])) == ("accuracy", ["f1"])
    truth, f1 = references("MRPC", "dev"), row["further"]["f1"]
    standing = quality("MRPC", "distill", "dev"), better_answers("MRPC")
    before, after = (f1_score(truth, np.array(each.logits).argmax(1)) for each in standing)
    assert (f1["score_a"], f1["score_b"]) == pytest.approx((before, after))
    assert f1["difference"]["difference"] == pytest.approx(after - before)
    assert "| distill | MRPC | F1 |" in run_comparison_markdown(compared)


def test_holm_counts_all_rows(first: list[Record]) -> None:
    second = changed(first, better_answers("MRPC"), better_answers("CoLA"))
    rows = compare_runs(run("a", first), run("b", second))["rows"]
    found = [each["difference"] for each in (*rows, *(more for row in rows for more in row["further"].values()))]
    assert [each["p_value_holm"] for each in found] == pytest.approx(holm([each["p_value"] for each in found]))


def test_sizes_and_latencies(first: list[Record]) -> None:
    smaller = SizeRecord(**{**vars(size("CoLA", "distill")), "size_bytes": 57_480_000 // 2})
    faster = latency(measured_key("CoLA", "distill", 1), "tiny-2", 3.5)
    second = [each for each in first if not (isinstance(each, LatencyRecord) and "distill" in each.measured_key)]
    row = rows_of(compare_runs(run("a", first), run("b", [*second, smaller, *faster])))["CoLA", "distill"]
    assert row["size_ratio"] == pytest.approx(2.0)
    found = row["latency_ratio"]["onnxruntime"]["1x128"]
    assert found["ratio"] == pytest.approx(2.0, rel=0.02)
    assert found["low"] < found["ratio"] < found["high"]
    assert list(row["latency_ratio"]["onnxruntime"]) == ["1x128"]  # B was not measured at the other shape


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"isa_class": "arm64", "threads": 2}, r"instruction sets differ or are not known (x86_64+avx2 and arm64)"),
        ({"isa_class": "x86_64+avx2", "threads": 4}, "thread counts differ or are not known (2 and 4)"),
        ({}, "instruction sets differ or are not known (x86_64+avx2 and unknown)"),
    ],
)
def test_latencies_of_unlike_machines_are_not_comparable(
    first: list[Record], environment: dict[str, Any], words: str
) -> None:
    compared = compare_runs(run("a", first), run("b", first, environment))
    assert compared["notes"] == [f"Latency is not comparable: the runs' {words}."]
    assert all(row["latency_ratio"] == {} for row in compared["rows"])
    assert compared["rows"][0]["score_a"] is not None


def test_rows_of_one_run_are_named(first: list[Record]) -> None:
    compared = compare_runs(run("a", first), run("b", fake_run(("CoLA",), ("baseline", "prune"))))
    assert list(rows_of(compared)) == [("CoLA", "baseline")]
    assert compared["only_in_a"] == [
        "CoLA/distill (seed 1)", "MRPC/baseline (seed 1)", "MRPC/distill (seed 1)",
    ]  # fmt: skip
    assert compared["only_in_b"] == ["CoLA/prune (seed 1)"]


def test_a_failed_cell_has_nothing_to_compare(first: list[Record]) -> None:
    from fake_run import failed_cell

    row = rows_of(compare_runs(run("a", first), run("b", changed(first, failed_cell("CoLA", "distill")))))[
        "CoLA", "distill"
    ]
    assert row["difference"] is row["score_b"] is row["size_ratio"] is None
    assert row["latency_ratio"] == {}


def test_undefined_answers_have_no_difference(first: list[Record]) -> None:
    standing = quality("CoLA", "distill", "dev")
    broken = QualityRecord(**{**vars(standing), "logits": [[float("inf")] * 2, *list(standing.logits)[1:]]})
    row = rows_of(compare_runs(run("a", first), run("b", changed(first, broken))))["CoLA", "distill"]
    assert row["metric"] == "matthews_correlation"
    assert row["difference"] is None


@pytest.mark.parametrize(
    ("low", "high", "margin", "answer"),
    [
        (-0.009, 0.02, 0.01, "yes"),
        (-0.008, -0.002, 0.01, "yes"),  # a real difference, and yet within the margin
        (-0.03, 0.02, 0.01, "not shown"),  # no difference shown, and no margin either
        (-0.03, -0.011, 0.01, "no"),
        (-0.01, 0.0, 0.01, "not shown"),
    ],
)
def test_a_margin_is_another_question_than_a_difference(low: float, high: float, margin: float, answer: str) -> None:
    assert within_margin({"low": low, "high": high}, margin=margin) == answer
    assert within_margin(None, margin=margin) is None


def test_the_margin_has_a_column_and_a_sentence(first: list[Record]) -> None:
    compared = compare_runs(run("a", first), run("b", changed(first, better_answers("MRPC"))), margin=0.01)
    assert rows_of(compared)["MRPC", "distill"]["within_margin"] == "yes"
    text = run_comparison_markdown(compared)
    assert "| Within 1.0 |" in text
    assert "yes if the whole interval of B - A lies above -1.0 points" in text
    without = compare_runs(run("a", first), run("b", first))
    assert rows_of(without)["MRPC", "distill"]["within_margin"] is None
    assert "Within" not in run_comparison_markdown(without)


def test_runs_without_a_common_row_are_refused(first: list[Record]) -> None:
    with pytest.raises(BadInput, match=r"runs/a and runs/b have no row in common: rows match on task"):
        compare_runs(run("a", first), run("b", fake_run(("STS-B",), CHAINS)))


def test_other_dev_rows_are_refused(first: list[Record]) -> None:
    standing = quality("CoLA", "baseline", "dev")
    other = QualityRecord(**{**vars(standing), "references": [1 - int(each) for each in standing.references]})
    with pytest.raises(BadInput, match="other dev rows of CoLA, so their scores cannot be compared: run both on the"):
        compare_runs(run("a", first), run("b", changed(first, other)))


def test_screen_and_markdown_say_the_same(first: list[Record]) -> None:
    compared = compare_runs(run("a", first), run("b", changed(first, better_answers("CoLA"))))
    stream = io.StringIO()
    print_run_comparison(compared, Console(file=stream, width=100))
    screen, text = stream.getvalue(), run_comparison_markdown(compared)
    assert max(map(len, screen.splitlines())) <= 100
    for shown in (screen, text):
        assert "distill" in shown
        assert "A = a, B = b" in shown
        assert "are not paired" in " ".join(shown.split())
        assert all(f"{shape} in onnxruntime" in shown for shape in SHAPES)


def rows_of(compared: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["task"], row["chain"]): row for row in compared["rows"]}
