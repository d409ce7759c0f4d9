"""The main job on one generated task, with a teacher of true BERT-Base geometry and TinyBERT4."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BERT_BASE_PARAMETERS = 109_483_778  # 12 layers, 768, 3072, vocabulary 30,522, pooler, two classes
TINYBERT4_PARAMETERS = 14_350_874
PLAN = """
methods = ["distill", "quant-qdq", "prune"]
tasks = ["synthetic-sentiment"]
shapes = ["1x128"]
"""


@pytest.mark.timeout(3000)  # CPUs without bf16 train three times as long
def test_the_main_job_on_one_task(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "compressbench", "run", "--plan", "plan.toml", "--out", "run",
    ]  # fmt: skip
    (tmp_path / "plan.toml").write_text(PLAN)
    answer = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "COMPRESSBENCH_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert "not GLUE" in answer.stdout
    assert "same graph" in answer.stdout
    rows = {row["method"]: row for row in json.loads((tmp_path / "run/comparison.json").read_text())["rows"]}
    assert list(rows) == ["baseline", "distill", "quant-qdq", "prune"]
    baseline, distilled, quantized, pruned = rows.values()

    assert baseline["parameter_count"] == quantized["parameter_count"] == BERT_BASE_PARAMETERS
    assert distilled["parameter_count"] == TINYBERT4_PARAMETERS
    assert 0.24 < quantized["size_bytes"] / baseline["size_bytes"] < 0.27
    assert pruned["size_bytes"] == baseline["size_bytes"]
    assert pruned["compressed_bytes"] < baseline["compressed_bytes"]
    assert pruned["linear_sparsity"] == pytest.approx(0.2, abs=1e-4)
    assert pruned["latency"]["onnxruntime"]["1x128"]["shared_with"]
    assert quantized["int8"]["onnxruntime"]["1x128"]["constant_gemm_share"] == 1.0
    assert quantized["int8"]["onnxruntime"]["1x128"]["leftover_qdq_pairs"] == 0
    assert quantized["agreement"]["rate"] > 0.95

    # Generated rows: about half are of one class, 6 % of the labels are flipped.
    assert 0.65 < baseline["primary_score"] < 0.96
    assert distilled["retention_above_chance"] > 0.2
    for row in rows.values():
        latency = row["latency"]["onnxruntime"]["1x128"]
        assert latency["samples"] >= 15
        assert latency["processes"] >= 3
        assert row["score_interval"][0] <= row["primary_score"] <= row["score_interval"][1]
    assert pruned["budget"]["epochs"] >= 6
