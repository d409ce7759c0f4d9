"""What `compress`, `measure` and `predict` work with: one task's rows and a workshop, from the shared options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compressbench.artifacts.store import open_store
from compressbench.cli.options import own_files, plan_options
from compressbench.errors import BadInput
from compressbench.foreign import label_names_of
from compressbench.harness.shapes import AnyShape, parse_shape
from compressbench.options import Options
from compressbench.plan_parts import check_concurrency, check_thread_counts, load_own, resolve_device, select_tasks
from compressbench.progress import Progress, choose_progress
from compressbench.runtimes.catalog import check_runtime
from compressbench.tasks.data import TaskData, load_task_data
from compressbench.workshop import Workshop


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One task and the means to work on it."""

    data: TaskData
    workshop: Workshop
    options: Options
    shapes: tuple[AnyShape, ...]
    thread_counts: tuple[int, ...]
    """Of the latencies, the main one first."""
    concurrency: int
    progress: Progress


def open_setting(values: Mapping[str, Any], *, models: Sequence[str] = ()) -> Setting:
    """Check the shared options and open the task's rows.

    Args:
        values: As click parsed them.
        models: Whose label names, those of the first that has some, labels of own files are read by.

    Raises:
        BadInput: If no task is named, or an option is of no use.
    """
    options = Options(**plan_options(values))
    for name in options.runtimes:
        check_runtime(name)
    progress = choose_progress()
    workshop = open_workshop(options, progress)
    return Setting(
        data=open_data(values, options, models=models),
        workshop=workshop,
        options=options,
        shapes=tuple(dict.fromkeys(parse_shape(text) for text in options.shapes)),
        thread_counts=check_thread_counts(options.threads),
        concurrency=check_concurrency(options.concurrency),
        progress=progress,
    )


def open_workshop(options: Options, progress: Progress) -> Workshop:
    """A workshop over the user's store.

    Raises:
        BadInput: If threads or device are not to be had.
    """
    return Workshop(
        store=open_store(),
        threads=max(check_thread_counts(options.threads)),
        device=resolve_device(options.device),
        progress=progress,
    )


def open_data(values: Mapping[str, Any], options: Options, *, models: Sequence[str]) -> TaskData:
    """The rows of the one task that the command line names.

    Raises:
        BadInput: If none or several are named.
    """
    own = own_files(values)
    if own is not None:
        found = (label_names_of(model, offline=options.offline) for model in models)
        return load_own(own, label_names=next(filter(None, found), None))
    name = values.get("task")
    if not name:
        raise BadInput("--task is missing: name one such as CoLA, or give --train FILE --validation FILE")
    (task,) = select_tasks(Options(suite=options.suite, tasks=(name,)))
    return load_task_data(task, data_dir=options.data_dir, offline=options.offline)
