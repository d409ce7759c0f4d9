import json
from pathlib import Path

import pytest
from fake_run import fake_run

from compressbench.errors import BadInput
from compressbench.records.log import LOG_NAME, RecordLog
from compressbench.records.run_folder import ENVIRONMENT_NAME, PLAN_NAME, read_run
from compressbench.reporting.comparison import comparison


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    log = RecordLog(tmp_path / LOG_NAME)
    for record in fake_run(("CoLA",), ("baseline", "quant-qdq")):
        log.append(record)
    (tmp_path / ENVIRONMENT_NAME).write_text(json.dumps({"cpu": "a CPU"}))
    return tmp_path


def test_a_run_that_was_read_reports_like_one_in_memory(run_folder: Path) -> None:
    run = read_run(run_folder)
    assert run.warnings == []
    assert run.environment == {"cpu": "a CPU"}
    options = {"environment": run.environment, "folder": run_folder}
    in_memory = comparison(fake_run(("CoLA",), ("baseline", "quant-qdq")), **options)
    assert comparison(run.records, **options) == in_memory


def test_a_run_that_was_stopped_says_which_rows_have_no_record(run_folder: Path) -> None:
    plan = 'methods = ["finetune:epochs=1", "quant-qdq", "prune+quant-qdq"]\nseeds = [1]\ntasks = ["CoLA", "MRPC"]\n'
    (run_folder / PLAN_NAME).write_text(plan)
    (warning,) = read_run(run_folder).warnings
    assert warning.startswith(
        f"{run_folder} is not finished: CoLA/prune+quant-qdq (seed 1), MRPC/baseline (seed 1), "
        f"MRPC/prune+quant-qdq (seed 1) and 1 more have no row yet; `compressbench run --plan {run_folder}/plan.toml"
    )
    (run_folder / PLAN_NAME).write_text('methods = ["quant-qdq"]\nseeds = [1]\n')  # own rows name no task
    assert read_run(run_folder).warnings == []


def test_a_cut_last_line_is_a_warning_and_the_rest_is_used(run_folder: Path) -> None:
    path = run_folder / LOG_NAME
    path.write_bytes(path.read_bytes()[:-30])
    run = read_run(run_folder)
    assert len(run.records) == len(fake_run(("CoLA",), ("baseline", "quant-qdq"))) - 1
    assert "is cut short" in run.warnings[0]


def test_a_missing_environment_is_a_warning(run_folder: Path) -> None:
    (run_folder / ENVIRONMENT_NAME).unlink()
    run = read_run(run_folder)
    assert run.environment == {}
    assert run.warnings == [
        f"{run_folder / ENVIRONMENT_NAME} is missing, so nobody can say what machine these figures are of"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is not readable JSON .*: restore it, or delete it"), ("[]", "holds no JSON object: restore it")],
)
def test_a_damaged_environment_is_refused(run_folder: Path, text: str, message: str) -> None:
    (run_folder / ENVIRONMENT_NAME).write_text(text)
    with pytest.raises(BadInput, match=message):
        read_run(run_folder)


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"absent is no folder: give the folder of a run"):
        read_run(tmp_path / "absent")
    with pytest.raises(BadInput, match=r"is no run: it holds no records\.jsonl"):
        read_run(tmp_path)
    (tmp_path / LOG_NAME).touch()
    with pytest.raises(BadInput, match=r"records\.jsonl holds no record: run the plan again"):
        read_run(tmp_path)
