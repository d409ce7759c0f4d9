"""A pytest fixture that runs the gate: ``compressbench_gate("main/student", "new/student", task="CoLA")``.

Loaded by pytest through the entry point ``pytest11`` wherever this package is installed, so it imports little at first.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

GateCall = Callable[..., dict[str, Any]]


@pytest.fixture
def compressbench_gate(tmp_path: Path) -> GateCall:
    """Calls `compressbench gate` and fails the test on what would fail the command.

    The call takes the baseline and the current side, and the command's options as keywords: ``task="CoLA"``,
    ``data_dir="GLUE"``, ``latency_threshold="5%"``, ``on_inconclusive="warn"``. Two artifacts are measured here and
    now, interleaved (``--live``); where a side is a run's folder or a recorded baseline (``.json``), records are
    compared. It returns what `gate.json` holds.
    """

    def gate(baseline: str | Path, current: str | Path, **options: str | int | bool | Path) -> dict[str, Any]:
        report = tmp_path / "compressbench-gate"
        arguments = [sys.executable, "-m", "compressbench", "gate", str(baseline), str(current), "--to", str(report)]
        if not any(map(_holds_records, (Path(baseline), Path(current)))):
            arguments.append("--live")
        for name, value in options.items():
            option = f"--{name.replace('_', '-')}"
            arguments += [option] if value is True else [option, str(value)]
        answer = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            told = answer.stderr if answer.returncode == 2 else answer.stdout
            pytest.fail(f"compressbench gate ended with {answer.returncode}\n{told}", pytrace=False)
        found: dict[str, Any] = json.loads((report / "gate.json").read_text())
        return found

    return gate


def _holds_records(side: Path) -> bool:
    """Whether a side was measured before: a recorded baseline, or a run's folder."""
    return side.suffix == ".json" or (side / "records.jsonl").is_file()
