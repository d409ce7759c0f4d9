"""The bank: real rounds of a model, of itself again, and of three slower copies, quiet and beside a competitor.

BANK/bank.json              geometry, threads, slowdowns asked for, columns of extra work, environment
BANK/models/<name>/         the ONNX files: base, and slow-5, slow-10, slow-15
BANK/<condition>/<side>/records.jsonl   one latency record a block of the base or the side; `process` is the generation

Sides take turns, each beside a baseline of its own in a campaign of two, as `gate --live` measures: with all five in
one round, blocks to compare would lie further apart than they do there.
"""

import json
import os
import time
from collections.abc import Iterator
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
SIDES = {AGAIN: "again", "+5 %": "slow-5", "+10 %": "slow-10", "+15 %": "slow-15"}
"""What is measured beside the baseline, and the name of its folders."""
BANK_NAME = "bank.json"
CALIBRATION_GENERATIONS = 12


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
        return self.folder / "models" / ("base" if side in (BASELINE, AGAIN) else SIDES[side]) / "model.onnx"

    def log(self, condition: str, side: str) -> RecordLog:
        """Where the blocks of a side and of its baseline are."""
        return RecordLog(self.folder / condition / SIDES[side] / LOG_NAME)

    def records(self, condition: str, side: str) -> list[LatencyRecord]:
        """All blocks of a side and of its baseline, in the order they were measured."""
        return [each for each in self.log(condition, side).read().records if isinstance(each, LatencyRecord)]

    def rounds(self, condition: str, side: str) -> tuple[Rounds, Rounds]:
        """The baseline's and another side's rounds by process.

        Raises:
            BadInput: If there is none.
        """
        found = paired_rounds(self.records(condition, side), baseline_key=BASELINE, current_key=side)
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
    few, many = 4 * hidden, 12 * hidden
    probes = {str(columns): write_variant(base, bank.folder / "probe" / str(columns), columns=columns)
              for columns in (few, many)}  # fmt: skip
    records: dict[str, list[LatencyRecord]] = {name: [] for name in probes}
    with progress.stage("calibrate", total=CALIBRATION_GENERATIONS) as advance:
        for number in range(CALIBRATION_GENERATIONS):
            for name, path in probes.items():
                records[name] += _pair(bank, name, path, number=number, progress=progress)
            advance()
    slowdowns = []
    for name, blocks in records.items():
        (sides,) = paired_rounds(blocks, baseline_key=BASELINE, current_key=name).values()
        slowdowns.append(measured_slowdown(*sides))
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
    """Add generations to one condition, each side in turn, until there are enough or the time is over."""
    first = {side: 1 + max((each.process for each in bank.records(condition, side)), default=-1) for side in SIDES}
    core = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    beside: AbstractContextManager[object] = nullcontext()
    if condition == "loaded":
        beside = competing(core=core, seed=first[AGAIN])
    end = time.monotonic() + seconds
    numbers = range(min(first.values()), processes)
    with beside, progress.stage(f"bank: {condition}", total=len(numbers)) as advance:
        for number in numbers:
            for side in (each for each in SIDES if first[each] <= number):
                log = bank.log(condition, side)
                log.path.parent.mkdir(parents=True, exist_ok=True)
                for record in _pair(bank, side, bank.model(side), number=number, progress=progress):
                    log.append(record)
            advance()
            if time.monotonic() > end:
                break


def _pair(bank: Bank, side: str, path: Path, *, number: int, progress: Progress) -> Iterator[LatencyRecord]:
    """One generation of the baseline and a side."""
    subjects = [
        Subject(measured_key=key, graph_key=key, onnx_path=onnx_path)
        for key, onnx_path in ((BASELINE, bank.model(BASELINE)), (side, path))
    ]
    with open_campaign(
        subjects, shapes=[bank.shape], threads=[bank.threads], session=1, progress=progress, seed=number
    ) as campaign:
        yield from campaign.generation(number, range(number * ROUNDS, (number + 1) * ROUNDS))
