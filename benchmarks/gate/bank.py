"""The bank: real rounds of a model, of itself again, and of three slower copies, quiet and beside a competitor.

BANK/bank.json              geometry, threads, slowdowns asked for, columns of extra work, environment
BANK/models/<name>/         the ONNX files: base, and slow-5, slow-10, slow-15
BANK/<condition>/records.jsonl   one latency record a block; `process` is the generation
"""

import json
import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gate.competitor import competing
from benchmarks.gate.models import make_base, write_variant
from compressbench.environment import describe_environment
from compressbench.errors import BadInput
from compressbench.gate.latency import paired_rounds
from compressbench.harness.campaign import open_campaign
from compressbench.harness.measuring_process import Subject
from compressbench.harness.shapes import Shape
from compressbench.live_gate import MOST_ROUNDS as ROUNDS
from compressbench.models.geometry import Geometry
from compressbench.progress import Progress
from compressbench.records.log import LOG_NAME, RecordLog
from compressbench.records.schema import LatencyRecord
from compressbench.stats import Rounds

CONDITIONS = ("quiet", "loaded")
BASELINE, AGAIN = "A", "A'"
SLOWDOWNS = {"+5 %": 0.05, "+10 %": 0.10, "+15 %": 0.15}
BANK_NAME = "bank.json"
CALIBRATION_GENERATIONS = 8


@dataclass(frozen=True, kw_only=True)
class Bank:
    """An open bank."""

    folder: Path
    settings: dict[str, Any]

    @property
    def shape(self) -> Shape:
        """The one shape it is of."""
        return Shape(*self.settings["shape"])

    @property
    def threads(self) -> int:
        """Intra-op threads."""
        return int(self.settings["threads"])

    def model(self, side: str) -> Path:
        """The ONNX file of a side; `BASELINE` and `AGAIN` are one."""
        return self.folder / "models" / _folder_name(side) / "model.onnx"

    def records(self, condition: str) -> list[LatencyRecord]:
        """All blocks of a condition, in the order they were measured."""
        read = RecordLog(self.folder / condition / LOG_NAME).read().records
        return [each for each in read if isinstance(each, LatencyRecord)]

    def rounds(self, condition: str, side: str) -> tuple[Rounds, Rounds]:
        """The baseline's and another side's rounds by process.

        Raises:
            BadInput: If there is none.
        """
        found = paired_rounds(self.records(condition), baseline_key=BASELINE, current_key=side)
        if not found or not next(iter(found.values()))[0]:
            raise BadInput(f"{self.folder / condition} holds no rounds of {side}: record the bank first")
        return next(iter(found.values()))


def open_bank(folder: Path) -> Bank:
    """Open a bank.

    Raises:
        BadInput: If there is none.
    """
    try:
        return Bank(folder=folder, settings=json.loads((folder / BANK_NAME).read_text()))
    except (OSError, ValueError):
        raise BadInput(f"{folder} is no bank: `python -m benchmarks.gate bank --to {folder}` records one") from None


def record_bank(
    folder: Path, *, geometry: Geometry, shape: Shape, threads: int, processes: int, minutes: float, progress: Progress
) -> Bank:
    """Record until each condition has `processes` generations or has taken half of `minutes`; goes on where it was.

    Args:
        folder: New, or a bank of the same geometry, shape and threads.
        geometry: Of the model.
        shape: Batch x tokens.
        threads: Intra-op threads.
        processes: Generations wanted of each condition; each has one process a side.
        minutes: For both conditions together, models and calibration not counted.
        progress: Told of every generation.

    Raises:
        BadInput: If the folder holds another bank.
    """
    asked = {"geometry": vars(geometry), "shape": [shape.batch, shape.tokens], "threads": threads}
    bank = _prepared(folder, asked, geometry=geometry, progress=progress)
    for condition in CONDITIONS:
        _record(bank, condition, processes=processes, seconds=30 * minutes, progress=progress)
    return bank


