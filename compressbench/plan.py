"""A plan: everything a run needs to know, resolved and checked before any work.

`Options` is what the user said (command line or plan file); `resolve` turns it into a `Plan` or says in one
sentence what is wrong. Nothing is written on the way.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compressbench.harness.shapes import AnyShape, parse_shape
from compressbench.methods.chain import spell
from compressbench.methods.method import Method
from compressbench.options import Options
from compressbench.plan_parts import (
    MethodLine,
    check_chain,
    check_concurrency,
    check_layer_names,
    check_rows,
    check_seeds,
    check_thread_counts,
    filled_in,
    load_data_and_teachers,
    read_methods,
    resolve_device,
)
from compressbench.runtimes.catalog import check_runtime
from compressbench.tasks.data import TaskData
from compressbench.teacher import TeacherSource

BASELINE = "baseline"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The resolved cells: tasks x method lines x seeds, and how they are measured."""

    suite: str
    data: tuple[TaskData, ...]
    lines: tuple[MethodLine, ...]
    """Without the baseline, which every plan has."""
    finetune: Method
    """How a pretrained teacher is made into a task's teacher."""
    teachers: Mapping[str, TeacherSource]
    """By task name."""
    seeds: tuple[int, ...]
    thread_counts: tuple[int, ...]
    """Of the latencies, the main one first."""
    shapes: tuple[AnyShape, ...]
    runtimes: tuple[str, ...]
    device: str
    allow_weak_teacher: bool
    options: Options
    precision: float | None = None
    concurrency: int = 1

    @property
    def threads(self) -> int:
        """For everything that is not timed: the most there are."""
        return max(self.thread_counts)

    @property
    def digest(self) -> str:
        """8 hex digits of everything that decides results; where output goes does not."""
        content: dict[str, Any] = {
            "suite": self.suite,
            "tasks": {each.task.name: each.fingerprint for each in self.data},
            "methods": [line.canonical for line in self.lines],
            "finetune": spell([self.finetune]),
            "teachers": {name: source.fingerprint for name, source in self.teachers.items()},
            "seeds": self.seeds,
            "threads": self.thread_counts[0] if len(self.thread_counts) == 1 else self.thread_counts,
            "shapes": [str(shape) for shape in self.shapes],
            "runtimes": self.runtimes,
            "device": self.device,
        }
        files = [dict(method.fingerprints()) for line in self.lines for method in line.chain]
        if self.concurrency > 1:
            content["concurrency"] = self.concurrency
        if any(files):
            content["files"] = files
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def default_name(self) -> str:
        """``<suite>-<digest>``: the run folder's name where the user gives none."""
        return f"{self.suite}-{self.digest}"

    @property
    def cell_count(self) -> int:
        """Cells without the baselines."""
        return len(self.data) * len(self.lines) * len(self.seeds)


def resolve(options: Options) -> Plan:
    """Check everything a run needs and resolve it.

    Raises:
        BadInput: (or a subclass) for whatever the user must mend; nothing has been written.
    """
    finetune, lines = read_methods(options.methods, filled_in(options.parameters, data_dir=options.data_dir))
    seeds = check_seeds(options.seeds)
    thread_counts = check_thread_counts(options.threads)
    shapes = tuple(dict.fromkeys(parse_shape(text) for text in options.shapes))
    for name in options.runtimes:
        check_runtime(name)
    data, teachers = load_data_and_teachers(options)
    for each in data:
        for split in ("train", *each.task.dev_splits):
            each.rows(split)
        teacher = teachers[each.task.name]
        for line in lines:
            check_chain(line.chain, teacher.geometry, teacher=teacher, offline=options.offline)
            check_layer_names(line.chain, teacher)
            check_rows(line.chain, each)
    return Plan(
        suite=data[0].task.suite,
        data=data,
        lines=lines,
        finetune=finetune,
        teachers=teachers,
        seeds=seeds,
        thread_counts=thread_counts,
        precision=options.precision,
        concurrency=check_concurrency(options.concurrency),
        shapes=shapes,
        runtimes=options.runtimes,
        device=resolve_device(options.device),
        allow_weak_teacher=options.allow_weak_teacher,
        options=options,
    )
