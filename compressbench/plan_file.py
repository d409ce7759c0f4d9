"""plan.toml: a plan as a file, read into `Options` and written by every run into its folder."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w

from compressbench.errors import BadInput, UnknownName
from compressbench.harness.shapes import AnyShape
from compressbench.methods.chain import split_methods
from compressbench.options import Options, OwnFiles
from compressbench.plan import Plan
from compressbench.records.run_folder import is_recipe
from compressbench.units import parse_percent

LISTS = ("methods", "tasks", "seeds", "shapes", "runtimes")
KEYS = (
    *LISTS,
    "suite",
    "teacher",
    "data_dir",
    "own",
    "threads",
    "precision",
    "concurrency",
    "device",
    "parameters",
    "allow_weak_teacher",
)
MEASURE = "measure"
"""The command whose folder has a plan.toml that no run can follow."""
WORDS = {str: "text", int: "whole number", dict: "table"}
"""What TOML's types are called in messages."""
OWN_KEYS = ("task_file", "train", "validation", "text", "label", "metric")


def read_plan_file(path: Path) -> dict[str, Any]:
    """The options a plan file gives, as keyword arguments for `Options`.

    Relative folders and files in it are taken from where the command runs, as on the command line. In a text under
    ``parameters``, ``{data_dir}`` stands for the folder of --data-dir.

    Raises:
        BadInput: If the file is missing, no TOML, or holds a key or a type that no plan has.
    """
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise BadInput(f"--plan {path}: there is no such file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInput(f"--plan {path} is no readable TOML: {error}") from None
    if values.get("command") == MEASURE:
        raise BadInput(
            f"--plan {path} describes what `compressbench measure` measured, and no run: "
            "give its models and options to that command"
        )
    for key in values:
        if key not in KEYS:
            raise UnknownName(f"key of a plan ({path})", key, KEYS)
    for key in LISTS:
        if key in values:
            values[key] = tuple(_list_of(values[key], int if key == "seeds" else str, where=f"{path}: {key}"))
    for key, kind in (
        ("suite", str),
        ("teacher", str),
        ("data_dir", str),
        ("precision", str),
        ("concurrency", int),
        ("parameters", dict),
    ):
        if key in values and (not isinstance(values[key], kind) or isinstance(values[key], bool)):
            raise BadInput(f"{path}: {key} = {values[key]!r} is no {WORDS[kind]}")
    if "threads" in values:
        counts = values["threads"] if isinstance(values["threads"], list) else [values["threads"]]
        values["threads"] = tuple(_list_of(counts, int, where=f"{path}: threads"))
    if "precision" in values:
        values["precision"] = parse_percent(values["precision"], name=f"{path}: precision")
    if "data_dir" in values:
        values["data_dir"] = Path(values["data_dir"])
    if "own" in values:
        values["own"] = _own_files(values["own"], where=path)
    return values


def plan_document(plan: Plan) -> dict[str, Any]:
    """The resolved plan as TOML values; `read_plan_file` and `resolve` lead back to an equal digest."""
    options = plan.options
    document: dict[str, Any] = {
        "methods": _methods(plan),
        "seeds": list(plan.seeds),
        "device": plan.device,
    }
    document |= measuring_values(
        thread_counts=plan.thread_counts,
        shapes=plan.shapes,
        runtimes=plan.runtimes,
        precision=plan.precision,
        concurrency=plan.concurrency,
    )
    document |= rows_values(options, suite=plan.suite, tasks=[each.task.name for each in plan.data])
    if options.teacher is not None:
        document["teacher"] = absolute_teacher(options.teacher)
    if options.parameters:
        document["parameters"] = {name: dict(values) for name, values in options.parameters.items()}
    if plan.allow_weak_teacher:
        document["allow_weak_teacher"] = True
    return document


def measuring_values(
    *,
    thread_counts: Sequence[int],
    shapes: Sequence[AnyShape],
    runtimes: Sequence[str],
    precision: float | None,
    concurrency: int,
) -> dict[str, Any]:
    """How latency is measured, as TOML values."""
    values: dict[str, Any] = {
        "threads": thread_counts[0] if len(thread_counts) == 1 else list(thread_counts),
        "shapes": [str(shape) for shape in shapes],
        "runtimes": list(runtimes),
    }
    if precision is not None:
        values["precision"] = f"{100 * precision:g}%"
    if concurrency > 1:
        values["concurrency"] = concurrency
    return values


def rows_values(options: Options, *, suite: str, tasks: Sequence[str]) -> dict[str, Any]:
    """Where rows come from, as TOML values."""
    values: dict[str, Any] = {}
    if options.own is None:
        values |= {"suite": suite, "tasks": list(tasks)}
    else:
        own = {name: getattr(options.own, name) for name in OWN_KEYS if getattr(options.own, name) is not None}
        values["own"] = {
            name: list(value) if isinstance(value, tuple) else _absolute(value) for name, value in own.items()
        }
    if options.data_dir is not None:
        values["data_dir"] = str(options.data_dir.absolute())
    return values


def plan_text(plan: Plan) -> str:
    """The resolved plan as a file."""
    header = "# The resolved plan: `compressbench run --plan` on this file repeats the run.\n"
    return header + tomli_w.dumps(plan_document(plan))


def _methods(plan: Plan) -> list[str]:
    """The entries of ``--methods`` as typed, each row's once."""
    typed = {line.typed for line in plan.lines}
    given = dict.fromkeys(split_methods(plan.options.methods))
    return [each for each in given if each in typed or is_recipe(each)]


def absolute_teacher(text: str) -> str:
    """``NAME``, ``DIR`` or ``TASK=DIR,...`` with the folders in it absolute, for whoever repeats the run elsewhere."""
    parts = [part.rpartition("=") for part in text.split(",")]
    return ",".join(
        f"{task}{sign}{Path(name).expanduser().absolute() if Path(name).expanduser().is_dir() else name}"
        for task, sign, name in parts
    )


def _absolute(value: Any) -> Any:
    return str(value.absolute()) if isinstance(value, Path) else value


def _list_of(value: Any, kind: type, *, where: str) -> list[Any]:
    if not isinstance(value, list) or any(not isinstance(each, kind) or isinstance(each, bool) for each in value):
        raise BadInput(f"{where} = {value!r} is not a list of {'whole numbers' if kind is int else 'texts'}")
    return value


def _own_files(values: Any, *, where: Path) -> OwnFiles:
    if not isinstance(values, dict):
        raise BadInput(f"{where}: own is a table with {', '.join(OWN_KEYS)}")
    for key in values:
        if key not in OWN_KEYS:
            raise UnknownName(f"key of [own] ({where})", key, OWN_KEYS)
    given: dict[str, Any] = dict(values)
    for key in ("task_file", "train", "validation"):
        if key in given:
            given[key] = Path(given[key])
    if "text" in given:
        given["text"] = tuple(_list_of(given["text"], str, where=f"{where}: own.text"))
    return OwnFiles(**given)
