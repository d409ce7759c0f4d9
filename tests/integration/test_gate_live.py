"""`gate --live` through the command line on tiny real models: one against itself, one that learned nothing."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from compressbench.__main__ import main
from compressbench.artifacts.store import home
from compressbench.harness.machine_lock import machine_to_itself
from compressbench.progress import Quiet
from tests.conftest import draw_tiny_rows


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported graphs, kept from test to test: an export takes longer than all else here."""
    return tmp_path_factory.mktemp("templates")


@pytest.fixture
def place(tmp_path: Path, templates: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A folder with rows; gives the options that name them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    home().mkdir(exist_ok=True)
    (home() / "export-templates").symlink_to(templates)
    for name, seed in (("train", 0), ("dev", 1)):
        rows = draw_tiny_rows(count=64, seed=seed)
        with Path(f"{name}.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["text", "label"])
            writer.writerows(zip(rows.first, [("bad", "good")[label] for label in rows.labels], strict=True))
    return ["--train", "train.csv", "--validation", "dev.csv", "--shapes", "1x16", "--threads", "1", "--offline"]


def checks() -> dict[str, dict[str, Any]]:
    return {each["label"]: each for each in json.loads(Path("out/gate.json").read_text())["checks"]}


LIVE = ["gate", "--live", "--budget", "1s", "--to", "out", "--latency-threshold", "100%"]
"""The threshold is wide because the machine that runs tests is busy: it is the way that is tested, not the clock."""


def test_a_model_passes_against_itself(place: list[str], tiny_teacher: Path) -> None:
    """Takes seconds: sixteen processes are the least that a live decision rests on."""
    assert main([*LIVE, *place, str(tiny_teacher), str(tiny_teacher)]) == 0
    found = checks()
    assert found["latency 1x16"]["verdict"] == "pass"
    assert found["agreement dev"]["worsening"] == 0
    assert {each["chain"] for each in found.values()} == {tiny_teacher.name}
    records = [json.loads(line) for line in Path("out/records.jsonl").read_text().splitlines()]
    blocks = [each for each in records if each["kind"] == "latency"]
    assert {(each["process"], each["measured_key"].split("-")[0]) for each in blocks} >= {
        (process, side) for process in range(8) for side in ("baseline", "current")
    }
    assert json.loads(Path("out/gate.json").read_text())["live"] is True
    assert main(["report", "out", "--format", "json"]) == 0
    rows = json.loads(Path("out/comparison.json").read_text())["rows"]
    assert [row["chain"] for row in rows] == ["baseline", tiny_teacher.name]
    assert rows[1]["speedup"]["onnxruntime"]["1x16"]["low"] < 1.5


def test_a_model_that_learned_nothing_is_a_regression(
    place: list[str], tiny_teacher: Path, tiny_classifier: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*LIVE, *place, str(tiny_teacher), str(tiny_classifier)]) == 1
    found = checks()
    assert found["Accuracy dev"]["verdict"] == "regression"
    assert found["size"]["verdict"] == "pass"
    assert "gate: regression" in capsys.readouterr().out


def test_a_busy_machine_ends_the_call_after_the_lock_timeout(
    place: list[str], tiny_teacher: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with machine_to_itself(Quiet(), timeout_s=None):
        assert main([*LIVE, *place, "--lock-timeout", "10ms", str(tiny_teacher), str(tiny_teacher)]) == 2
    assert "--lock-timeout" in capsys.readouterr().err
    assert not Path("out/gate.json").exists()
