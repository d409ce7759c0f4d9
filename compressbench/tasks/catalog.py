"""Which tasks and suites there are, and how their names may be written."""

from collections.abc import Mapping

from compressbench.errors import BadInput, UnknownName
from compressbench.tasks.glue import GLUE_SOURCES, GLUE_TASKS
from compressbench.tasks.synthetic import SYNTHETIC_TASKS
from compressbench.tasks.task import Task

SUITES = ("synthetic", "glue")
"""The first is the default."""

_BY_SUITE: Mapping[str, Mapping[str, Task]] = {"glue": GLUE_TASKS, "synthetic": SYNTHETIC_TASKS}
_PREFIX = "synthetic"


def all_tasks() -> dict[str, Task]:
    """Every registered task by name: GLUE's nine, then the generated ones; a copy."""
    return {**GLUE_TASKS, **SYNTHETIC_TASKS}


def suite_named(name: str) -> str:
    """The suite of that name, whatever its case.

    Raises:
        UnknownName: If there is none, with the nearest.
    """
    if name.lower() not in SUITES:
        raise UnknownName("suite", name, SUITES, listing="tasks")
    return name.lower()


def suite_tasks(suite: str) -> tuple[Task, ...]:
    """The tasks of a suite, in its order.

    Raises:
        UnknownName: If there is no such suite.
    """
    return tuple(_BY_SUITE[suite_named(suite)].values())


def task_named(name: str, *, suite: str | None = None) -> Task:
    """The task a user means.

    Case and hyphens do not matter, and the hub's names are known too: ``SST-2``, ``sst2``, ``stsb``. Within the
    synthetic suite the prefix may be left out: ``sentiment``.

    Args:
        name: As typed.
        suite: The suite it must be of; None for any.

    Raises:
        UnknownName: If there is no such task, with the nearest.
        BadInput: If it belongs to another suite than the one asked for.
    """
    wanted = None if suite is None else suite_named(suite)
    spellings = _spellings()
    plain = _plain(name)
    task = spellings.get(plain)
    if wanted == "synthetic":
        task = spellings.get(_PREFIX + plain, task)
    if task is None:
        known = all_tasks() if wanted is None else _BY_SUITE[wanted]
        short = {each.removeprefix(f"{_PREFIX}-") for each in known} if wanted == "synthetic" else set()
        raise UnknownName("task", name, {*known, *short}, listing="tasks")
    if wanted is not None and task.suite != wanted:
        raise BadInput(
            f"task {task.name} belongs to the suite {task.suite!r}, not {wanted!r}: use --suite {task.suite}"
        )
    return task


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _spellings() -> dict[str, Task]:
    by_name = {_plain(name): task for name, task in all_tasks().items()}
    by_hub = {_plain(source.hub_config): GLUE_TASKS[name] for name, source in GLUE_SOURCES.items()}
    return by_hub | by_name
