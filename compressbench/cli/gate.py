"""`compressbench gate`: pass, regression or inconclusive; the report is written before the exit code says which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compressbench.cli.options import PATH, data_options, lock_timeout_s, machine_options, split_list
from compressbench.errors import BadInput, UnknownName

if TYPE_CHECKING:
    from compressbench.gate.decision import Outcome
    from compressbench.gate.settings import Settings
    from compressbench.gate.snapshot import RowKey, Snapshot

SHAPES = "1x128,8x128"
"""Of a live call by default: each further shape takes time from the others, and a share of the error."""
FORMATS = ("md", "json", "junit", "benchmark")


@click.command()
@click.argument("sides", nargs=-1, metavar="[BASELINE CURRENT]")
@click.option("--live", is_flag=True, help="BASELINE and CURRENT are artifacts: measure both, interleaved.")
@click.option("--record", type=PATH, metavar="RUN", help="Write what is compared of a run into --to FILE, to commit.")
@click.option("--to", type=PATH, help="Folder for gate.md, .json, .xml and benchmark.json; with --record the file.")
@click.option("--format", "formats", default=",".join(FORMATS), show_default=True, help="Which files --to gets.")
@click.option("--latency-threshold", help="Slowdown that is allowed; default 5%.")
@click.option("--score-threshold", help="Drop of the primary score that is allowed; default 1pt.")
@click.option("--agreement-threshold", help="Share of dev rows that may be answered differently; default 5pt.")
@click.option("--size-threshold", help="Growth of the model's bytes that is allowed; default 1%.")
@click.option("--int8-threshold", "--int8-share-threshold", help="Drop of the INT8 share that is allowed; default 1pt.")
@click.option("--on-inconclusive", type=click.Choice(["fail", "warn"]), help="Exit 3 (fail, default) or 0 (warn).")
@click.option("--config", type=PATH, help="Settings; default: gate.toml of the current folder, if there is one.")
@click.option("--accept", is_flag=True, help="With --record: replace the file even if the run regressed against it.")
@click.option("--budget", help="With --live: time to measure latency, e.g. 50s; default 50s, large models 160s.")
@click.option("--lock-timeout", help="With --live: how long to wait for another measurement here, e.g. 600s.")
@click.option("--task", help="With --live: task that is scored, a name or a task TOML.")
@data_options
@machine_options
@click.option("--file-name", help="With --live: ONNX file to take where a folder holds several.")
@click.option("--tokenizer", type=PATH, help="With --live: folder with tokenizer.json, for a bare ONNX file.")
def gate_command(**values: Any) -> int:
    """Pass or fail against a baseline: exit 0 pass, 1 regression, 2 bad input, 3 inconclusive.

    \b
    compressbench gate --live main/student pr/student --task CoLA --data-dir GLUE
    compressbench gate baseline.json reports/my-run --latency-threshold 5%
    compressbench gate --record reports/my-run --to baseline.json
    """
    from compressbench.gate.decision import decide
    from compressbench.gate.settings import read_settings
    from compressbench.gate.snapshot import read_snapshot
    from compressbench.output import check_folder

    _check_usage(values)
    formats = split_list(values["formats"], option="--format")
    for name in formats:
        if name not in FORMATS:
            raise UnknownName("format", name, FORMATS)
    metrics = ("latency", "score", "agreement", "size", "int8")
    settings = read_settings(
        values["config"],
        given={metric: values[f"{metric}_threshold"] for metric in metrics},
        on_inconclusive=values["on_inconclusive"],
    )
    if values["record"] is not None:
        return _record(values["record"], values["to"], settings, accept=values["accept"])
    if values["to"] is not None:
        check_folder(values["to"])
    if values["live"]:
        baseline, current = _measured(values, settings)
    else:
        baseline, current = (read_snapshot(Path(side)) for side in values["sides"])
    for warning in dict.fromkeys((*baseline.warnings, *current.warnings)):
        click.echo(warning, err=True)
    outcome = decide(baseline, current, settings, live=values["live"])
    _report(outcome, to=values["to"], formats=formats)
    return outcome.exit_code


def _check_usage(values: dict[str, Any]) -> None:
    """Refuse a mixture of the three forms.

    Raises:
        BadInput: With what is missing or too much.
    """
    sides, record, live = values["sides"], values["record"], values["live"]
    if record is not None:
        if sides or live:
            raise BadInput("gate --record RUN --to FILE takes no BASELINE and CURRENT and no --live: drop them")
        if values["to"] is None:
            raise BadInput("--to is missing: name the file that the baseline is written into, --to FILE")
    elif len(sides) != 2:
        raise BadInput(
            f"gate compares two sides and {len(sides)} were given: write `compressbench gate BASELINE CURRENT`, or "
            "`gate --record RUN --to FILE`"
        )
    if values["accept"] and record is None:
        raise BadInput("--accept belongs to --record; a regression is accepted by an [[accept]] entry in gate.toml")
    only_live = ("task", "train", "validation", "data_dir", "shapes", "runtimes", "threads", "budget", "lock_timeout")
    given = [name for name in only_live if values[name] is not None]
    if given and not live:
        raise BadInput(f"--{given[0].replace('_', '-')} says how to measure: it belongs to gate --live")


def _record(run: Path, target: Path, settings: Settings, *, accept: bool) -> int:
    """Write a baseline; one that is there is replaced only by a run that did not regress against it."""
    from compressbench.gate.decision import decide
    from compressbench.gate.recorded import write_recorded
    from compressbench.gate.snapshot import read_snapshot

    snapshot = read_snapshot(run)
    for warning in snapshot.warnings:
        click.echo(warning, err=True)
    if target.exists() and not accept:
        outcome = decide(read_snapshot(target), snapshot, settings)
        if outcome.verdict == "regression":
            _report(outcome, to=None, formats=())
            click.echo(f"{target} stays as it was: {run} regressed against it; --accept records it anyway", err=True)
            return outcome.exit_code
    write_recorded(snapshot, target)
    click.echo(f"{target}: {len(snapshot.rows)} rows of {run}")
    return 0


def _report(outcome: Outcome, *, to: Path | None, formats: tuple[str, ...]) -> None:
    """Everything that is written, before the exit code is known to anybody."""
    from rich.console import Console

    from compressbench.gate.annotations import annotations, runs_in_github, write_step_summary
    from compressbench.gate.files import write_files
    from compressbench.gate.report import print_outcome

    if to is not None:
        for path in write_files(outcome, to, formats):
            click.echo(f"written: {path}", err=True)
    print_outcome(outcome, Console())
    if runs_in_github():
        write_step_summary(outcome)
        for line in annotations(outcome):
            click.echo(line)


def _measured(values: dict[str, Any], settings: Settings) -> tuple[Snapshot, Snapshot]:
    """Both artifacts, measured together."""
    from compressbench.cli.setting import open_setting
    from compressbench.environment import describe_environment
    from compressbench.foreign import open_measurable
    from compressbench.ledger import Ledger
    from compressbench.live_gate import BASELINE, CURRENT, measure_sides, side_of
    from compressbench.measuring import Measuring
    from compressbench.records.log import LOG_NAME, RecordLog
    from compressbench.records.run_folder import ENVIRONMENT_NAME
    from compressbench.units import parse_duration_ns

    lock_timeout = lock_timeout_s(values)
    budget = values["budget"]
    budget_s = None if budget is None else parse_duration_ns(budget, name="--budget") / 1e9
    setting = open_setting(values | {"shapes": values["shapes"] or SHAPES}, models=values["sides"])
    models = [
        open_measurable(
            source,
            task=setting.data.task,
            workshop=setting.workshop,
            offline=values["offline"],
            file_name=values["file_name"],
            tokenizer=values["tokenizer"],
        )
        for source in values["sides"]
    ]
    for split in setting.data.task.dev_splits:
        setting.data.rows(split)
    environment = describe_environment(threads=setting.thread_counts[0])
    log = None
    if values["to"] is not None:
        values["to"].mkdir(parents=True, exist_ok=True)
        (values["to"] / LOG_NAME).unlink(missing_ok=True)  # like the reports: the last call's
        (values["to"] / ENVIRONMENT_NAME).write_text(json.dumps(environment, indent=2) + "\n")
        log = RecordLog(values["to"] / LOG_NAME)
    row = _row(values["sides"][1], setting.data.task.name)
    baseline, current = (
        side_of(name, model, role=role, row=row)
        for name, model, role in zip(values["sides"], models, (BASELINE, CURRENT), strict=True)
    )
    return measure_sides(
        (baseline, current),
        setting.data,
        Measuring(
            ledger=Ledger(log),
            session=1,
            threads=setting.thread_counts,
            shapes=setting.shapes,
            runtimes=setting.options.runtimes,
            progress=setting.progress,
        ),
        environment=environment,
        threshold=settings.thresholds.latency,
        budget_s=budget_s,
        lock_timeout_s=lock_timeout,
    )


def _row(source: str, task: str) -> RowKey:
    """How the pair is called: by the current artifact's chain and seed, or by its file's name if it is foreign."""
    from compressbench.artifacts.artifact import open_artifact
    from compressbench.artifacts.manifest import MANIFEST_NAME
    from compressbench.gate.snapshot import RowKey

    path = Path(source)
    if (path / MANIFEST_NAME).is_file():
        made = open_artifact(path).manifest
        return RowKey(task, made.chain or path.name, made.seed or 0)
    return RowKey(task, path.name, 0)
