from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from fake_run import failed_cell, fake_run

from compressbench.records.schema import Record
from compressbench.reporting.comparison import comparison

TASKS = ("CoLA", "MRPC", "STS-B")


def compared(records: list[Record]) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    result = comparison(records, environment={}, folder=Path())
    return {entry["method"]: entry for entry in result["summary"]}, result["rows"]


def test_macro_average_over_named_tasks() -> None:
    summary, rows = compared(fake_run(TASKS))
    scores = [row["primary_score"] for row in rows if row["chain"] == "distill"]
    assert summary["distill"]["tasks"] == list(TASKS)
    assert summary["distill"]["average_score"] == pytest.approx(fmean(scores))
    assert next(iter(summary)) == "baseline"


def test_retention_is_of_averages() -> None:
    summary, _ = compared(fake_run(TASKS))
    expected = summary["distill"]["average_score"] / summary["baseline"]["average_score"]
    assert summary["distill"]["retention"] == pytest.approx(expected)
    assert summary["baseline"]["retention"] == 1.0


def test_speedup_is_a_geometric_mean() -> None:
    summary, rows = compared(fake_run(("CoLA", "STS-B")))  # two graphs, so two measured ratios
    first, second = (row["speedup"]["onnxruntime"]["1x128"]["ratio"] for row in rows if row["chain"] == "distill")
    assert summary["distill"]["speedup"]["onnxruntime"]["1x128"] == pytest.approx((first * second) ** 0.5)
    assert summary["prune"]["speedup"]["onnxruntime"]["8x128"] == 1.0


def test_sizes() -> None:
    summary, _ = compared(fake_run(TASKS))
    assert summary["quant-qdq"]["size_bytes"] == pytest.approx(110_340_000)
    assert summary["quant-qdq"]["compression_ratio"] == pytest.approx(437_951_322 / 110_340_000)


def test_seeds_are_averaged_within_their_task_first() -> None:
    records = [*fake_run(("CoLA", "MRPC"), ("baseline", "distill")), *fake_run(("CoLA",), ("distill",), seeds=(2, 3))]
    summary, rows = compared(records)
    by_task = {
        task: fmean(row["primary_score"] for row in rows if row["chain"] == "distill" and row["task"] == task)
        for task in ("CoLA", "MRPC")
    }
    assert summary["distill"]["average_score"] == pytest.approx(fmean(by_task.values()))
    assert summary["distill"]["seeds"] == [1, 2, 3]


def test_a_task_that_failed_is_left_out_on_both_sides() -> None:
    records = [*fake_run(("CoLA", "MRPC"), ("baseline", "distill")), failed_cell("MRPC", "distill")]
    summary, rows = compared(records)
    cola = {row["chain"]: row["primary_score"] for row in rows if row["task"] == "CoLA"}
    assert summary["distill"]["tasks"] == ["CoLA"]
    assert summary["distill"]["failed"] == 1
    assert summary["distill"]["retention"] == pytest.approx(cola["distill"] / cola["baseline"])


def test_a_method_that_always_failed_has_no_figures() -> None:
    summary, _ = compared([*fake_run(("CoLA",), ("baseline",)), failed_cell("CoLA", "quant-qop")])
    entry = summary["quant-qop"]
    assert entry["failed"] == 1
    assert all(entry[key] is None for key in ("average_score", "retention", "size_bytes", "compression_ratio"))
    assert entry["speedup"] == {}
