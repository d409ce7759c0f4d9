"""Where each task's teacher comes from: a folder, a hub name, or (synthetic suite) one made on the spot."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from compressbench.errors import BadInput
from compressbench.models.geometry import BERT_BASE, Geometry
from compressbench.tasks.catalog import task_named
from compressbench.tasks.task import Task

HUB_TEACHER = "bert-base-uncased"


@dataclass(frozen=True, kw_only=True)
class TeacherSource:
    """A teacher before the run touches it."""

    name: str
    """As reports show it: a hub name, a folder's name, or what was generated."""
    kind: Literal["generated", "pretrained", "fine-tuned"]
    geometry: Geometry
    path: Path | None = None
    """Local folder; None for the generated one."""
    labels: tuple[str, ...] | None = None
    """Label names in id order, where a classifier says them."""
    fingerprint: str = "generated"
    """One sha256 over the folder's model and tokenizer files."""
    warnings: tuple[str, ...] = ()
    """What could not be checked against the task, one sentence each."""


GENERATED = TeacherSource(name="generated BERT-Base", kind="generated", geometry=BERT_BASE)


def teacher_sources(text: str | None, *, tasks: Sequence[Task], offline: bool) -> dict[str, TeacherSource]:
    """The teacher of each task, by task name.

    Args:
        text: ``NAME``, ``DIR`` or ``TASK=DIR,...``; None for the suite's default.
        tasks: The tasks of the run.
        offline: Whether hub names may only be looked up in the local cache.

    Raises:
        BadInput: If a folder is no usable teacher for its task, or a task has none.
    """
    if text is None and all(task.is_generated for task in tasks):
        return {task.name: GENERATED for task in tasks}
    named = _by_task(text or HUB_TEACHER, tasks)
    inspected = {source: inspect_teacher(source, offline=offline) for source in dict.fromkeys(named.values())}
    for source, teacher in inspected.items():
        served = [name for name, each in named.items() if each == source]
        if teacher.kind == "fine-tuned" and len(served) > 1:
            raise BadInput(
                f"--teacher {source} is already fine-tuned and serves one task, not {', '.join(served)}: "
                f"write {','.join(f'{name}=DIR' for name in served)}, or give a pretrained encoder"
            )
    return {task.name: fitting_teacher(inspected[named[task.name]], task) for task in tasks}


def inspect_teacher(source: str, *, offline: bool) -> TeacherSource:
    """Look at a folder or hub name without loading weights.

    Raises:
        BadInput: If it is no BERT-family model that can be used.
    """
    from compressbench.models.inspection import external_fingerprint, inspect_model

    info = inspect_model(source, offline=offline)
    return TeacherSource(
        name=Path(source).name if Path(source).exists() else source,
        kind="fine-tuned" if info.is_classifier else "pretrained",
        geometry=info.geometry,
        path=info.path,
        labels=info.labels,
        fingerprint=external_fingerprint(info.path),
    )


def fitting_teacher(teacher: TeacherSource, task: Task) -> TeacherSource:
    """The teacher, checked against its task's labels.

    Raises:
        BadInput: If a fine-tuned one has another number or order of labels.
    """
    from compressbench.models.inspection import check_teacher, inspect_model

    if teacher.kind != "fine-tuned":
        return teacher
    return replace(teacher, warnings=check_teacher(inspect_model(str(teacher.path)), task))


def _by_task(text: str, tasks: Sequence[Task]) -> dict[str, str]:
    """``TASK=DIR,...`` by task name; one source serves every task."""
    if "=" not in text:
        return {task.name: text for task in tasks}
    named: dict[str, str] = {}
    for part in text.split(","):
        name, equals, source = part.partition("=")
        if not (name and equals and source):
            raise BadInput(f"--teacher {part!r} is neither a folder nor TASK=DIR")
        task = task_named(name, suite=tasks[0].suite).name
        if task in named:
            raise BadInput(f"--teacher names two for {task}: {named[task]} and {source}")
        named[task] = source
    missing = [task.name for task in tasks if task.name not in named]
    if missing:
        raise BadInput(f"--teacher names none for {', '.join(missing)}: add {missing[0]}=DIR")
    return named