def _prepared(folder: Path, asked: dict[str, Any], *, geometry: Geometry, progress: Progress) -> Bank:
    if (folder / BANK_NAME).exists():
        bank = open_bank(folder)
        if {name: bank.settings[name] for name in asked} != asked:
            raise BadInput(f"{folder} is a bank of another model, shape or thread count: give a new folder")
        return bank
    base = make_base(folder / "models" / "base", geometry, progress=progress)
    bank = Bank(folder=folder, settings=asked)
    columns = _calibrated(bank, base, progress=progress)
    environment = describe_environment(threads=bank.threads)
    settings = asked | {"slowdowns": SLOWDOWNS, "columns": columns, "environment": environment}
    (folder / BANK_NAME).write_text(json.dumps(settings, indent=2) + "\n")
    return Bank(folder=folder, settings=settings)


def _calibrated(bank: Bank, base: Path, *, progress: Progress) -> dict[str, int]:
    """Columns of extra work for each slowdown: the cost of a column is measured on two chains, beside the model."""
    hidden = bank.settings["geometry"]["hidden"]
    probes = {columns: write_variant(base, bank.folder / "probe" / str(columns), columns=columns)
              for columns in (4 * hidden, 12 * hidden)}  # fmt: skip
    subjects = [_subject(BASELINE, base), *(_subject(str(columns), path) for columns, path in probes.items())]
    records = _generations(bank, subjects, range(CALIBRATION_GENERATIONS), progress=progress, name="calibrate")
    slowdowns = []
    for columns in probes:
        (sides,) = paired_rounds(records, baseline_key=BASELINE, current_key=str(columns)).values()
        slowdowns.append(measured_slowdown(*sides))
    few, many = probes
    each = (slowdowns[1] - slowdowns[0]) / (many - few)
    fixed = slowdowns[0] - few * each  # of the nodes that are there however many columns there are
    columns = {name: max(1, round((wanted - fixed) / each)) for name, wanted in SLOWDOWNS.items()}
    for name, count in columns.items():
        write_variant(base, bank.model(name).parent, columns=count)
    return columns


def measured_slowdown(baseline: Rounds, current: Rounds) -> float:
    """Median over all rounds of current / baseline, less 1."""
    logs = [np.log(after) - np.log(before) for before, after in zip(baseline, current, strict=True)]
    return float(np.expm1(np.median(np.concatenate(logs))))


def _record(bank: Bank, condition: str, *, processes: int, seconds: float, progress: Progress) -> None:
    """Add generations to one condition."""
    folder = bank.folder / condition
    folder.mkdir(exist_ok=True)
    log = RecordLog(folder / LOG_NAME)
    first = 1 + max((each.process for each in bank.records(condition)), default=-1)
    subjects = [_subject(side, bank.model(side)) for side in (BASELINE, AGAIN, *SLOWDOWNS)]
    core = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    beside: AbstractContextManager[object] = nullcontext()
    if condition == "loaded":
        beside = competing(core=core, seed=first)
    with beside:
        _generations(
            bank, subjects, range(first, processes), progress=progress, name=f"bank: {condition}", log=log,
            seconds=seconds,
        )  # fmt: skip


def _generations(
    bank: Bank,
    subjects: Sequence[Subject],
    numbers: range,
    *,
    progress: Progress,
    name: str,
    log: RecordLog | None = None,
    seconds: float = float("inf"),
) -> list[LatencyRecord]:
    """Generation after generation, each block on disk before the next, until there are enough or the time is over."""
    end, records = time.monotonic() + seconds, []
    with (
        open_campaign(
            subjects, shapes=[bank.shape], threads=[bank.threads], session=1, progress=progress, seed=numbers.start
        ) as campaign,
        progress.stage(name, total=len(numbers)) as advance,
    ):
        for number in numbers:
            for record in campaign.generation(number, range(number * ROUNDS, (number + 1) * ROUNDS)):
                records.append(record)
                if log is not None:
                    log.append(record)
            advance()
            if time.monotonic() > end:
                break
    return records


def _subject(key: str, path: Path) -> Subject:
    return Subject(measured_key=key, graph_key=key, onnx_path=path)


def _folder_name(side: str) -> str:
    return "base" if side in (BASELINE, AGAIN) else f"slow-{100 * SLOWDOWNS[side]:.0f}"
