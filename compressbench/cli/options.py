"""Options that several commands share, and how their texts become `compressbench.plan.Options`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from compressbench.errors import BadInput, InvalidParameter
from compressbench.units import parse_duration_ns, parse_percent

Command = TypeVar("Command", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)


def data_options(command: Command) -> Command:
    """Where rows come from: GLUE files, or one's own."""
    for option in reversed(
        (
            click.option("--data-dir", type=PATH, help="GLUE's TSV files: DIR/<TASK>/train.tsv and dev.tsv."),
            click.option("--train", type=PATH, help="Own training rows: CSV, TSV, JSONL, Parquet, datasets folder."),
            click.option("--validation", type=PATH, help="Own validation rows, which are scored."),
            click.option("--text", help="Text column of own rows, or two: COL,COL2."),
            click.option("--label", help="Label column of own rows."),
            click.option("--metric", help="Primary metric of own rows: accuracy, f1, matthews_correlation, ..."),
            click.option("--offline", is_flag=True, help="Never ask a hub; use local files and what is cached."),
        )
    ):
        command = option(command)
    return command


def machine_options(command: Command) -> Command:
    """How to compute and measure."""
    for option in reversed(
        (
            click.option("--teacher", help="Teacher: hub name, folder, or TASK=DIR,... for several."),
            click.option(
                "--threads",
                help="Threads, default all cores; 1,2: latency with each, the first leads.",
            ),
            click.option(
                "--shapes",
                help="Shapes to time: batch x tokens; task, 8xtask: real lengths. Default 1x128,8x128,task.",
            ),
            click.option("--runtimes", help="Runtimes to time in; default onnxruntime."),
            click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where to train; default auto."),
        )
    ):
        command = option(command)
    return command


def latency_options(command: Command) -> Command:
    """How long and how else to measure latency."""
    for option in reversed(
        (
            click.option("--precision", help="Rounds until each speedup's 95 % interval is this narrow, e.g. 2%."),
            click.option("--concurrency", type=int, help="Also time this many processes of a model side by side."),
            click.option("--lock-timeout", help="How long to wait for another measurement here, e.g. 600s."),
        )
    ):
        command = option(command)
    return command


def plan_options(values: Mapping[str, Any], *, methods: tuple[str, ...] = ()) -> dict[str, Any]:
    """Keyword arguments for `Options` from what the command line gave; what it did not give is absent.

    Raises:
        BadInput: If a list is empty or a seed is no whole number.
    """
    given = {name: values[name] for name in ("suite", "teacher", "data_dir", "device") if values.get(name)}
    if "concurrency" in values:  # a command with `latency_options`; a training's --precision is another
        if values["concurrency"] is not None:
            given["concurrency"] = values["concurrency"]
        if values["precision"] is not None:
            given["precision"] = parse_percent(values["precision"], name="--precision")
    if methods:
        given["methods"] = methods
    for name in ("shapes", "runtimes", "tasks"):
        if values.get(name) is not None:
            given[name] = split_list(values[name], option=f"--{name}")
    for name, example in (("seeds", "1,2,3"), ("threads", "2, or 1,2 for latencies with each")):
        if values.get(name) is not None:
            texts = split_list(str(values[name]), option=f"--{name}")
            given[name] = tuple(_whole(text, option=f"--{name}", example=example) for text in texts)
    given |= {name: True for name in ("offline", "allow_weak_teacher") if values.get(name)}
    own = own_files(values)
    return given | ({"own": own} if own else {})


def own_files(values: Mapping[str, Any]) -> Any:
    """The `OwnFiles` that the command line names, or None.

    Raises:
        BadInput: If only one of --train and --validation is given, or a column without files.
    """
    from compressbench.options import OwnFiles

    task = values.get("task")
    task_file = Path(task) if task and task.endswith(".toml") else None
    given = {name: values[name] for name in ("train", "validation", "text", "label", "metric") if values.get(name)}
    if not given:
        return OwnFiles(task_file=task_file) if task_file else None
    if task_file is None and not ("train" in given and "validation" in given):
        raise BadInput("own data needs both --train FILE and --validation FILE")
    if task_file is not None:
        raise BadInput(
            "a task file names files and columns itself: drop --train, --validation, --text, --label, --metric"
        )
    if task is not None:
        raise BadInput(f"--task {task} and --train both name rows: drop one")
    if "text" in given:
        given["text"] = split_list(given["text"], option="--text")
    return OwnFiles(**given)


def split_list(text: str, *, option: str) -> tuple[str, ...]:
    """A comma-separated value.

    Raises:
        BadInput: If an entry is empty.
    """
    entries = tuple(entry.strip() for entry in text.split(","))
    if not all(entries):
        raise BadInput(f"{option} {text!r} has an empty entry: separate values by single commas")
    return entries


def lock_timeout_s(values: Mapping[str, Any]) -> float | None:
    """Seconds that --lock-timeout gives; None: wait as long as it takes.

    Raises:
        InvalidParameter: If it has no unit.
    """
    text = values["lock_timeout"]
    return None if text is None else parse_duration_ns(text, name="--lock-timeout") / 1e9


def _whole(text: str, *, option: str, example: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise InvalidParameter(f"{option}: {text!r} is no whole number; give such as {example}")
    return int(text)
