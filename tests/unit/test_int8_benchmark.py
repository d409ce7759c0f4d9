from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.int8 import answers
from benchmarks.int8.__main__ import main
from benchmarks.int8.answers import open_as_written
from benchmarks.int8.figures import Agreement, agreements, pooled_drop, speedups
from benchmarks.int8.models import BASELINE, DEFAULT, PER_TENSOR, Row
from benchmarks.int8.operators import operator_times
from benchmarks.int8.report import Found, report
from benchmarks.int8.targets import Measured, Target, verdict_row
from compressbench.harness.shapes import Shape
from compressbench.measuring import Measurable
from compressbench.methods.chain import parse_chain, spell
from compressbench.prediction import Forward
from compressbench.progress import Quiet
from compressbench.records.schema import Int8Record
from compressbench.runtimes.onnxruntime import open_model
from compressbench.stats import Interval
from compressbench.tasks.data import TaskData
from compressbench.tasks.task import Rows, Task
from compressbench.units import MIB


def agreement(same: int, score: float, deltas: list[float]) -> Agreement:
    return Agreement(same=same, rows=100, score=score, baseline_score=0.8, deltas=np.array(deltas))


@pytest.mark.parametrize(("low", "high", "verdict"), [(2.95, 3.1, "reached"), (2.5, 2.8, "missed"), (2.8, 3.0, "open")])
def test_a_speedup_is_judged_by_its_whole_interval(low: float, high: float, verdict: str) -> None:
    found = Interval(ratio=(low + high) / 2, low=low, high=high)
    measured = Measured(speedups={(DEFAULT, "onnxruntime", "1x128"): found}, sizes_bytes={}, agreement_rates={})
    target = Target(figure="speedup", row=DEFAULT, number=2.9)
    assert verdict_row(target, measured)[3] == verdict
    nothing = Measured(speedups={}, sizes_bytes={}, agreement_rates={})
    assert verdict_row(target, nothing) == ("quant-qdq, 1x128, onnxruntime", ">= 2.90x", "-", "not measured")


def test_sizes_and_agreements_are_judged_by_the_worst() -> None:
    measured = Measured(
        speedups={}, sizes_bytes={PER_TENSOR: 104 * MIB}, agreement_rates={DEFAULT: {"CoLA": 0.985, "RTE": 1.0}}
    )
    size = Target(figure="size", row=PER_TENSOR, number=105.1 * MIB)
    assert verdict_row(size, measured)[1:] == ("<= 105.10 MiB", "104.00 MiB", "reached")
    answers = Target(figure="agreement", row=DEFAULT, number=0.99)
    assert verdict_row(answers, measured)[1:] == (">= 99.0 %", "98.50 % (CoLA)", "missed")


def test_score_differences_are_pooled_over_tasks_resample_by_resample() -> None:
    by_task = {"one": agreement(99, 0.79, [-0.02, 0.0, 0.02]), "two": agreement(98, 0.81, [0.02, 0.0, -0.02])}
    centre, low, high = pooled_drop(by_task)
    assert (centre, low, high) == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)


def test_the_report_tells_the_instruction_set_and_what_it_means() -> None:
    found = Found(
        environment={"cpu": "some CPU", "isa_class": "x86_64+avx2", "threads": 2},
        has_vnni=False,
        rounds=3,
        speedups={(DEFAULT, "onnxruntime", "1x128"): Interval(ratio=1.5, low=1.4, high=1.6)},
        medians_ns={(DEFAULT, "onnxruntime", "1x128"): 36e6},
        sizes_bytes={DEFAULT: 100 * MIB},
        int8=[
            (
                DEFAULT,
                Int8Record(
                    measured_key="m", runtime="onnxruntime", shape="1x128", gemm_share=0.96, constant_gemm_share=1.0,
                    leftover_qdq_pairs=0,
                ),
            )
        ],
        agreements={"CoLA": {BASELINE: agreement(100, 0.8, [0.0]), DEFAULT: agreement(99, 0.796, [-0.004])}},
    )  # fmt: skip
    text = report(found)
    assert r"some CPU, instruction set x86\_64+avx2, 2 threads; 3 interleaved rounds" in text
    assert "this CPU has no VNNI" in text
    assert "3 rounds are too few for a conclusion" in text
    assert "| quant-qdq | onnxruntime | 1x128 | 36.0 ms | 1.50x [1.40x, 1.60x] | 100.00 MiB |" in text
    assert "| quant-qdq | onnxruntime | 1x128 | 96.0 % | 100.0 % | 0 |" in text
    assert "| quant-qdq | CoLA | 99.00 % | 79.6 of 80.0 | 99.50 % | 99.0 % |" in text
    assert "-0.4 [-0.4, -0.4]" in text


