"""`compressbench run`: the main job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from compressbench.cli.options import PATH, data_options, latency_options, lock_timeout_s, machine_options, plan_options
from compressbench.errors import BadInput


@click.command()
@click.option("--methods", multiple=True, help="Chains of methods, e.g. distill,distill+prune,quant-qdq; repeatable.")
@click.option("--suite", help="synthetic (default: generated tasks, offline) or glue.")
@click.option("--tasks", help="Tasks of the suite, e.g. CoLA,MRPC; default all.")
@click.option("--task", help="A task TOML of one's own, instead of --suite and --tasks.")
@data_options
@machine_options
@latency_options
@click.option("--plan", "plan_file", type=PATH, help="Options from a file; the command line goes before it.")
@click.option("--out", type=PATH, help="Run folder, new or of the same plan; default reports/<name>.")
@click.option("--name", help="Name of the run folder under reports/; default <suite>-<hash of the plan>.")
@click.option("--seeds", help="Seeds, e.g. 1,2,3; default 1.")
@click.option("--dry-run", is_flag=True, help="Check everything, show what would be done, do nothing.")
@click.option("--fresh", is_flag=True, help="Reuse nothing made or measured for this plan before; delete nothing.")
@click.option("--allow-weak-teacher", is_flag=True, help="Go on with a teacher no better than the majority class.")
def run_command(**values: Any) -> int:
    """Make and measure artifacts, and compare them with BERT-Base.

    \b
    compressbench run --methods distill,quant-qdq,prune
    compressbench run --methods distill,quant-qdq --suite glue --tasks CoLA,MRPC --data-dir GLUE --teacher DIR
    compressbench run --methods quant-qdq --teacher ./my-classifier --train train.csv --validation dev.csv
    """
    from compressbench.plan import resolve
    from compressbench.progress import choose_progress
    from compressbench.run_folder import check_digest

    lock_timeout = lock_timeout_s(values)
    if values["out"] and values["name"]:
        raise BadInput("--out and --name both say where the run goes: give one")
    options = _options(values)
    plan = resolve(options)
    out = values["out"] or Path("reports") / (values["name"] or plan.default_name)
    check_digest(out, plan.digest)
    from compressbench.cli.screen import show_outcome, show_plan

    show_plan(plan, out)
    if values["dry_run"]:
        return 0
    from compressbench.pipeline import run

    progress = choose_progress()
    outcome = run(plan, out=out, progress=progress, fresh=values["fresh"], lock_timeout_s=lock_timeout)
    show_outcome(outcome, progress)
    return outcome.exit_code


def _options(values: dict[str, Any]) -> Any:
    from compressbench.options import Options
    from compressbench.plan_file import read_plan_file

    if values["task"] and not values["task"].endswith(".toml"):
        raise BadInput(f"--task {values['task']} is no task file (FILE.toml); tasks of a suite are named by --tasks")
    from_file = read_plan_file(values["plan_file"]) if values["plan_file"] else {}
    if not values["methods"] and not from_file.get("methods"):
        raise BadInput("--methods is missing: write --methods distill,quant-qdq,prune, or name some in a --plan")
    return replace(Options(**from_file), **plan_options(values, methods=values["methods"]))
