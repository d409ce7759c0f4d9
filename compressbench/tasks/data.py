"""The rows behind a task: read when asked for, once a split."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from compressbench.errors import BadInput, listed
from compressbench.tasks.glue import GLUE_SOURCES, GLUE_TASKS, GlueSource
from compressbench.tasks.task import Rows, Task
from compressbench.tasks.tsv import read_tsv


@dataclass(frozen=True)
class TaskData:
    """A task and its rows."""

    task: Task
    read: Callable[[str], Rows]
    """Reads one split; called once for each."""
    splits: tuple[str, ...]
    """`train`, the task's dev splits, and `test` where there may be one."""
    origin: str
    """Where the rows come from, for reports: a folder, a data set on the hub, a grammar."""
    _kept: dict[str, Rows] = field(default_factory=dict, init=False, repr=False, compare=False)

    def rows(self, split: str) -> Rows:
        """The rows of `split`, read at the first call.

        Raises:
            BadInput: If the task has no such split, or its file cannot be used.
        """
        if split not in self.splits:
            raise BadInput(f"{self.task.name} has no split {split!r}: it has {listed(self.splits, last='and')}")
        if split not in self._kept:
            self._kept[split] = self.read(split)
        return self._kept[split]

    @property
    def watched(self) -> Rows | None:
        """Rows that a training may draw its curve of: the first dev split, where there is one."""
        split = self.task.dev_splits[0]
        return self.rows(split) if split in self.splits else None

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the rows of train and dev: the same rows from another place give the same artifacts."""
        digest = hashlib.sha256()
        for split in ("train", *self.task.dev_splits):
            digest.update(f"{split}:{self.rows(split).fingerprint};".encode())
        return digest.hexdigest()


def load_task_data(task: Task, *, data_dir: Path | None = None, offline: bool = False) -> TaskData:
    """The rows behind a registered task.

    Args:
        task: One of `catalog.all_tasks()`.
        data_dir: For GLUE: the folder that holds `<TASK>/train.tsv` and so on; without it rows come from the hub.
        offline: Whether the hub may not be asked; what it gave before is still used.

    Raises:
        BadInput: If `data_dir` does not hold the task; the hub is asked no sooner than rows are.
    """
    if task.is_generated:
        return _generated(task)
    if data_dir is None:
        from compressbench.tasks.hub import hub_rows

        read = partial(hub_rows, task, offline=offline)
        return TaskData(task, read, tuple(GLUE_SOURCES[task.name].files), f"hub:{GLUE_SOURCES[task.name].hub_config}")
    folder = _task_folder(task, data_dir)
    there = tuple(split for split, name in GLUE_SOURCES[task.name].files.items() if (folder / name).is_file())
    return TaskData(task, partial(_tsv_rows, task, folder), there, str(folder))


def _generated(task: Task) -> TaskData:
    from compressbench.tasks.synthetic import synthetic_rows

    return TaskData(task, partial(synthetic_rows, task.name), ("train", *task.dev_splits), "generated")


def _tsv_rows(task: Task, folder: Path, split: str) -> Rows:
    source = GLUE_SOURCES[task.name]
    path = folder / source.files[split]
    if split.startswith("test"):
        return read_tsv(path, source.test_layout, labelled=False)
    return read_tsv(path, source.layout)


def _task_folder(task: Task, data_dir: Path) -> Path:
    """The task's folder under `data_dir`, whatever case its name is written in, with all files of train and dev."""
    wanted = _wanted_files(task)
    if not data_dir.is_dir():
        raise BadInput(f"--data-dir {data_dir} is not a folder; it should hold {_expected(task, wanted)}")
    found = [each for each in sorted(data_dir.iterdir()) if each.is_dir() and each.name.lower() == task.name.lower()]
    if not found:
        known = {name.lower() for name in GLUE_TASKS}
        there = [each.name for each in data_dir.iterdir() if each.name.lower() in known]
        holds = f"; it holds {listed(there, last='and')}" if there else ""
        raise BadInput(f"--data-dir {data_dir} has no folder {task.name}: expected {_expected(task, wanted)}{holds}")
    missing = [name for name in wanted if not (found[0] / name).is_file()]
    if missing:
        raise BadInput(f"{found[0]} has no {listed(missing, last='and')}: expected {_expected(task, wanted)}")
    return found[0]


def _wanted_files(task: Task) -> list[str]:
    source: GlueSource = GLUE_SOURCES[task.name]
    return [source.files[split] for split in ("train", *task.dev_splits)]


def _expected(task: Task, files: list[str]) -> str:
    return f"{task.name}/ with {listed(files, last='and')} in the original GLUE layout"
