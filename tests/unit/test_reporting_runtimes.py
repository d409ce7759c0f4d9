"""Rows and tables of a run in several runtimes."""

from pathlib import Path
from typing import Any

import pytest
from fake_run import fake_run, latency, measured_key

from compressbench.records.schema import Int8Record
from compressbench.reporting.cells import row_label
from compressbench.reporting.comparison import comparison
from compressbench.reporting.notes import notes_of
from compressbench.reporting.tables import summary_table, task_blocks

MILLISECONDS = {"baseline": 80.0, "quant-qdq": 25.0}
"""In OpenVINO; in ONNX Runtime the baseline takes 100 ms (`fake_run`)."""


@pytest.fixture(scope="module")
def compared() -> dict[str, Any]:
    records = fake_run(("CoLA",), ("baseline", "quant-qdq"))
    for chain, milliseconds in MILLISECONDS.items():
        records += latency(
            measured_key("CoLA", chain, 1), f"graph-{chain}", milliseconds, runtime="openvino", shape="1x128"
        )
    records += latency(measured_key("CoLA", "baseline", 1), "graph-baseline", 160.0, runtime="torch", shape="1x128")
    packages = {"onnxruntime": "1.32", "openvino": "2026.4", "torch": "2.13", "pandas": "3"}
    return comparison(records, environment={"packages": packages}, folder=Path())


def row(compared: dict[str, Any], chain: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in compared["rows"] if each["chain"] == chain)
    return found


def test_speedup_is_against_the_same_runtime_and_against_onnx_runtime(compared: dict[str, Any]) -> None:
    quantized, baseline = row(compared, "quant-qdq"), row(compared, "baseline")
    ort_ns = baseline["latency"]["onnxruntime"]["1x128"]["median_ns"]
    assert quantized["speedup"]["openvino"]["1x128"]["ratio"] == pytest.approx(80 / 25, rel=0.02)
    over = quantized["speedup_over_onnxruntime"]["openvino"]["1x128"]["ratio"]
    assert over == pytest.approx(ort_ns / 25e6, rel=0.1)
    assert baseline["speedup"]["openvino"]["1x128"]["ratio"] == 1.0
    assert baseline["speedup_over_onnxruntime"]["openvino"]["1x128"]["ratio"] == pytest.approx(ort_ns / 80e6, rel=0.1)


def test_every_runtime_has_a_table(compared: dict[str, Any]) -> None:
    (block,) = task_blocks(compared)
    openvino = next(table for table in block.tables if "openvino 1x128 (ms)" in table.columns)
    assert list(openvino.columns) == ["Model", "openvino 1x128 (ms)", "Speedup [95\u00a0%]", "over ORT"]
    baseline, quantized = openvino.rows
    assert baseline[2] == "1x"
    assert baseline[3].endswith("x")
    assert quantized[1].startswith(("24.", "25.", "26."))
    assert "over ORT" not in block.tables[0].columns


def test_what_pytorch_cannot_open_is_not_applicable(compared: dict[str, Any]) -> None:
    (block,) = task_blocks(compared)
    torch = next(table for table in block.tables if "torch 1x128 (ms)" in table.columns)
    assert list(torch.rows[1][1:]) == ["n/a", "n/a", "n/a"]
    assert torch.rows[0][2] == "1x"
    notes = " ".join(notes_of(compared))
    assert '"n/a": PyTorch runs the Hugging Face folder' in notes
    assert "onnxruntime 1.32, openvino 2026.4, torch 2.13" in notes


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch-int8", None])
def test_a_quantized_baseline_is_not_called_fp32(runtime: str | None) -> None:
    name = "baseline (int8)" if runtime == "onnxruntime" else "baseline (fp32)"
    records = fake_run(("CoLA",), ("baseline", "quant-qdq"))
    if runtime:
        records.append(
            Int8Record(
                measured_key=measured_key("CoLA", "baseline", 1), runtime=runtime, shape="1x128", gemm_share=1.0,
                constant_gemm_share=1.0, leftover_qdq_pairs=0,
            )
        )  # fmt: skip
    compared = comparison(records, environment={}, folder=Path())
    assert summary_table(compared).rows[0][0] == row_label(row(compared, "baseline")) == name
    assert any(note.startswith(f"{name}: ") for note in notes_of(compared))


def test_a_model_that_computes_in_fp32_in_one_runtime_is_warned_about_by_layer() -> None:
    layers = {f"encoder.{number}": float(number > 5) for number in range(10)} | {"MatMul_3": 0.0}
    record = Int8Record(
        measured_key=measured_key("CoLA", "quant-qdq", 1), runtime="openvino", shape="1x128", gemm_share=0.3,
        constant_gemm_share=0.4, leftover_qdq_pairs=6, layers=layers,
    )  # fmt: skip
    compared = comparison([*fake_run(("CoLA",), ("baseline", "quant-qdq")), record], environment={}, folder=Path())
    (warning,) = [text for text in row(compared, "quant-qdq")["warnings"] if "INT8" in text]
    assert warning == (
        "only 40 % of the multiply-adds with constant weights run in INT8 in openvino at 1x128: the file is small, but "
        "the rest computes in fp32 (encoder.0, encoder.1, encoder.2, encoder.3 and 2 more)"
    )
