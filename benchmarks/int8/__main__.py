"""The command line of the INT8 benchmark; see the package."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.int8 import models
from benchmarks.int8.figures import Agreement, agreements, speedups
from benchmarks.int8.operators import operator_table
from benchmarks.int8.report import Found, report
from benchmarks.int8.setting import add_options, setting_of
from benchmarks.int8.targets import NNCF, OPENVINO
from compressbench.environment import describe_environment, has_vnni
from compressbench.errors import BadInput, CompressbenchError
from compressbench.harness.int8_check import check_int8
from compressbench.harness.shapes import parse_fixed_shape
from compressbench.methods.chain import split_methods
from compressbench.models.onnx_graph import model_files
from compressbench.registry import all_methods
from compressbench.runtimes.catalog import check_runtime
from compressbench.runtimes.onnxruntime import open_model
from compressbench.tasks.data import TaskData
from compressbench.workshop import Workshop

RESULT = Path(__file__).parents[1] / "results/int8.md"
NOT_TIMED = frozenset({models.PER_TENSOR})
"""Rows whose size and answers alone are of interest."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the models, measure them, write the report, and print it."""
    given = _parser().parse_args(arguments)
    try:
        text = measure(given)
    except CompressbenchError as error:
        print(f"benchmarks.int8: {error}", file=sys.stderr)
        return error.exit_code
    given.to.write_text(text)
    print(text)
    return 0


def measure(given: argparse.Namespace) -> str:
    """The report as Markdown."""
    runtimes = [check_runtime(name).name for name in given.runtimes.split(",")]
    shapes = [parse_fixed_shape(text) for text in given.shapes.split(",")]
    if given.rounds < 1:
        raise BadInput(f"--rounds {given.rounds}: give 15, or 1 at least")
    setting = setting_of(given)
    workshop, threads, progress = setting.workshop, setting.threads, setting.progress
    methods = split_methods([given.methods]) if given.methods else _default_methods(runtimes)
    answers: dict[str, dict[str, Agreement]] = {}
    timed: list[models.Row] = []
    for each in setting.data:
        source = setting.sources[each.task.name]
        rows = models.teacher_rows(source, each, workshop=workshop, methods=methods, seed=given.seed)
        answers[each.task.name] = agreements(
            rows, each, open_row=partial(open_model, threads=threads), progress=progress
        )
        timed = timed or rows  # one task's models stand for all: their graphs are the same
    if given.student:
        timed += _student_rows(given.student, setting.data[0], workshop, methods, given.seed)
    sizes = {row.name: sum(path.stat().st_size for path in model_files(row.model.onnx_path)) for row in timed}
    timed = [row for row in timed if row.name not in NOT_TIMED]
    with tempfile.TemporaryDirectory() as folder:
        plain = models.plain_row(timed[0], folder=Path(folder))
        found_ratios, medians = speedups(
            [*timed, *([plain] if plain else [])], baseline=models.BASELINE, runtimes=runtimes, shapes=shapes,
            threads=threads, rounds=given.rounds, progress=progress,
        )  # fmt: skip
    int8 = [
        (row.name, record)
        for row in timed
        for runtime in runtimes
        for shape in shapes
        if (record := check_int8(row.model.onnx_path, shape=shape, measured_key=row.model.key, runtime=runtime))
    ]
    profiles = [
        operator_table(row.name, row.model.onnx_path, shape, threads=threads)
        for row in (timed if given.profile else ())
        if row.name in (models.BASELINE, models.DEFAULT, models.ATTENTION)
        for shape in shapes
    ]
    found = Found(
        environment=describe_environment(threads=threads), has_vnni=has_vnni(), rounds=given.rounds,
        speedups=found_ratios, medians_ns=medians, sizes_bytes=sizes, int8=int8, agreements=answers,
    )  # fmt: skip
    return report(found, profiles=profiles)


def _default_methods(runtimes: Sequence[str]) -> list[str]:
    with_nncf = [NNCF] if NNCF in all_methods() and OPENVINO in runtimes else []
    return [*models.METHODS, *with_nncf]


def _student_rows(
    folder: Path, data: TaskData, workshop: Workshop, methods: Sequence[str], seed: int
) -> list[models.Row]:
    wanted = [name for name in methods if name in (*models.STUDENT_METHODS, NNCF)]
    return models.student_rows(folder, data, workshop=workshop, methods=wanted, seed=seed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.int8", description=__doc__)
    add_options(parser)
    parser.add_argument("--student", type=Path, help="distilled classifier of the first task, timed beside the teacher")
    parser.add_argument("--methods", help="methods instead of the usual ones")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--runtimes", default="onnxruntime", help="the first one holds the baseline")
    parser.add_argument("--shapes", default="1x128,8x128")
    parser.add_argument("--profile", action="store_true", help="add each operator's share of the time")
    parser.add_argument("--to", type=Path, default=RESULT, help="Markdown file to write")
    return parser


if __name__ == "__main__":
    sys.exit(main())
