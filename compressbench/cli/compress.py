"""`compressbench compress`: one artifact, nothing measured."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compressbench.cli.options import PATH, data_options, machine_options, plan_options
from compressbench.progress import choose_progress

if TYPE_CHECKING:
    from compressbench.artifacts.artifact import Artifact
    from compressbench.cli.setting import Setting
    from compressbench.methods.chain import Chain
    from compressbench.teacher import TeacherSource


@click.command()
@click.argument("chain")
@click.option("--task", help="Task whose training rows are used: a name, or a task TOML.")
@data_options
@machine_options
@click.option(
    "--source",
    help="Artifact, classifier folder or fp32 ONNX file that the first method compresses; default: the teacher.",
)
@click.option("--seeds", help="The seed; default 1.")
@click.option("--ingredient", help="Make only this ingredient of the method, such as distill's general student.")
@click.option("--to", type=PATH, required=True, help="New or empty folder for the artifact.")
def compress_command(**values: Any) -> int:
    """Make one artifact and measure nothing.

    \b
    compressbench compress distill+quant-qdq --task CoLA --data-dir GLUE --teacher DIR --to student
    compressbench compress distill:corpus=wiki.txt --ingredient general --teacher DIR --to general-student
    """
    from compressbench.cli.setting import open_setting
    from compressbench.errors import BadInput
    from compressbench.methods.chain import parse_chain
    from compressbench.output import check_empty
    from compressbench.plan_parts import check_rows

    chain = parse_chain(values["chain"])
    check_empty(values["to"])
    if values["ingredient"]:
        return _make_ingredient(chain, values)
    setting = open_setting(values, models=[each for each in (values["source"], values["teacher"]) if each])
    seeds = setting.options.seeds
    if len(seeds) != 1:
        raise BadInput(f"--seeds {values['seeds']}: one artifact has one seed")
    check_rows(chain, setting.data)
    source, teacher, pretrained = _source_and_teacher(chain, setting, values, seed=seeds[0])
    artifact = setting.workshop.chain(
        chain, setting.data, source=source, teacher=teacher, seed=seeds[0], pretrained=pretrained
    )
    _copy_whole(artifact.path, values["to"])
    made = artifact.manifest
    click.echo(f"{values['to']}: {made.chain} on {setting.data.task.name}, {made.format}, key {made.key}")
    return 0


def _make_ingredient(chain: Chain, values: dict[str, Any]) -> int:
    """Only what a method needs beforehand, where that is the same for every task.

    Raises:
        BadInput: If there is no such ingredient, or it cannot be made by itself.
    """
    from compressbench.cli.setting import open_workshop
    from compressbench.errors import BadInput, listed
    from compressbench.options import Options
    from compressbench.plan_parts import check_chain
    from compressbench.teacher import inspect_teacher

    name, (method, *others) = values["ingredient"], chain
    if others:
        raise BadInput(f"--ingredient {name} is one method's: name that method alone, without +{others[0].name}")
    if name not in method.ingredients():
        known = listed(method.ingredients(), last="and") if method.ingredients() else "none with these parameters"
        raise BadInput(f"{method.name} has no ingredient {name!r}: it has {known}")
    if method.ingredients()[name].reads_rows:
        raise BadInput(f"--ingredient {name} is made from a task's rows: it comes with what needs it")
    if not values["teacher"]:
        raise BadInput(f"--ingredient {name} starts from a pretrained encoder: name it by --teacher NAME or DIR")
    pretrained = inspect_teacher(values["teacher"], offline=values["offline"])
    check_chain(chain, pretrained.geometry, teacher=pretrained, offline=values["offline"])
    workshop = open_workshop(Options(**plan_options(values)), choose_progress())
    artifact = workshop.ingredient(method.ingredients()[name], pretrained=pretrained)
    _copy_whole(artifact.path, values["to"])
    click.echo(f"{values['to']}: {artifact.manifest.chain}, key {artifact.key}")
    return 0


def _source_and_teacher(
    chain: Chain, setting: Setting, values: dict[str, Any], *, seed: int
) -> tuple[Artifact, Artifact, TeacherSource | None]:
    """What the first method compresses, the fine-tuned teacher and where that came from; all are checked first.

    Raises:
        BadInput: If the source is of a format or geometry that the chain cannot take.
    """
    from compressbench.errors import BadInput, listed
    from compressbench.foreign_source import open_source
    from compressbench.models.geometry import Geometry
    from compressbench.plan_parts import check_chain, check_layer_names
    from compressbench.registry import method_named
    from compressbench.teacher import teacher_sources

    task, workshop, offline = setting.data.task, setting.workshop, values["offline"]
    source = None
    if values["source"]:
        source = open_source(values["source"], task=task, workshop=workshop, offline=offline, needed_by=chain[0].name)
        if source.format not in chain[0].consumes:
            raise BadInput(
                f"--source {values['source']} is {source.format}; {chain[0].name} takes {listed(chain[0].consumes)}"
            )
        if not values["teacher"]:
            check_chain(chain, Geometry(**source.manifest.geometry), teacher=None, offline=offline)
            return source, source, None
    given = teacher_sources(values["teacher"], tasks=[task], offline=offline)[task.name]
    start = Geometry(**source.manifest.geometry) if source else given.geometry
    check_chain(chain, start, teacher=given, offline=offline)
    if source is None:
        check_layer_names(chain, given)
        if chain[0].name == "finetune":
            source = workshop.source_model(given)
            return source, source, given
    teacher = workshop.teacher(given, setting.data, finetune=method_named("finetune")(), seed=seed)
    return source or teacher, teacher, given


def _copy_whole(folder: Path, to: Path) -> None:
    """Copy a folder so that `to` appears complete or not at all.

    Raises:
        BadInput: If it cannot be written; the artifact stays in the store.
    """
    from compressbench.errors import BadInput

    place = to.resolve()  # `.` and a link to a folder have no name to rename onto
    partial = place.with_name(f".{place.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder, partial)
        if place.exists():
            place.rmdir()
        partial.rename(place)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        # copytree gathers what went wrong, file by file
        reason = error.args[0][0][-1] if isinstance(error, shutil.Error) else error.strerror
        raise BadInput(
            f"--to {to} cannot be written ({reason}): what was made is in the store, the same command copies it"
        ) from None
