"""A run's folder as a report reads it: records, environment, and what could not be used."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressbench.errors import BadInput
from compressbench.records.log import LOG_NAME, RecordLog
from compressbench.records.schema import CellRecord, Record

ENVIRONMENT_NAME = "environment.json"
PLAN_NAME = "plan.toml"


@dataclass(frozen=True, kw_only=True)
class RunRecords:
    """Everything a run left on disk that a report needs."""

    folder: Path
    records: Sequence[Record]
    environment: Mapping[str, Any]
    warnings: Sequence[str] = ()


def read_run(folder: Path) -> RunRecords:
    """Read a run's folder.

    A folder without environment.json is read with an empty environment and a warning: figures stay figures,
    but nobody can say what machine they are of.

    Raises:
        BadInput: If the folder holds no records, or a file in it cannot be read.
    """
    log = folder / LOG_NAME
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder: give the folder of a run, the one that holds {LOG_NAME}")
    if not log.is_file():
        raise BadInput(f"{folder} is no run: it holds no {LOG_NAME}")
    contents = RecordLog(log).read()
    if not contents.records:
        raise BadInput(f"{log} holds no record: run the plan again, it goes on where it was stopped")
    environment, warnings = _environment(folder / ENVIRONMENT_NAME)
    return RunRecords(
        folder=folder,
        records=contents.records,
        environment=environment,
        warnings=[*contents.warnings, *warnings, *_unfinished(folder, contents.records)],
    )


def _environment(path: Path) -> tuple[Mapping[str, Any], list[str]]:
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        return {}, [f"{path} is missing, so nobody can say what machine these figures are of"]
    except (ValueError, OSError) as error:
        raise BadInput(f"{path} is not readable JSON ({error}): restore it, or delete it to read the rest") from None
    if not isinstance(values, dict):
        raise BadInput(f"{path} holds no JSON object: restore it, or delete it to read the rest")
    return values, []


def _unfinished(folder: Path, records: Sequence[Record]) -> list[str]:
    """A warning where rows of the run's plan have no record yet; none where no plan of a run lies there."""
    try:
        plan = tomllib.loads((folder / PLAN_NAME).read_text())
    except (OSError, ValueError):
        return []
    cells = {(each.task, each.method, each.seed) for each in records if isinstance(each, CellRecord)}
    methods = {name for _, name, _ in cells} | {name for name in plan.get("methods", ()) if not is_recipe(name)}
    tasks = plan.get("tasks") or sorted({task for task, _, _ in cells})
    missing = [
        f"{task}/{method} (seed {seed})"
        for task in tasks
        for seed in plan.get("seeds", ())
        for method in sorted(methods)
        if (task, method, seed) not in cells
    ]
    if not missing:
        return []
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    told = (
        f"{folder} is not finished: {', '.join(missing[:3])}{more} have no row yet; "
        f"`compressbench run --plan {folder / PLAN_NAME} --out {folder}` goes on where it was"
    )
    return [told]


def is_recipe(method: str) -> bool:
    """Whether an entry says how the baseline is fine-tuned, and has no row."""
    return method.partition(":")[0] == "finetune" and "+" not in method
