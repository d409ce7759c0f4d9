"""What static INT8 answers where sums have 32 bits, on a CPU of any kind: agreement with fp32 on dev sets, and scores.

    python -m benchmarks.int8.answers --teacher CoLA=DIR,MRPC=DIR --tasks CoLA,MRPC --data-dir GLUE

Weights have 8 bits, as for VNNI. The graph runs as it is written: between QuantizeLinear and DequantizeLinear the
products are fp32's, of values that 8-bit codes stand for. A product of two codes and a sum of 3,072 of them fit into
32 bits, so a kernel for VNNI computes the same numbers but for fp32's rounding, and where 16-bit sums saturate (AVX2)
this path does not. QDQ models alone: operators on INT8 tensors are computed by the kernels of the CPU at hand.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.int8 import models
from benchmarks.int8.figures import Agreement, agreements
from benchmarks.int8.report import scores_table
from compressbench.artifacts.store import open_store
from compressbench.errors import CompressbenchError
from compressbench.methods.chain import parse_chain, spell
from compressbench.plan_parts import check_threads
from compressbench.progress import choose_progress
from compressbench.runtimes.onnxruntime import OrtModel, session_options
from compressbench.table import table_markdown
from compressbench.tasks.catalog import task_named
from compressbench.tasks.data import load_task_data
from compressbench.teacher import teacher_sources
from compressbench.workshop import Workshop

METHODS = (models.DEFAULT, models.PER_TENSOR, models.SMOOTHED, models.REPAIRED, models.ATTENTION)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the models, let them answer, print the table; 2 for input that cannot be used."""
    given = _parser().parse_args(arguments)
    try:
        text = answers_markdown(given)
    except CompressbenchError as error:
        print(f"benchmarks.int8.answers: {error}", file=sys.stderr)
        return error.exit_code
    print(text)
    if given.to:
        given.to.write_text(text + "\n")
    return 0


def answers_markdown(given: argparse.Namespace) -> str:
    """The table of all tasks and methods."""
    tasks = [task_named(name, suite=None) for name in given.tasks.split(",")]
    sources = teacher_sources(given.teacher, tasks=tasks, offline=True)
    progress, threads = choose_progress(), check_threads(given.threads)
    workshop = Workshop(store=open_store(), threads=threads, device="cpu", progress=progress)
    found: dict[str, dict[str, Agreement]] = {}
    for task in tasks:
        data = load_task_data(task, data_dir=given.data_dir, offline=True)
        wide = [with_8_bits(name) for name in METHODS]
        rows = models.teacher_rows(sources[task.name], data, workshop=workshop, methods=wide, seed=given.seed)
        found[task.name] = agreements(
            rows, data, open_row=lambda path: open_as_written(path, threads=threads), progress=progress
        )
    return table_markdown(scores_table(found))


def with_8_bits(spelled: str) -> str:
    """The method with weights of 8 bits whatever the CPU, in canonical spelling."""
    return spell(parse_chain(f"{spelled}:reduce_range=false"))


def open_as_written(path: Path, *, threads: int) -> OrtModel:
    """A model none of whose operators are fused or moved, so that no INT8 kernel takes part."""
    from onnxruntime import InferenceSession

    options = session_options(threads=threads, as_written=True)
    return OrtModel(InferenceSession(str(path), options, providers=["CPUExecutionProvider"]), path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.int8.answers", description=__doc__)
    parser.add_argument("--teacher", required=True, help="encoder to fine-tune, or fine-tuned: DIR or TASK=DIR,...")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of GLUE files")
    parser.add_argument("--tasks", default="CoLA,MRPC,RTE,SST-2")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--to", type=Path, help="Markdown file to write too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
