"""What users' CI copies: the action's script is run, the workflow fits the action, and the fixture fails tests."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_run import fake_run

from compressbench.cli.gate import gate_command
from compressbench.records.log import RecordLog

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STUB = '#!/bin/sh\nprintf "%s\\n" "$@" > "$RUNNER_TEMP/arguments"\nexit "$STUB_CODE"\n'


def steps() -> Iterator[dict[str, Any]]:
    yield from ACTION["runs"]["steps"]


@pytest.mark.parametrize(("code", "verdict"), [(0, "pass"), (1, "regression"), (3, "inconclusive"), (2, "error")])
def test_the_actions_script_calls_the_gate_and_says_what_came_of_it(tmp_path: Path, code: int, verdict: str) -> None:
    (step,) = (each for each in steps() if each.get("id") == "gate")
    binary = tmp_path / "compressbench/bin/compressbench"
    binary.parent.mkdir(parents=True)
    binary.write_text(STUB)
    binary.chmod(0o755)
    given = {
        "BASELINE": "base line; touch harmed", "CURRENT": "$(touch harmed)", "ON_INCONCLUSIVE": "warn",
        "ARGUMENTS": "--task CoLA --latency-threshold 5%", "REPORT": "report",
    }  # fmt: skip
    assert set(step["env"]) == set(given)
    environment = {**os.environ, **given, "RUNNER_TEMP": str(tmp_path), "STUB_CODE": str(code)}
    environment["GITHUB_OUTPUT"] = str(tmp_path / "output")
    answer = subprocess.run(["bash", "-e", "-c", step["run"]], cwd=tmp_path, env=environment, check=False)
    assert answer.returncode == code
    assert (tmp_path / "output").read_text() == f"verdict={verdict}\n"
    assert (tmp_path / "arguments").read_text().splitlines() == [
        "gate", "--live", "base line; touch harmed", "$(touch harmed)", "--to", "report", "--on-inconclusive", "warn",
        "--task", "CoLA", "--latency-threshold", "5%",
    ]  # fmt: skip
    assert not (tmp_path / "harmed").exists()
    known = {option for parameter in gate_command.params for option in parameter.opts}
    assert {"--live", "--to", "--on-inconclusive", "--task", "--latency-threshold"} <= known


def test_inputs_reach_no_script_as_text() -> None:
    for step in steps():
        assert "${{" not in step.get("run", "")
    used = {word for step in steps() for word in json.dumps(step).split() if word.startswith("inputs.")}
    assert {f"inputs.{name}" for name in ACTION["inputs"]} == used


def test_the_workflow_fits_the_action() -> None:
    workflow = yaml.safe_load((ROOT / "docs/ci/compressbench-gate.yml").read_text())
    (step,) = (each for each in workflow["jobs"]["gate"]["steps"] if "compressbench@" in each.get("uses", ""))
    needed = {name for name, each in ACTION["inputs"].items() if each.get("required")}
    assert needed <= set(step["with"]) <= set(ACTION["inputs"])
    assert workflow["permissions"] == {"contents": "read"}
    known = {option for parameter in gate_command.params for option in parameter.opts}
    assert {word for word in step["with"]["arguments"].split() if word.startswith("--")} <= known


def test_the_fixture_comes_with_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module = project["entry-points"]["pytest11"]["compressbench"]
    assert hasattr(import_module(module), "compressbench_gate")


TESTS = """
def test_same(compressbench_gate):
    found = compressbench_gate("run", "run", size_threshold="1%")
    assert found["verdict"] == "pass"
    assert len(found["checks"]) >= 4

def test_larger(compressbench_gate):
    compressbench_gate("run", "larger")

def test_bad(compressbench_gate):
    compressbench_gate("run", "run", size_threshold="1")
"""


def test_the_fixture_passes_and_fails_tests(tmp_path: Path) -> None:
    for name, factor in (("run", 1), ("larger", 2)):
        (tmp_path / name).mkdir()
        log = RecordLog(tmp_path / name / "records.jsonl")
        for record in fake_run(("MRPC",), ("baseline", "distill")):
            if record.kind == "size" and "distill" in record.measured_key:  # type: ignore[union-attr]
                record = type(record)(**{**vars(record), "size_bytes": record.size_bytes * factor})  # type: ignore[union-attr]
            log.append(record)
        (tmp_path / name / "environment.json").write_text("{}")
    (tmp_path / "test_gate.py").write_text(TESTS)
    plugin = ["-p", "no:compressbench", "-p", "compressbench.pytest_gate", "-p", "no:cacheprovider"]
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugin, "--rootdir", ".", "test_gate.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "2 failed, 1 passed" in answer.stdout, answer.stdout + answer.stderr
    assert "compressbench gate ended with 1" in answer.stdout
    assert "regression" in answer.stdout
    assert "--size-threshold '1' has no unit" in answer.stdout
