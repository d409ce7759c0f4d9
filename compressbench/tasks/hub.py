"""GLUE from the hub, through `datasets`."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from compressbench.errors import BadInput, listed
from compressbench.models.hub import connection_problem, first_line
from compressbench.tasks.glue import GLUE_SOURCES, HUB_DATASET
from compressbench.tasks.task import Rows, Task


def hub_rows(task: Task, split: str, *, offline: bool = False) -> Rows:
    """One split of a GLUE task as the hub has it; kept by `datasets`, so that it is fetched once.

    Args:
        task: A GLUE task.
        split: `train`, a dev split, or a test split (no labels).
        offline: Whether only what was fetched before may be used.

    Raises:
        BadInput: If there is no network and nothing was fetched before; it says what to do.
    """
    source = GLUE_SOURCES[task.name]
    problem = "--offline forbids it" if offline else connection_problem()
    try:
        with _offline_mode(is_offline=problem is not None), _bars_on_terminals_only():
            import datasets

            table = datasets.load_dataset(HUB_DATASET, source.hub_config, split=source.hub_splits[split])
    except Exception as error:  # the client raises a dozen kinds, and the mend is one
        raise BadInput(_unreachable(task, problem or f"the hub answers {first_line(error)}")) from error
    return _rows(task, split, table)


def _rows(task: Task, split: str, table: Any) -> Rows:
    missing = [name for name in (*task.text_columns, "label") if name not in table.column_names]
    if missing or not len(table):
        what = f"no column {listed(missing, last='and')}" if missing else "no rows"
        raise BadInput(f"{HUB_DATASET} ({GLUE_SOURCES[task.name].hub_config}), split {split}: {what} on the hub")
    texts = [[text.strip() for text in table[name]] for name in task.text_columns]
    return Rows(
        first=texts[0],
        second=texts[1] if task.is_pair else None,
        labels=None if split.startswith("test") else _labels(task, table),
    )


def _labels(task: Task, table: Any) -> np.ndarray:
    if task.is_regression:
        return np.array(table["label"], dtype=np.float64)
    names: Sequence[str] = getattr(table.features["label"], "names", task.labels)
    if set(names) != set(task.labels):
        raise BadInput(
            f"{HUB_DATASET} ({GLUE_SOURCES[task.name].hub_config}) has the labels {listed(names, last='and')} on the "
            f"hub where {task.name} has {listed(task.labels, last='and')}: is HF_ENDPOINT a mirror of another data set?"
        )
    given = np.array(table["label"], dtype=np.int64)
    if (given < 0).any():
        raise BadInput(f"{HUB_DATASET} ({GLUE_SOURCES[task.name].hub_config}) has rows without a label on the hub")
    ids = np.array([task.labels.index(name) for name in names], dtype=np.int64)
    labels: np.ndarray = ids[given]
    return labels


def _unreachable(task: Task, problem: str) -> str:
    files = GLUE_SOURCES[task.name].files
    needed = listed((files[split] for split in ("train", *task.dev_splits)), last="and")
    return (
        f"{task.name} was not fetched from the hub before, and {problem}: give --data-dir DIR with {needed} in "
        f"DIR/{task.name}/, or run once with a network (what was fetched is kept)"
    )


@contextmanager
def _bars_on_terminals_only() -> Iterator[None]:
    """A download's bars are for people; in a log they are noise."""
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


@contextmanager
def _offline_mode(*, is_offline: bool) -> Iterator[None]:
    """Both libraries read their variable once, at import; a run that says --offline says so later."""
    if not is_offline:
        yield
        return
    import datasets.config
    import huggingface_hub.constants

    kept = datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE = kept
