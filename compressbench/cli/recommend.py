"""`compressbench recommend`: which artifact of a run to take, and why not the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from compressbench.cli.options import PATH

if TYPE_CHECKING:
    from compressbench.reporting.recommendation import Candidate, Limits
    from compressbench.table import Table


@click.command()
@click.argument("run", type=PATH)
@click.option("--max-latency", help="Median latency at most, with its unit: 20ms.")
@click.option("--min-retention", help="Share of the teacher's score at least: 99%.")
@click.option("--max-size", help="Size of the model files at most: 60MiB.")
@click.option("--runtime", default="onnxruntime", show_default=True, help="Runtime whose latency counts.")
@click.option("--shape", default="1x128", show_default=True, help="Shape whose latency counts, batch x tokens.")
def recommend_command(
    *, run: Path, max_latency: str | None, min_retention: str | None, max_size: str | None, runtime: str, shape: str
) -> int:
    """Choose an artifact of a run, and say why; exit 1 where no row of some task keeps to the limits.

    \b
    compressbench recommend reports/my-run --max-latency 20ms --min-retention 99%
    """
    from rich.console import Console

    from compressbench.records.run_folder import read_run
    from compressbench.reporting.recommendation import Limits, reason, recommend
    from compressbench.table import print_notes, print_table
    from compressbench.units import parse_duration_ns, parse_percent, parse_size_bytes

    limits = Limits(
        max_latency_ns=None if max_latency is None else parse_duration_ns(max_latency, name="--max-latency"),
        min_retention=None if min_retention is None else parse_percent(min_retention, name="--min-retention"),
        max_size_bytes=None if max_size is None else parse_size_bytes(max_size, name="--max-size"),
        runtime=runtime,
        shape=shape,
    )
    read = read_run(run)
    console = Console(highlight=False)
    none_fits = False
    for task, candidates in recommend(read, limits).items():
        best = candidates[0]
        none_fits |= bool(best.misses)
        told = "nothing" if best.misses else f"{best.name} ({best.artifact_path})"
        console.print(f"{task}: take {told}: {reason(candidates)}", markup=False, soft_wrap=True)
        print_table(_table(candidates, limits), console)
        print_notes([f"{each.name} {miss}." for each in candidates for miss in each.misses], console)
        print_notes([f"{each.name}: {doubt}." for each in candidates for doubt in each.doubts], console)
        print_notes([] if best.misses else [f"{best.name}: {warning}" for warning in best.warnings], console)
    for warning in read.warnings:
        click.echo(warning, err=True)
    return int(none_fits)


def _table(candidates: list[Candidate], limits: Limits) -> Table:
    """Candidates with what the limits are about."""
    from compressbench.reporting.cells import NONE
    from compressbench.table import Table
    from compressbench.units import format_mib, format_milliseconds, format_percent

    rows = []
    for each in candidates:
        interval = each.retention_interval
        shown = "" if interval is None else f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
        rows.append(
            [
                each.name,
                format_milliseconds(each.latency_ns),
                NONE if each.retention is None else format_percent(each.retention) + shown,
                NONE if each.size_bytes is None else format_mib(each.size_bytes),
                ", ".join(map(str, each.seeds)),
                "excluded" if each.misses else "fits, in doubt" if each.doubts else "fits",
            ]
        )
    columns = ["Model", f"{limits.shape} (ms)", "Retention [95\u00a0%]", "Size (MiB)", "Seeds", "Limits"]
    return Table(title=f"{candidates[0].task}, latency in {limits.runtime}", columns=columns, rows=rows)
