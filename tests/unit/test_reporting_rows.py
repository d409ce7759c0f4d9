import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_run import (
    CHAINS,
    PROCESSES,
    ROUNDS,
    TASKS,
    cell,
    failed_cell,
    fake_run,
    latencies,
    latency,
    measured_key,
    quality,
    references,
    task_record,
)
from scipy.stats import binomtest, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from compressbench.errors import BadInput
from compressbench.records.schema import GraphRecord, Int8Record, QualityRecord, Record
from compressbench.reporting.comparison import comparison
from compressbench.stats import holm

ROW_KEYS = {
    "task", "method", "chain", "seed", "parameters", "artifact", "size_bytes", "compressed_bytes", "compression_ratio",
    "parameter_count", "nonzero_count", "sparsity", "linear_sparsity", "zeros_by_layer", "flops", "latency",
    "speedup", "speedup_over_onnxruntime", "scores", "primary_score", "score_interval", "retention",
    "retention_above_chance", "retention_above_chance_interval", "score_p_value", "score_p_value_holm", "agreement",
    "int8", "budget", "warnings",
}  # fmt: skip
FOLDER = Path("/runs/one")


def compared(records: list[Record]) -> dict[str, Any]:
    return comparison(records, environment={"cpu": "a CPU"}, folder=FOLDER)


def rows_of(records: list[Record]) -> dict[tuple[str, str, int], dict[str, Any]]:
    return {(row["task"], row["chain"], row["seed"]): row for row in compared(records)["rows"]}


@pytest.fixture(scope="module")
def all_rows() -> dict[tuple[str, str, int], dict[str, Any]]:
    return rows_of([*fake_run(tuple(TASKS)), failed_cell("MRPC", "quant-qop")])


def answered(task: str, chain: str, answer: list[int] | np.ndarray) -> QualityRecord:
    """A quality record whose predictions are `answer`."""
    logits = np.eye(2)[np.asarray(answer)].tolist()
    return QualityRecord(
        measured_key=measured_key(task, chain, 1), task=task, split="dev", logits=logits,
        references=references(task, "dev").tolist(),
    )  # fmt: skip


def test_every_row_has_the_contracts_keys(all_rows: dict[Any, dict[str, Any]]) -> None:
    assert all(set(row) == ROW_KEYS for row in all_rows.values())


