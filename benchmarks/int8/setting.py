"""Where both commands of the benchmark begin: tasks, their teachers and data, and the store that models are made in."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compressbench.artifacts.store import open_store
from compressbench.plan_parts import check_threads
from compressbench.progress import Progress, choose_progress
from compressbench.tasks.catalog import task_named
from compressbench.tasks.data import TaskData, load_task_data
from compressbench.teacher import TeacherSource, teacher_sources
from compressbench.workshop import Workshop


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the models are made of and by."""

    sources: Mapping[str, TeacherSource]
    """By task."""
    data: Sequence[TaskData]
    workshop: Workshop
    threads: int
    progress: Progress


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `setting_of` reads, and the seed."""
    parser.add_argument("--teacher", required=True, help="encoder to fine-tune, or fine-tuned: DIR or TASK=DIR,...")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of GLUE files")
    parser.add_argument("--tasks", default="CoLA,MRPC,RTE,SST-2", help="tasks whose dev sets are answered")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--seed", type=int, default=1)


def setting_of(given: argparse.Namespace) -> Setting:
    """Read the tasks' data and look at their teachers.

    Raises:
        BadInput: If a task, its data or its teacher cannot be used, or the threads are more than there are.
    """
    tasks = [task_named(name, suite=None) for name in given.tasks.split(",")]
    sources = teacher_sources(given.teacher, tasks=tasks, offline=True)
    data = [load_task_data(task, data_dir=given.data_dir, offline=True) for task in tasks]
    progress, threads = choose_progress(), check_threads(given.threads)
    workshop = Workshop(store=open_store(), threads=threads, device="cpu", progress=progress)
    return Setting(sources=sources, data=data, workshop=workshop, threads=threads, progress=progress)
