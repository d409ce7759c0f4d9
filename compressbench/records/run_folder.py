"""A run's folder as a report reads it: records, environment, and what could not be used."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressbench.errors import BadInput
from compressbench.records.log import LOG_NAME, RecordLog
from compressbench.records.schema import Record

ENVIRONMENT_NAME = "environment.json"


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
        warnings=[*contents.warnings, *warnings],
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
