"""The command line of the pruning benchmarks; each prints a Markdown table, and `--to FILE` writes it too.

python -m benchmarks.pruning mask                                    # global masks against torch's, over 85M weights
python -m benchmarks.pruning study [RUN...]                          # the seed study's figures; scores from runs
python -m benchmarks.pruning curve RUN... [--against CHAIN]          # sparsity and score, pooled over seeds
python -m benchmarks.pruning structured [--model DIR]                # speedup of a smaller dense model at 8x128
python -m benchmarks.pruning sensitivity --model DIR --task T --data-dir GLUE
python -m benchmarks.pruning grow --model DIR --folder DIR           # a 6x384 classifier in BERT-Base's shape
python -m benchmarks.pruning control --model DIR --folder DIR        # a grown teacher without what growth added
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from compressbench.environment import usable_cores
from compressbench.errors import CompressbenchError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one benchmark; 2 for input that cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        text, drawing = _run(options)
    except CompressbenchError as error:
        print(f"benchmarks.pruning: {error}", file=sys.stderr)
        return error.exit_code
    print(text)
    if options.to is not None:
        options.to.write_text(text + "\n")
        if drawing:
            options.to.with_suffix(".svg").write_text(drawing)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pruning", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    added = {name: commands.add_parser(name) for name in
             ("mask", "study", "curve", "structured", "sensitivity", "grow", "control")}  # fmt: skip
    for each in added.values():
        each.add_argument("--to", type=Path, help="Markdown file to write too; a plot goes beside it")
        each.add_argument("--threads", type=int, default=usable_cores())
    for name in ("mask", "structured"):
        added[name].add_argument("--rounds", type=int, default=9 if name == "mask" else 15)
    added["mask"].add_argument("--amount", type=float, default=0.2)
    added["study"].add_argument("runs", type=Path, nargs="*")
    added["curve"].add_argument("runs", type=Path, nargs="+")
    added["curve"].add_argument("--against", default="baseline", help="chain that differences are taken from")
    added["curve"].add_argument("--prefix", default="", help="what stands before prune in the chains, such as distill")
    added["structured"].add_argument("--removal", default="heads-0.33-ffn-0.5")
    for name in ("structured", "sensitivity", "grow", "control"):
        added[name].add_argument("--model", type=Path, required=name != "structured", help="classifier folder")
    added["sensitivity"].add_argument("--task", required=True)
    added["sensitivity"].add_argument("--data-dir", type=Path)
    added["sensitivity"].add_argument("--amounts", type=float, nargs="+", default=[0.5, 0.8, 1.0])
    added["sensitivity"].add_argument("--seed", type=int, default=1)
    for name in ("grow", "control"):
        added[name].add_argument("--folder", type=Path, required=True, help="where the other model is written")
    return parser


def _run(options: argparse.Namespace) -> tuple[str, str]:
    """Text, and a drawing or nothing."""
    match options.command:
        case "mask":
            from benchmarks.pruning.mask import mask_table

            return mask_table(rounds=options.rounds, amount=options.amount, threads=options.threads), ""
        case "study":
            from benchmarks.pruning.study import study_table

            return study_table(options.runs, threads=options.threads), ""
        case "curve":
            from benchmarks.pruning.curve import curve_table

            return curve_table(options.runs, against=options.against, prefix=options.prefix)
        case "structured":
            from benchmarks.pruning.structured import structured_table

            return structured_table(
                options.model, removal=options.removal, rounds=options.rounds, threads=options.threads
            ), ""
        case "sensitivity":
            from benchmarks.pruning.sensitivity import sensitivity_table

            return sensitivity_table(
                options.model, task_name=options.task, data_dir=options.data_dir, amounts=options.amounts,
                seed=options.seed, threads=options.threads,
            )  # fmt: skip
        case "grow":
            from benchmarks.pruning.growing import write_grown

            return write_grown(options.model, to=options.folder), ""
        case _:
            from benchmarks.pruning.control import write_control

            return write_control(options.model, to=options.folder), ""


if __name__ == "__main__":
    sys.exit(main())
