"""Slow checks on real GLUE files and a pretrained encoder, named by two environment variables: ``nox -s realdata``."""

import json
import os
from pathlib import Path

import pytest

from compressbench.__main__ import main
from compressbench.tasks.glue import GLUE_TASKS

pytestmark = [pytest.mark.realdata, pytest.mark.timeout(7200)]


def folder_named(variable: str) -> Path:
    return Path(os.environ[variable])


def tasks_there() -> list[str]:
    names = {each.name for each in folder_named("COMPRESSBENCH_GLUE_DIR").iterdir()}
    return [name for name in GLUE_TASKS if name in names]


def test_every_task_that_is_there_runs_to_a_complete_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tasks = tasks_there()
    assert tasks
    code = main([
        "run", "--suite", "glue", "--tasks", ",".join(tasks), "--data-dir", str(folder_named("COMPRESSBENCH_GLUE_DIR")),
        "--teacher", str(folder_named("COMPRESSBENCH_PRETRAINED_DIR")), "--allow-weak-teacher", "--offline",
        "--methods", "finetune:epochs=1:train_rows=320", "--methods", "quant-qdq,quant-dynamic", "--out", "out",
    ])  # fmt: skip
    assert code == 0
    rows = json.loads(Path("out/comparison.json").read_text())["rows"]
    assert [(row["task"], row["chain"]) for row in rows] == [
        (task, chain) for task in tasks for chain in ("baseline", "quant-qdq", "quant-dynamic")
    ]
    for row in rows:
        assert set(row["scores"]) >= set(GLUE_TASKS[row["task"]].metrics)
        if row["chain"] == "quant-qdq":
            assert row["int8"]["onnxruntime"]["1x128"]["constant_gemm_share"] == 1.0


def test_the_shortened_plan_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    plan = Path(__file__).parents[2] / "benchmarks/plans/glue_cola_mrpc.toml"
    code = main([
        "run", "--plan", str(plan), "--data-dir", str(folder_named("COMPRESSBENCH_GLUE_DIR")),
        "--teacher", str(folder_named("COMPRESSBENCH_PRETRAINED_DIR")), "--dry-run",
    ])  # fmt: skip
    assert code == 0
    assert "8 cells" in capsys.readouterr().err
