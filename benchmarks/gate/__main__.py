"""The command line of the gate's own benchmarks; see the package."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import gate
from benchmarks.gate.bank import AGAIN, CONDITIONS, Bank, open_bank, record_bank
from benchmarks.gate.coverage import coverage
from benchmarks.gate.live import confirm, live_markdown
from benchmarks.gate.models import make_base
from benchmarks.gate.overhead import measure_overhead, overhead_markdown
from benchmarks.gate.replay import draw_curve, operating_curve, replay, replay_markdown
from compressbench.environment import usable_cores
from compressbench.errors import BadInput, CompressbenchError
from compressbench.harness.shapes import parse_fixed_shape
from compressbench.models.geometry import parse_student
from compressbench.progress import choose_progress
from compressbench.units import parse_percent

BERT_BASE = "12x768x12x3072"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one part; its Markdown goes to standard output."""
    given = _parser().parse_args(arguments)
    try:
        given.part(given)
    except CompressbenchError as error:
        print(f"benchmarks.gate: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("benchmarks.gate: interrupted; the same command goes on where it was", file=sys.stderr)
        return 130
    return 0


def _bank(given: argparse.Namespace) -> None:
    if given.to.resolve().is_relative_to(Path(__file__).resolve().parents[2]):
        raise BadInput(f"--to {given.to}: a bank is megabytes of records; put it outside the repository")
    given.to.mkdir(parents=True, exist_ok=True)
    bank = record_bank(
        given.to,
        geometry=parse_student(given.geometry),
        shape=parse_fixed_shape(given.shape),
        threads=given.threads,
        processes=given.processes,
        minutes=given.minutes,
        progress=choose_progress(),
    )
    print(_described(bank))


def _replay(given: argparse.Namespace) -> None:
    bank, threshold = open_bank(given.bank), parse_percent(given.threshold, name="--threshold")
    found = replay(bank, decisions=given.decisions, processes=given.processes, threshold=threshold)
    print(_described(bank) + "\n\n" + replay_markdown(found, processes=given.processes, threshold=threshold))
    if given.plot:
        curves = operating_curve(bank, decisions=given.decisions // 4, processes=given.processes, threshold=threshold)
        given.plot.write_text(draw_curve(curves, found, threshold=threshold))


def _live(given: argparse.Namespace) -> None:
    print(live_markdown(confirm(open_bank(given.bank), count=given.count, progress=choose_progress())))


def _coverage(given: argparse.Namespace) -> None:
    print(coverage(open_bank(given.bank), data_sets=given.data_sets))


def _overhead(given: argparse.Namespace) -> None:
    base = make_base(given.to / "models" / "base", parse_student(given.geometry), progress=choose_progress())
    shape = parse_fixed_shape(given.shape)
    overhead = measure_overhead(base, shape=shape, threads=given.threads, blocks=given.blocks)
    print(overhead_markdown(overhead, shape=shape, threads=given.threads, name=given.geometry))


def _described(bank: Bank) -> str:
    environment = bank.settings["environment"]
    geometry = "x".join(str(size) for size in list(bank.settings["geometry"].values())[:4])
    counts = ", ".join(f"{len({each.process for each in bank.records(name, AGAIN)})} {name}" for name in CONDITIONS)
    return (
        f"Bank of {geometry} at {bank.shape}, {bank.threads} threads; processes a side: {counts}; "
        f"{environment['cpu']}, {environment['isa_class']}, onnxruntime {environment['packages']['onnxruntime']}."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gate", description=gate.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(required=True)
    bank = parts.add_parser("bank", help="record rounds; goes on where it was")
    bank.set_defaults(part=_bank)
    bank.add_argument("--to", type=Path, required=True, help="folder outside the repository")
    bank.add_argument("--geometry", default="4x312x12x1200", help="LAYERSxHIDDENxHEADSxFFN; default TinyBERT4's")
    bank.add_argument("--shape", default="1x128")
    bank.add_argument("--threads", type=int, default=usable_cores())
    bank.add_argument("--processes", type=int, default=200, help="most generations a condition")
    bank.add_argument("--minutes", type=float, default=24, help="of recording, both conditions together")
    replayed = parts.add_parser("replay", help="decisions from contiguous blocks of a bank")
    replayed.set_defaults(part=_replay)
    replayed.add_argument("--bank", type=Path, required=True)
    replayed.add_argument("--decisions", type=int, default=1000, help="of each condition and side")
    replayed.add_argument("--processes", type=int, default=18, help="of one decision: as many as `live` gets")
    replayed.add_argument("--threshold", default="5%")
    replayed.add_argument("--plot", type=Path, help="SVG of the operating curve")
    live = parts.add_parser("live", help="calls of gate --live, timed; goes on where it was")
    live.set_defaults(part=_live)
    live.add_argument("--bank", type=Path, required=True)
    live.add_argument("--count", type=int, default=20)
    covered = parts.add_parser("coverage", help="simulated data sets with a bank's noise")
    covered.set_defaults(part=_coverage)
    covered.add_argument("--bank", type=Path, required=True)
    covered.add_argument("--data-sets", type=int, default=2000)
    overhead = parts.add_parser("overhead", help="what measuring adds to the time inside the runtime")
    overhead.set_defaults(part=_overhead)
    overhead.add_argument("--to", type=Path, required=True, help="folder for the model")
    overhead.add_argument("--geometry", default=BERT_BASE)
    overhead.add_argument("--shape", default="1x128")
    overhead.add_argument("--threads", type=int, default=usable_cores())
    overhead.add_argument("--blocks", type=int, default=20)
    return parser


if __name__ == "__main__":
    sys.exit(main())