def test_a_comparison_is_strict_json() -> None:
    result = compared(fake_run(("STS-B",)))
    assert set(result) == {"schema_version", "environment", "rows", "summary"}
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_rows_stand_by_task_with_the_baseline_first() -> None:
    records = fake_run(("CoLA", "MRPC"), seeds=(1, 2))
    order = [(row["task"], row["method"], row["seed"]) for row in compared(records)["rows"]]
    assert order[:3] == [("CoLA", "baseline", 1), ("CoLA", "baseline", 2), ("CoLA", "distill", 1)]
    assert order[len(order) // 2] == ("MRPC", "baseline", 1)
    assert len(order) == 2 * 2 * len(CHAINS)


def test_the_latest_record_of_a_cell_counts() -> None:
    records = [failed_cell("CoLA", "distill"), *fake_run(("CoLA",))]
    assert rows_of(records)["CoLA", "distill", 1]["artifact"]["format"] == "torch"


class TestSizes:
    def test_ratio_and_sparsity(self, all_rows: dict[Any, dict[str, Any]]) -> None:
        row = all_rows["CoLA", "distill+prune", 1]
        assert row["compression_ratio"] == pytest.approx(437_951_322 / 57_480_000)
        assert row["linear_sparsity"] == pytest.approx(0.2)
        assert row["sparsity"] == pytest.approx(0.0648, abs=1e-4)  # the study's 6 %

    def test_an_artifact_inside_the_run_folder_is_named_relative_to_it(self) -> None:
        records = [
            task_record("CoLA"),
            cell("CoLA", "distill", artifact_path="/runs/one/artifacts/a"),
            cell("CoLA", "prune", artifact_path="/cache/b"),
        ]
        paths = {row["chain"]: row["artifact"]["path"] for row in compared(records)["rows"]}
        assert paths == {"distill": "artifacts/a", "prune": "/cache/b"}


class TestLatencies:
    def test_median_and_how_it_was_taken(self, all_rows: dict[Any, dict[str, Any]]) -> None:
        taken = all_rows["CoLA", "distill", 1]["latency"]["onnxruntime"]["1x128"]
        blocks = [each for each in latencies(["CoLA"], ["distill"]) if each.shape == "1x128"]
        samples = np.concatenate([each.samples_ns for each in blocks])
        assert taken["median_ns"] == pytest.approx(np.median(samples))
        assert (taken["p05_ns"], taken["p95_ns"]) == pytest.approx(tuple(np.percentile(samples, [5, 95])))
        assert (taken["samples"], taken["processes"], taken["threads"]) == (len(samples), PROCESSES, 2)
        assert taken["shared_with"] is None

    def test_speedup_is_the_paired_ratio(self, all_rows: dict[Any, dict[str, Any]]) -> None:
        found = all_rows["CoLA", "distill", 1]["speedup"]["onnxruntime"]["8x128"]
        assert found["low"] <= found["ratio"] <= found["high"]
        assert found["ratio"] == pytest.approx(100 / 7, rel=0.02)
        assert found["high"] - found["low"] < 0.5  # what slows both rounds is paired away
        assert all_rows["CoLA", "distill", 1]["speedup_over_onnxruntime"] == all_rows["CoLA", "distill", 1]["speedup"]

    def test_a_model_with_the_baselines_graph_has_a_speedup_of_exactly_one(
        self, all_rows: dict[Any, dict[str, Any]]
    ) -> None:
        for chain in ("baseline", "prune"):
            row = all_rows["CoLA", chain, 1]
            assert row["speedup"]["onnxruntime"]["1x128"] == {"ratio": 1.0, "low": 1.0, "high": 1.0}
        assert all_rows["CoLA", "prune", 1]["latency"]["onnxruntime"]["1x128"]["shared_with"] == "CoLA/baseline"
        assert all_rows["CoLA", "baseline", 1]["latency"]["onnxruntime"]["1x128"]["shared_with"] is None

    def test_graphs_are_shared_between_tasks_and_methods(self, all_rows: dict[Any, dict[str, Any]]) -> None:
        pruned, distilled = all_rows["CoLA", "distill+prune", 1], all_rows["CoLA", "distill", 1]
        assert pruned["latency"]["onnxruntime"]["1x128"]["shared_with"] == "CoLA/distill"
        assert pruned["speedup"] == distilled["speedup"]
        elsewhere = all_rows["MRPC", "baseline", 1]["latency"]["onnxruntime"]["1x128"]
        assert elsewhere["shared_with"] == "CoLA/baseline"
        # Three classes are another graph than two.
        assert all_rows["MNLI", "baseline", 1]["latency"]["onnxruntime"]["1x128"]["shared_with"] is None

    def test_of_several_seeds_the_shared_name_tells_which(self) -> None:
        rows = rows_of(fake_run(("CoLA",), seeds=(1, 2)))
        assert rows["CoLA", "distill", 2]["latency"]["onnxruntime"]["1x128"]["shared_with"] == "CoLA/distill (seed 1)"

    def test_a_model_with_the_baselines_graph_that_was_measured_has_a_measured_ratio(self) -> None:
        records = fake_run(("CoLA",), ("baseline", "prune"))
        records += latency(measured_key("CoLA", "prune", 1), "bert-2", 101.0)
        found = rows_of(records)["CoLA", "prune", 1]["speedup"]["onnxruntime"]["1x128"]
        assert found["low"] < found["ratio"] < 1.0

    def test_the_latest_session_counts(self) -> None:
        records = fake_run(("CoLA",), ("baseline", "distill"))
        records += latency(measured_key("CoLA", "baseline", 1), "bert-2", 80.0, session=2)
        records += latency(measured_key("CoLA", "distill", 1), "tiny-2", 8.0, session=2)
        row = rows_of(records)["CoLA", "distill", 1]
        assert row["speedup"]["onnxruntime"]["1x128"]["ratio"] == pytest.approx(10.0, rel=0.02)
        assert row["warnings"] == []

    def test_an_unfinished_session_leaves_the_rest_to_the_one_before(self) -> None:
        records = fake_run(("CoLA",), ("baseline", "distill"))
        records += latency(measured_key("CoLA", "baseline", 1), "bert-2", 80.0, session=2)
        row = rows_of(records)["CoLA", "distill", 1]
        assert row["speedup"]["onnxruntime"]["1x128"]["ratio"] == pytest.approx(100 / 7, rel=0.02)
        assert row["warnings"] == ["latency is of session 1: session 2 has not measured this model; run the plan again"]

    def test_only_rounds_that_both_sides_have_are_paired(self) -> None:
        records = [*fake_run(("CoLA",), ("baseline",)), cell("CoLA", "distill")]
        records += latency(measured_key("CoLA", "distill", 1), "tiny-2", 7.0, rounds=ROUNDS - 3)
        found = rows_of(records)["CoLA", "distill", 1]["speedup"]["onnxruntime"]["1x128"]
        assert found["ratio"] == pytest.approx(100 / 7, rel=0.02)

    def test_other_thread_counts_are_not_compared(self) -> None:
        records = [*fake_run(("CoLA",), ("baseline",)), cell("CoLA", "distill")]
        records += latency(measured_key("CoLA", "distill", 1), "tiny-2", 7.0, threads=1)
        row = rows_of(records)["CoLA", "distill", 1]
        assert row["latency"]["onnxruntime"]["1x128"]["threads"] == 1
        assert row["speedup"] == {}

    def test_each_runtime_has_its_own_baseline_and_onnxruntimes_beside_it(self) -> None:
        records = fake_run(("CoLA",), ("baseline", "distill"))
        records += latency(measured_key("CoLA", "baseline", 1), "bert-2", 200.0, runtime="torch")
        records += latency(measured_key("CoLA", "distill", 1), "tiny-2", 20.0, runtime="torch")
        row = rows_of(records)["CoLA", "distill", 1]
        assert row["speedup"]["torch"]["1x128"]["ratio"] == pytest.approx(10.0, rel=0.02)
        assert row["speedup_over_onnxruntime"]["torch"]["1x128"]["ratio"] == pytest.approx(5.0, rel=0.02)

    def test_real_lengths_are_the_tasks_own(self) -> None:
        records = fake_run(("CoLA", "MRPC"), ("baseline",))
        records += latency(measured_key("CoLA", "baseline", 1), "bert", 30.0, shape="task", task="CoLA")
        rows = rows_of(records)
        assert rows["CoLA", "baseline", 1]["latency"]["onnxruntime"]["task"]["shared_with"] is None
        assert "task" not in rows["MRPC", "baseline", 1]["latency"]["onnxruntime"]

    @pytest.mark.parametrize("samples", [[], [0], [-5], [math.nan]])
    def test_a_block_without_durations_is_refused(self, samples: list[Any]) -> None:
        block = latency("a", "g", 1.0)[0]
        records = [task_record("CoLA"), cell("CoLA", "distill"), type(block)(**{**vars(block), "samples_ns": samples})]
        with pytest.raises(BadInput, match=r"of a \(onnxruntime, 1x128, process 0, round 0\) holds no positive dur"):
            compared(records)


class TestScores:
    def test_scores_agree_with_scikit_learn(self, all_rows: dict[Any, dict[str, Any]]) -> None:
        truth = references("MRPC", "dev")
        said = np.argmax(quality("MRPC", "distill", "dev").logits, axis=1)
        scores = all_rows["MRPC", "distill", 1]["scores"]
        assert scores == pytest.approx({"accuracy": accuracy_score(truth, said), "f1": f1_score(truth, said)})
        interval = binomtest(int((truth == said).sum()), len(truth)).proportion_ci(method="wilson")
        assert all_rows["MRPC", "distill", 1]["score_interval"] == pytest.approx([interval.low, interval.high])

    def test_the_primary_score_is_the_first_metric(self, all_rows: dict[Any, dict[str, Any]]) -> None:
        row = all_rows["CoLA", "distill", 1]
        said = np.argmax(quality("CoLA", "distill", "dev").logits, axis=1)
        assert row["primary_score"] == pytest.approx(matthews_corrcoef(references("CoLA", "dev"), said))
        assert list(row["scores"]) == ["matthews_correlation", "accuracy"]
        assert row["score_interval"][0] <= row["primary_score"] <= row["score_interval"][1]

    def test_mnli_has_its_second_split_beside_the_first(self, all_rows: dict[Any, dict[str, Any]]) -> None:
        row = all_rows["MNLI", "distill", 1]
        said = np.argmax(quality("MNLI", "distill", "dev_mismatched").logits, axis=1)
        assert row["scores"]["accuracy_mismatched"] == pytest.approx(
            accuracy_score(references("MNLI", "dev_mismatched"), said)
        )
        assert row["primary_score"] == row["scores"]["accuracy"]

    def test_a_regression_has_correlations_and_no_rate_of_agreement(self, all_rows: dict[Any, dict[str, Any]]) -> None:
        row = all_rows["STS-B", "distill", 1]
        said = np.array(quality("STS-B", "distill", "dev").logits)[:, 0]
        assert row["primary_score"] == pytest.approx(spearmanr(said, references("STS-B", "dev")).statistic)
        assert row["agreement"]["rate"] is None
        before = np.array(quality("STS-B", "baseline", "dev").logits)[:, 0]
        assert row["agreement"]["max_abs_logit_delta"] == pytest.approx(np.abs(said - before).max())
        assert 0 < row["score_p_value"] <= 1

    def test_retention_plain_and_above_chance(self, all_rows: dict[Any, dict[str, Any]]) -> None:
        row, teacher = all_rows["MRPC", "distill", 1], all_rows["MRPC", "baseline", 1]
        chance = float(np.mean(references("MRPC", "dev") == 1))
        assert row["retention"] == pytest.approx(row["primary_score"] / teacher["primary_score"])
        assert row["retention_above_chance"] == pytest.approx(
            (row["primary_score"] - chance) / (teacher["primary_score"] - chance)
        )
        low, high = row["retention_above_chance_interval"]
        assert low < row["retention_above_chance"] < high
        correlated = all_rows["CoLA", "distill", 1]
        assert correlated["retention_above_chance"] == correlated["retention"]  # chance is 0 for a correlation

    def test_the_baseline_is_not_tested_against_itself(self, all_rows: dict[Any, dict[str, Any]]) -> None:
        row = all_rows["MRPC", "baseline", 1]
        assert (row["retention"], row["retention_above_chance"], row["compression_ratio"]) == (1.0, 1.0, 1.0)
        assert row["score_p_value"] is row["score_p_value_holm"] is row["agreement"] is None
        assert row["retention_above_chance_interval"] is None

    def test_flips_and_mcnemar(self, all_rows: dict[Any, dict[str, Any]]) -> None:
        truth = references("MRPC", "dev")
        before, after = (np.argmax(quality("MRPC", chain, "dev").logits, axis=1) for chain in ("baseline", "distill"))
        lost, won = int(((before == truth) & (after != truth)).sum()), int(((before != truth) & (after == truth)).sum())
        row = all_rows["MRPC", "distill", 1]
        assert (row["agreement"]["flips_to_wrong"], row["agreement"]["flips_to_right"]) == (lost, won)
        assert row["agreement"]["rate"] == pytest.approx(np.mean(before == after))
        assert row["score_p_value"] == pytest.approx(binomtest(lost, lost + won).pvalue)

    def test_holm_is_over_all_rows_of_the_table(self, all_rows: dict[Any, dict[str, Any]]) -> None:
        tested = [row for row in all_rows.values() if row["score_p_value"] is not None]
        assert len(tested) == len(TASKS) * (len(CHAINS) - 1)
        adjusted = holm([row["score_p_value"] for row in tested])
        assert [row["score_p_value_holm"] for row in tested] == pytest.approx(adjusted)

    def test_one_baseline_serves_other_seeds(self) -> None:
        records = fake_run(("CoLA",), ("baseline",)) + fake_run(("CoLA",), ("distill",), seeds=(5,))
        assert rows_of(records)["CoLA", "distill", 5]["retention"] is not None

    def test_without_a_baseline_there_is_nothing_to_retain(self) -> None:
        row = rows_of(fake_run(("CoLA",), ("distill",)))["CoLA", "distill", 1]
        assert row["primary_score"] is not None
        assert (row["retention"], row["speedup"], row["compression_ratio"]) == (None, {}, None)

    def test_other_dev_rows_are_refused(self) -> None:
        records = [
            each
            for each in fake_run(("CoLA",), ("baseline", "distill"))
            if not (isinstance(each, QualityRecord) and "distill" in each.measured_key)
        ]
        shorter = quality("CoLA", "distill", "dev")
        changed = {**vars(shorter), "references": [1 - int(each) for each in shorter.references]}
        with pytest.raises(BadInput, match="answered different dev rows"):
            compared([*records, QualityRecord(**changed)])

    def test_answers_without_references_are_refused(self) -> None:
        record = QualityRecord(
            measured_key=measured_key("CoLA", "distill", 1),
            task="CoLA",
            split="dev",
            logits=[[0.0, 1.0]],
            references=[],
        )
        with pytest.raises(BadInput, match="on CoLA dev has 1 answers to 0 references: measure it again"):
            compared([task_record("CoLA"), cell("CoLA", "distill"), record])


class TestWarnings:
    def test_one_class_for_nearly_every_row(self) -> None:
        truth = references("MRPC", "dev")
        answer = np.ones(len(truth), dtype=int)
        answer[:5] = 0
        row = rows_of([*fake_run(("MRPC",), ("baseline", "distill")), answered("MRPC", "distill", answer)])[
            "MRPC", "distill", 1
        ]
        (warning,) = row["warnings"]
        share = 100 * np.mean(truth == 1)
        assert warning.startswith(
            f"predicts 'equivalent' for 98.8 % of the rows, which {share:.1f} % of the dev rows are"
        )
        assert "accuracy near that is a share, not a skill" in warning

    def test_one_class_for_every_row(self) -> None:
        answer = np.zeros(len(references("MRPC", "dev")), dtype=int)
        row = rows_of([*fake_run(("MRPC",), ("baseline", "distill")), answered("MRPC", "distill", answer)])[
            "MRPC", "distill", 1
        ]
        assert row["warnings"][0].startswith("predicts 'not_equivalent' for every row")

    def test_a_lopsided_task_answered_rightly_is_no_reason_to_warn(self) -> None:
        truth = [1] * 99 + [0]
        record = QualityRecord(
            measured_key=measured_key("MRPC", "distill", 1), task="MRPC", split="dev",
            logits=np.eye(2)[truth].tolist(), references=truth,
        )  # fmt: skip
        row = rows_of([task_record("MRPC"), cell("MRPC", "distill"), record])["MRPC", "distill", 1]
        assert row["warnings"] == []

    def test_a_weak_teacher_is_told_in_each_row(self) -> None:
        constant = np.ones(len(references("MRPC", "dev")), dtype=int)
        share = np.mean(references("MRPC", "dev") == 1)
        rows = rows_of([*fake_run(("MRPC",), ("baseline", "distill")), answered("MRPC", "baseline", constant)])
        for chain in ("baseline", "distill"):
            row = rows["MRPC", chain, 1]
            assert any(
                f"accuracy {share:.3f} is not above the {share:.3f} of a constant" in each for each in row["warnings"]
            )
            assert row["retention_above_chance"] is None
            assert row["retention"] is not None

    def test_a_teacher_below_zero_retains_nothing(self) -> None:
        wrong = 1 - references("CoLA", "dev")
        rows = rows_of([*fake_run(("CoLA",), ("baseline", "distill")), answered("CoLA", "baseline", wrong)])
        assert rows["CoLA", "distill", 1]["retention"] is None
        assert rows["CoLA", "baseline", 1]["retention"] is None

    @pytest.mark.parametrize(("share", "words"), [(0.5, "only 50 % of"), (0.0, "none of")])
    def test_a_quantized_model_that_computes_in_fp32(self, share: float, words: str) -> None:
        record = Int8Record(
            measured_key=measured_key("CoLA", "quant-qdq", 1), runtime="onnxruntime", shape="1x128", gemm_share=share,
            constant_gemm_share=share, leftover_qdq_pairs=48,
            layers={"pooler.dense": 1.0, "classifier": 0.0, "layer.0.output.dense": 0.0, "MatMul_24": 0.0},
        )  # fmt: skip
        row = rows_of([*fake_run(("CoLA",), ("baseline", "quant-qdq")), record])["CoLA", "quant-qdq", 1]
        assert row["int8"]["onnxruntime"]["1x128"] == {
            "gemm_share": share, "constant_gemm_share": share, "leftover_qdq_pairs": 48,
        }  # fmt: skip
        assert row["warnings"][0].startswith(f"{words} the multiply-adds with constant weights run in INT8")
        assert ("classifier, layer.0.output.dense" in row["warnings"][0]) == (share > 0)
        assert "pooler" not in row["warnings"][0]
        assert "MatMul" not in row["warnings"][0]

    def test_int8_shares_are_the_graphs(self) -> None:
        records = [
            each for each in fake_run(("CoLA", "MRPC")) if getattr(each, "measured_key", "") != "MRPC-quant-qdq-1"
        ]
        records.append(cell("MRPC", "quant-qdq"))
        records.append(GraphRecord(measured_key="MRPC-quant-qdq-1", graph_key="bert-qdq-2"))
        row = rows_of(records)["MRPC", "quant-qdq", 1]
        assert row["int8"]["onnxruntime"]["1x128"]["gemm_share"] == 0.96

    def test_fp32_models_have_no_int8(self, all_rows: dict[Any, dict[str, Any]]) -> None:
        assert all_rows["CoLA", "distill", 1]["int8"] is None

    @pytest.mark.parametrize("chain", ["baseline", "distill"])
    def test_answers_that_are_no_numbers_have_no_score(self, chain: str) -> None:
        broken = quality("CoLA", chain, "dev")
        logits = [[math.nan, 1.0], *list(broken.logits)[1:]]
        record = QualityRecord(**{**vars(broken), "logits": logits})
        rows = rows_of([*fake_run(("CoLA",), ("baseline", "distill")), record])
        row = rows["CoLA", chain, 1]
        assert row["scores"] == {}
        assert row["primary_score"] is None
        assert row["warnings"] == ["1 of 400 dev rows are answered with NaN or infinity: no score is given"]
        assert rows["CoLA", "distill", 1]["retention"] is None

    def test_a_failed_cell_is_a_row_of_nulls_that_says_why(self, all_rows: dict[Any, dict[str, Any]]) -> None:
        row = all_rows["MRPC", "quant-qop", 1]
        assert row["warnings"] == ["failed: the export has no weights"]
        empty = {"parameters", "scores", "latency", "speedup", "speedup_over_onnxruntime", "budget"}
        named = {"task", "method", "chain", "seed", "warnings"}
        assert row["parameters"] == {"epochs": 3}
        assert all(row[key] == {} for key in empty - {"parameters"})
        assert all(row[key] is None for key in ROW_KEYS - empty - named)

    def test_the_cells_own_warnings_come_along_once(self) -> None:
        records = [
            task_record("CoLA"),
            cell("CoLA", "distill", warnings=["trained on few rows", "trained on few rows"]),
        ]
        assert rows_of(records)["CoLA", "distill", 1]["warnings"] == ["trained on few rows"]
