"""`compressbench report` and `compressbench compare`: from records alone."""

from __future__ import annotations

from pathlib import Path

import click

from compressbench.cli.options import PATH, split_list

FORMATS = ("md", "html", "csv", "json", "tex")
REFERENCES = ("seed", "paper")


@click.command()
@click.argument("runs", nargs=-1, required=True, type=PATH)
@click.option("--format", "formats", default="md", show_default=True, help=f"Formats: {','.join(FORMATS)}.")
@click.option("--reference", help="Published figures beside the measured ones: seed, paper, or seed,paper.")
@click.option("--to", type=PATH, help="Folder to write into; default: each run's own.")
def report_command(*, runs: tuple[Path, ...], formats: str, reference: str | None, to: Path | None) -> int:
    """Write the tables of finished runs again, in other formats too."""
    from rich.console import Console

    from compressbench.errors import UnknownName
    from compressbench.records.run_folder import read_run
    from compressbench.records.run_index import index_records
    from compressbench.reporting.comparison import comparison
    from compressbench.reporting.console import print_comparison
    from compressbench.reporting.writers import write_reports

    wanted = split_list(formats, option="--format")
    references = split_list(reference, option="--reference") if reference else ()
    for kind, names, known in (("format", wanted, FORMATS), ("reference", references, REFERENCES)):
        for name in names:
            if name not in known:
                raise UnknownName(kind, name, known)
    folders = _folders(runs, to)
    read = [read_run(folder) for folder in runs]
    for run, folder in zip(read, folders, strict=True):
        result = comparison(run.records, environment=run.environment, folder=folder)
        curves = list(index_records(run.records).curves.values())
        write_reports(result, folder, wanted, references=references, curves=curves)
        print_comparison(result, Console(), references=references)
        for warning in run.warnings:
            click.echo(warning, err=True)
        click.echo(f"written: {', '.join(str(folder / f'comparison.{each}') for each in wanted)}", err=True)
    return 0


def _folders(runs: tuple[Path, ...], to: Path | None) -> list[Path]:
    """Where each run's reports go.

    Raises:
        BadInput: If nothing can be written there, or two runs would go into one folder.
    """
    from compressbench.errors import BadInput
    from compressbench.output import check_folder

    if to is None:
        return list(runs)
    check_folder(to)
    if len(runs) == 1:
        return [to]
    sources: dict[str, Path] = {}
    for run in runs:
        name = run.resolve().name if run.name in ("", "..") else run.name
        if name in sources:
            raise BadInput(
                f"--to {to}: {sources[name]} and {run} would both be written into {to / name}: "
                "give them apart, each with a --to of its own"
            )
        sources[name] = run
    return [to / name for name in sources]


@click.command()
@click.argument("run_a", type=PATH)
@click.argument("run_b", type=PATH)
@click.option("--margin", help="Score drop up to which RUN_B counts as not worse, with its unit: 1pt.")
def compare_command(*, run_a: Path, run_b: Path, margin: str | None) -> int:
    """Compare two runs, row by row: paired score differences with intervals, sizes, latencies."""
    from rich.console import Console

    from compressbench.records.run_folder import read_run
    from compressbench.reporting.compare import compare_runs, print_run_comparison
    from compressbench.units import parse_points

    runs = [read_run(folder) for folder in (run_a, run_b)]
    points = None if margin is None else parse_points(margin, name="--margin")
    print_run_comparison(compare_runs(*runs, margin=points), Console())
    for warning in (warning for run in runs for warning in run.warnings):
        click.echo(warning, err=True)
    return 0