def test_speedups_are_paired_over_interleaved_rounds(tiny_onnx_teacher: Path) -> None:
    row = Row(
        name=BASELINE,
        model=Measurable(
            key="m", onnx_path=tiny_onnx_teacher / "model.onnx", tokenizer_path=tiny_onnx_teacher / "tokenizer.json"
        ),
    )
    ratios, medians = speedups(
        [row], baseline=BASELINE, runtimes=["onnxruntime"], shapes=[Shape(1, 8)], threads=1, rounds=1, progress=Quiet()
    )
    place = (BASELINE, "onnxruntime", "1x8")
    assert ratios[place].ratio == 1.0
    assert medians[place] > 0


def test_answers_are_compared_row_by_row(tiny_onnx_teacher: Path, tiny_task: Task, tiny_rows: Rows) -> None:
    model = Measurable(
        key="m", onnx_path=tiny_onnx_teacher / "model.onnx", tokenizer_path=tiny_onnx_teacher / "tokenizer.json"
    )
    data = TaskData(task=tiny_task, read=lambda _: tiny_rows, splits=("dev",), origin="drawn")

    def open_row(path: Path) -> Forward:
        return lambda inputs: sign * open_model(path, threads=1)(inputs)

    found = {}
    for sign in (1, -1):
        found |= agreements([Row(name=str(sign), model=model)], data, open_row=open_row, progress=Quiet())
    assert [each.rate for each in found.values()] == [1, 1]
    assert found["1"].score == pytest.approx(1 - found["-1"].score)


def test_a_graph_as_written_does_not_saturate(tmp_path: Path) -> None:
    """64 products of 250 by 127: kernels for AVX2 give 1,048,544."""
    constants = {"one": np.float32(1), "zero": np.uint8(0), "codes": np.full((64, 16), 127, dtype=np.int8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["input_ids", "one", "zero"], ["x8"]),
        helper.make_node("DequantizeLinear", ["x8", "one", "zero"], ["x"]),
        helper.make_node("DequantizeLinear", ["codes", "one"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["product"]),
    ]
    graph = helper.make_graph(
        nodes, "product",
        [helper.make_tensor_value_info("input_ids", TensorProto.FLOAT, [4, 64])],
        [helper.make_tensor_value_info("product", TensorProto.FLOAT, [4, 16])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    product = open_as_written(path, threads=1)({"input_ids": np.full((4, 64), 250, dtype=np.float32)})
    np.testing.assert_array_equal(product, 64 * 250 * 127)


def test_the_answers_of_no_teacher_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert answers.main(["--teacher", str(tmp_path / "none"), "--data-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("benchmarks.int8.answers: ")


def test_operators_are_counted_a_pass(tiny_onnx_teacher: Path) -> None:
    times = operator_times(tiny_onnx_teacher / "model.onnx", Shape(1, 8), threads=1, runs=2)
    counts = {name: count for name, (count, _) in times.items()}
    assert (counts["Softmax"], counts["LayerNormalization"]) == (2, 5)
    spent = [time_ns for _, time_ns in times.values()]
    assert spent == sorted(spent, reverse=True)


def test_every_method_of_the_table_is_spelled_as_it_is_read() -> None:
    from benchmarks.int8.models import METHODS, STUDENT_METHODS

    for spelled in (*METHODS, *STUDENT_METHODS):
        assert spell(parse_chain(spelled)) == spelled


def test_bad_input_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--teacher", str(tmp_path), "--data-dir", str(tmp_path), "--to", str(tmp_path / "int8.md")]
    assert main([*arguments, "--rounds", "0"]) == 2
    assert capsys.readouterr().err == "benchmarks.int8: --rounds 0: give 15, or 1 at least\n"
    assert main([*arguments, "--runtimes", "abacus"]) == 2
    assert "unknown runtime 'abacus'" in capsys.readouterr().err
    assert not (tmp_path / "int8.md").exists()
