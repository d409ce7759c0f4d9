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
from functools import partial
from pathlib import Path

from benchmarks.int8 import models
from benchmarks.int8.figures import Agreement, agreements
from benchmarks.int8.report import scores_table
from benchmarks.int8.setting import add_options, setting_of
from compressbench.errors import CompressbenchError
from compressbench.methods.chain import parse_chain, spell, split_methods
from compressbench.runtimes.onnxruntime import OrtModel, session_options
from compressbench.table import table_markdown

METHODS = (
    models.DEFAULT, models.UNSPLIT, models.PER_TENSOR, models.SMOOTHED, models.REPAIRED, models.ATTENTION,
)  # fmt: skip


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
    setting = setting_of(given)
    methods = split_methods([given.methods]) if given.methods else METHODS
    found: dict[str, dict[str, Agreement]] = {}
    for data in setting.data:
        name, wide = data.task.name, [with_8_bits(each) for each in methods]
        rows = models.teacher_rows(
            setting.sources[name], data, workshop=setting.workshop, methods=wide, seed=given.seed
        )
        found[name] = agreements(
            rows, data, open_row=partial(open_as_written, threads=setting.threads), progress=setting.progress
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
    add_options(parser)
    parser.add_argument("--methods", help="methods instead of the usual ones")
    parser.add_argument("--to", type=Path, help="Markdown file to write too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
