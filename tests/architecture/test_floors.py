"""A module imports only from lower floors, and the light commands import nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "compressbench"
FLOORS = (
    {"errors"},
    {"units", "stats", "registry", "environment", "memory", "output", "progress", "table", "targets"},
    {"artifacts", "records", "numerics"},
    {"models", "tasks", "corpus", "runtimes"},
    {"prediction", "scoring"},
    {"methods", "harness", "reporting", "gate"},
    {"options", "teacher", "plan_parts", "plan", "plan_file"},
    {
        "ledger",
        "encodings",
        "measuring",
        "measurement",
        "workshop",
        "run_folder",
        "pipeline",
        "foreign",
        "foreign_source",
        "noise",
        "live_gate",
    },
    {"cli", "pytest_gate"},
)
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
NEVER_EACH_OTHER = {"methods", "harness", "reporting", "gate"}
HEAVY = ("torch", "transformers", "datasets", "evaluate", "pandas", "onnx", "onnxruntime", "scipy")


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    """The parts of the package that a module imports, wherever in the module the import stands."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        parts |= {name.split(".")[1] for name in names if name.startswith("compressbench.")}
    return parts - {"__version__"}


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if part_of(path) not in ("__init__", "__main__"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_stands_on_lower_floors(path: Path) -> None:
    part = part_of(path)
    assert part in FLOOR_OF, f"{part} has no floor: give it one here and in docs/architecture.md"
    for other in imported_parts(path) - {part}:
        assert FLOOR_OF[other] <= FLOOR_OF[part], f"{path} imports {other} from a higher floor"
        assert not (part in NEVER_EACH_OTHER and other in NEVER_EACH_OTHER), f"{path} imports {other}"


@pytest.mark.parametrize(
    "code",
    [
        "import compressbench",
        "from compressbench.__main__ import main; main(['--help'])",
        "from compressbench.__main__ import main; assert main(['run', '--methods', 'distil']) == 2",
        "from compressbench.__main__ import main; main(['methods'])",
        "from compressbench.__main__ import main; main(['tasks'])",
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    check = f"{code}\nimport sys\nprint(','.join(sorted(set(sys.modules) & {set(HEAVY)!r})))"
    answer = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize("module", ["compressbench.plan", "compressbench.measuring", "compressbench.reporting.console"])
def test_measuring_and_reporting_need_no_training_library(module: str) -> None:
    check = f"import {module}, sys\nprint(','.join(sorted(set(sys.modules) & {{'torch', 'transformers', 'datasets'}})))"
    answer = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""
