"""Sessions: `nox` runs the tests; `nox -l` lists what else there is."""

import os
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.sessions = ["tests"]
nox.options.default_venv_backend = "venv"  # plain pip: it finds the CPU build of torch
nox.options.reuse_existing_virtualenvs = True

PROJECT = nox.project.load_toml("pyproject.toml")
LIGHT_BYTES = 250_000_000
REAL_DATA_VARIABLES = ("COMPRESSBENCH_GLUE_DIR", "COMPRESSBENCH_PRETRAINED_DIR")


def install(session: nox.Session, *groups: str) -> None:
    """Install the project and dependency groups of pyproject.toml."""
    session.install("-e", ".", *nox.project.dependency_groups(PROJECT, *groups))


@nox.session
def tests(session: nox.Session) -> None:
    """All tests that need nothing but this checkout; narrow them with `nox -s tests -- -k masks`."""
    install(session, "test")
    # A process a core, each with one thread: tiny models gain nothing from two.
    session.run(
        "pytest", "-m", "not realdata and not gpu",
        "-n", "logical", "--maxprocesses", "8", "--benchmark-disable", *session.posargs,
        env={"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if not session.posargs:  # each once and untimed, so that benchmarks keep running
        session.run("pytest", "benchmarks", "--benchmark-disable", env={"OMP_NUM_THREADS": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff and mypy, both strict."""
    install(session, "lint", "test")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session(default=False)
def realdata(session: nox.Session) -> None:
    """Slow checks on real GLUE files and a pretrained encoder, named by two environment variables."""
    missing = [name for name in REAL_DATA_VARIABLES if not Path(os.environ.get(name, "missing")).is_dir()]
    if missing:
        session.error(f"set {' and '.join(missing)} to a folder of GLUE TSV files and of a pretrained BERT encoder")
    install(session, "test")
    session.run("pytest", "-m", "realdata", *session.posargs)


@nox.session(default=False)
def gpu(session: nox.Session) -> None:
    """Training on a GPU, against the same training without graphs; needs a torch that sees one."""
    install(session, "test")
    session.run("pytest", "-m", "gpu", *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """The suite's own hot paths under pytest-benchmark; figures for people, nothing is asserted about time."""
    install(session, "test")
    session.run("pytest", "benchmarks", "--benchmark-only", *session.posargs)


@nox.session(default=False)
def light(session: nox.Session) -> None:
    """The light installation in an environment of its own: weighed, and its commands run on ONNX artifacts."""
    session.install("-r", "requirements-gate.txt")
    session.install("--no-deps", ".")
    place = session.run(
        "python", "-c", "import click, pathlib; print(pathlib.Path(click.__file__).parents[1])", silent=True
    )
    installed = Path(str(place).strip())
    # Neither what the environment came with nor the byte code that Python writes when it first imports a module.
    mine = (path for path in installed.rglob("*") if path.relative_to(installed).parts[0] not in ("pip", "setuptools"))
    size_bytes = sum(path.stat().st_size for path in mine if path.is_file() and path.suffix != ".pyc")
    session.log(f"installed: {size_bytes / 1e6:.0f} MB of {LIGHT_BYTES / 1e6:.0f}")
    if size_bytes > LIGHT_BYTES:
        session.error("the light installation is heavier than it may be: find out which requirement grew")
    session.run("python", "tests/light_commands.py", *session.posargs)


@nox.session(default=False)
def gate_rates(session: nox.Session) -> None:
    """How often the gate is wrong: `nox -s gate_rates -- bank --to BANK`, then replay, live, coverage, overhead."""
    install(session, "test")
    session.run("python", "-m", "benchmarks.gate", *session.posargs)


@nox.session(default=False)
def augmentation(session: nox.Session) -> None:
    """Augmentation against the authors' loop: `nox -s augmentation -- --mlm DIR --vectors FILE --data-dir GLUE`."""
    install(session)
    session.run("python", "benchmarks/augmentation_speed.py", *session.posargs)


@nox.session(default=False)
def training_speed(session: nox.Session) -> None:
    """Distillation's speed against the authors' loop: `nox -s training_speed -- --data-dir GLUE --teacher DIR`."""
    install(session)
    session.run("python", "-m", "benchmarks.training_speed", *session.posargs)


@nox.session(default=False)
def pruning(session: nox.Session) -> None:
    """Pruning measured: `nox -s pruning -- mask`, `-- study`, `-- structured`, `-- curve RUN`, `-- sensitivity ...`."""
    install(session)
    session.run("python", "-m", "benchmarks.pruning", *(session.posargs or ["mask"]))


@nox.session(default=False)
def int8(session: nox.Session) -> None:
    """INT8 by figures: `nox -s int8 -- --teacher DIR --student DIR --data-dir GLUE --runtimes onnxruntime,openvino`."""
    session.install("-e", ".[openvino]")
    session.run("python", "-m", "benchmarks.int8", *session.posargs)


@nox.session(default=False)
def interop(session: nox.Session) -> None:
    """Artifacts open in optimum-onnx, in its own environment; with --fp32 DIR its own INT8 is measured beside ours."""
    if not session.posargs:
        session.error("name an ONNX artifact folder: nox -s interop -- DIR [--fp32 DIR --task CoLA --data-dir GLUE]")
    artifact, *peers = session.posargs
    session.install(
        "torch>=2.8,<2.14", "optimum-onnx[onnxruntime]>=0.1", "datasets", "huggingface-hub<1.0",
        "-r", "requirements-gate.txt",
    )  # fmt: skip
    session.install("--no-deps", "-e", ".")  # `measure` needs nothing else on ONNX artifacts
    session.run("python", "benchmarks/open_elsewhere.py", artifact)
    if peers:
        session.run("python", "-m", "benchmarks.optimum_peers", artifact, *peers)
