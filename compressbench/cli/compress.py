"""`compressbench compress`: one artifact, nothing measured."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click

from compressbench.cli.options import PATH, data_options, machine_options


@click.command()
@click.argument("chain")
@click.option("--task", help="Task whose training rows are used: a name, or a task TOML.")
@data_options
@machine_options
@click.option("--source", help="Artifact or classifier folder that the first method compresses; default: the teacher.")
@click.option("--seeds", help="The seed; default 1.")
@click.option("--to", type=PATH, required=True, help="New or empty folder for the artifact.")
def compress_command(**values: Any) -> int:
    r"""Make one artifact and measure nothing.

    \b
    compressbench compress distill+quant-qdq --task CoLA --data-dir GLUE --teacher DIR --to student
    """
    from compressbench.cli.setting import check_empty, open_setting
    from compressbench.errors import BadInput
    from compressbench.foreign import open_model
    from compressbench.methods.chain import parse_chain
    from compressbench.methods.method import Method
    from compressbench.models.geometry import Geometry
    from compressbench.plan_parts import check_geometries
    from compressbench.registry import method_named
    from compressbench.teacher import fitting_teacher, inspect_teacher, teacher_sources

    chain = parse_chain(values["chain"])
    target: Path = values["to"]
    check_empty(target)
    own_labels = None
    if values["train"] and values["teacher"]:
        own_labels = inspect_teacher(values["teacher"], offline=values["offline"]).labels
    setting = open_setting(values, label_names=own_labels)
    task, workshop = setting.data.task, setting.workshop
    seeds = setting.options.seeds
    if len(seeds) != 1:
        raise BadInput(f"--seeds {values['seeds']}: one artifact has one seed")
    finetune: Method = method_named("finetune")()
    teacher_source = (
        None
        if values["source"]
        else teacher_sources(values["teacher"], tasks=[task], offline=values["offline"])[task.name]
    )
    if teacher_source is None:
        source = open_model(values["source"], task=task, workshop=workshop, offline=values["offline"])
        if source.format not in chain[0].consumes:
            raise BadInput(
                f"--source {values['source']} is {source.format}; {chain[0].name} takes "
                f"{' or '.join(sorted(chain[0].consumes))}"
            )
        check_geometries(chain, Geometry(**source.manifest.geometry))
        teacher = source
        if values["teacher"]:
            given = fitting_teacher(inspect_teacher(values["teacher"], offline=values["offline"]), task)
            teacher = workshop.teacher(given, setting.data, finetune=finetune, seed=seeds[0])
    else:
        check_geometries(chain, teacher_source.geometry)
        if chain[0].name == "finetune":
            source = teacher = workshop.source_model(teacher_source)
        else:
            source = teacher = workshop.teacher(teacher_source, setting.data, finetune=finetune, seed=seeds[0])
    artifact = workshop.chain(chain, setting.data, source=source, teacher=teacher, seed=seeds[0])
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(artifact.path, partial)
    if target.exists():
        target.rmdir()
    partial.rename(target)
    click.echo(f"{target}: {artifact.manifest.chain} on {task.name}, {artifact.format}, key {artifact.key}")
    return 0
