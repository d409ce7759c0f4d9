"""What a gate in CI runs works where nothing that trains is installed."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "light_commands.py"


def test_commands_on_onnx_artifacts_need_nothing_that_trains() -> None:
    answer = subprocess.run([sys.executable, SCRIPT, "--block"], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    told = [line for line in answer.stdout.splitlines() if line.startswith("light: ")]
    assert told[-1] == "light: loaded of what is left out: nothing"
    assert "light: a PyTorch folder: exit 2" in told
    assert (
        "compressbench: this needs transformers, which the light installation leaves out: "
        "install all of it by `pip install .`, or give an ONNX artifact\n"
    ) in answer.stderr
    assert "Traceback" not in answer.stderr


def test_the_light_requirements_are_part_of_the_full_ones() -> None:
    import tomllib

    root = Path(__file__).parents[2]
    full = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    light = [line for line in (root / "requirements-gate.txt").read_text().splitlines() if not line.startswith("#")]
    assert light
    assert set(light) <= set(full)
