from pathlib import Path
from typing import Any

import pytest
from fake_run import fake_run

from compressbench.errors import UnknownName
from compressbench.reporting.comparison import comparison
from compressbench.reporting.reference_figures import FIGURES, SOURCES, ReferenceFigure, figures_of, measured_values
from compressbench.reporting.reference_table import reference_notes, reference_tables


def published(source: str, quantity: str, *, method: str, task: str = "") -> float:
    (found,) = [
        each
        for each in FIGURES
        if (each.source, each.quantity, each.method, each.task) == (source, quantity, method, task)
    ]
    return found.value


@pytest.fixture(scope="module")
def compared() -> dict[str, Any]:
    return comparison(fake_run(("CoLA", "MRPC")), environment={}, folder=Path())


def test_the_studys_sizes_and_latencies_give_its_shares_and_speedups() -> None:
    base_size, base_latency = (published("seed", name, method="baseline") for name in ("size", "latency"))
    for method in ("distill", "quant-qdq", "quant-qop"):
        share = published("seed", "size", method=method) / base_size
        assert published("seed", "size_share", method=method) == pytest.approx(share, abs=2e-4)
        speedup = base_latency / published("seed", "latency", method=method)
        assert published("seed", "speedup", method=method) == pytest.approx(speedup, abs=0.07)  # it cuts, not rounds


def test_the_share_that_the_study_prints_does_not_follow() -> None:
    assert published("seed", "size_share", method="quant-qdq") == pytest.approx(0.252, abs=5e-4)
    (qdq,) = [each for each in FIGURES if each.quantity == "size_share" and each.method == "quant-qdq"]
    assert qdq.printed == "64.63 %, is 25.2 %"
    assert any("64.63 %" in note and "it is 25.2 %" in note for note in reference_notes(["seed"]))


@pytest.mark.parametrize(("task", "follows"), [("SST-2", True), ("MRPC", True), ("CoLA", True), ("RTE", False)])
def test_retention_follows_from_the_scores_but_for_rte(task: str, follows: bool) -> None:
    teacher, student = (published("seed", "score", method=method, task=task) for method in ("baseline", "distill"))
    retention = published("seed", "retention", method="distill", task=task)
    assert (abs(student / teacher - retention) < 1e-3) is follows


def test_the_papers_averages_follow_from_its_rows() -> None:
    for method in ("baseline", "distill"):
        rows = [
            each.value
            for each in FIGURES
            if (each.source, each.quantity, each.method) == ("paper", "score", method) and each.task != "average"
        ]
        assert len(rows) == 9  # MNLI counts twice
        assert published("paper", "score", method=method, task="average") == pytest.approx(sum(rows) / 9, abs=6e-4)


def test_a_test_figure_says_so() -> None:
    assert {each.split for each in FIGURES if each.source == "paper" and each.quantity == "score"} == {"test"}
    assert all(each.split for each in FIGURES if each.quantity in ("score", "retention"))


def test_measured_figures_are_those_of_the_like_row(compared: dict[str, Any]) -> None:
    rows = {(row["task"], row["chain"]): row for row in compared["rows"]}
    size = next(each for each in FIGURES if each.quantity == "size" and each.method == "quant-qdq")
    assert measured_values(size, compared) == [110_340_000, 110_340_000]
    f1 = next(each for each in FIGURES if each.metric == "f1" and each.task == "MRPC" and each.method == "distill")
    assert measured_values(f1, compared) == [rows["MRPC", "distill"]["scores"]["f1"]]
    average = next(each for each in FIGURES if each.task == "average")
    assert measured_values(average, compared) == []


def test_another_metric_is_not_the_like() -> None:
    compared = comparison(fake_run(("CoLA",)), environment={}, folder=Path())
    figure = ReferenceFigure(
        source="seed", model="x", method="distill", quantity="score", value=0.5, task="CoLA", metric="f1"
    )
    assert measured_values(figure, compared) == []


def test_parameters_of_a_method_do_not_hide_it(compared: dict[str, Any]) -> None:
    row = {**compared["rows"][1], "chain": "distill:mapping=top"}
    figure = next(each for each in FIGURES if each.quantity == "flops" and each.method == "distill")
    assert measured_values(figure, {"rows": [row]}) == [1_180_000_000]


def test_latency_is_the_smallest_shapes_in_whatever_order_they_were_measured(compared: dict[str, Any]) -> None:
    row = next(row for row in compared["rows"] if row["chain"] == "distill")
    shapes = {"8x128": {"median_ns": 8_000_000, "ratio": 8.0}, "1x128": {"median_ns": 1_000_000, "ratio": 1.5}}
    row = {**row, "latency": {"onnxruntime": shapes}, "speedup": {"onnxruntime": shapes}}
    for quantity, value in (("latency", 1_000_000), ("speedup", 1.5)):
        figure = next(each for each in FIGURES if each.quantity == quantity and each.method == "distill")
        assert measured_values(figure, {"rows": [row]}) == [value]
    (table,) = reference_tables({"rows": [row], "summary": []}, ["seed"])
    told = {(cells[0], cells[2]): cells[5] for cells in table.rows}
    assert told["TinyBERT", "Speedup"] == "1.50x at 1x128"


def test_the_studys_variant_is_the_like_where_it_was_run(compared: dict[str, Any]) -> None:
    row = next(row for row in compared["rows"] if row["chain"] == "quant-qdq")
    signed = {**row, "chain": "quant-qdq:activation_type=int8:reduce_range=false", "size_bytes": 1}
    size = next(each for each in FIGURES if each.quantity == "size" and each.method == "quant-qdq")
    assert measured_values(size, {"rows": [row, signed]}) == [1]
    assert measured_values(size, {"rows": [row]}) == [row["size_bytes"]]


def test_every_difference_that_its_own_figures_show_has_a_sentence() -> None:
    notes = " ".join(reference_notes(["seed"]))
    for figure in ("64.63 %", "89.3 %", "0.683", "0.8x", "1.96"):
        assert figure in notes
    assert published("seed", "latency", method="baseline") / published("seed", "latency", method="quant-qop") > 1.95


def test_one_table_per_source_without_tasks_that_were_not_run(compared: dict[str, Any]) -> None:
    study, paper = reference_tables(compared, SOURCES)
    assert {row[1] for row in study.rows} == {"–", "CoLA", "MRPC"}
    assert {row[1] for row in paper.rows} == {"–", "CoLA", "MRPC", "average"}
    assert ["TinyBERT", "–", "Size (MiB)", "–", "54.82", "54.82"] in [list(row) for row in study.rows]
    latency = next(row for row in study.rows if row[2] == "Latency (ms)")
    assert latency[-1].endswith("at 1x128")
    assert reference_tables(compared, []) == []


def test_an_unknown_source_is_told() -> None:
    with pytest.raises(UnknownName, match=r"unknown reference 'papers': did you mean 'paper'\?"):
        figures_of(["papers"])
