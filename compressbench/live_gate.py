"""`gate --live`: both artifacts measured together on this machine, until the gate can tell or its time is over.

The harness measures, the gate decides; here one asks the other after each generation of processes.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from compressbench.gate.latency import LOOKS, is_look_due, paired_rounds, wants_more
from compressbench.gate.snapshot import RowKey, Snapshot, snapshot_of
from compressbench.harness.campaign import Campaign, open_campaign
from compressbench.harness.measuring_process import Subject
from compressbench.ledger import Ledger
from compressbench.measuring import Measurable, Measuring
from compressbench.progress import Progress
from compressbench.records.schema import CellRecord, LatencyRecord, Record
from compressbench.tasks.data import TaskData

BASELINE, CURRENT = "baseline", "current"
LEAST_PROCESSES = LOOKS[0]
LEAST_ROUNDS, MOST_ROUNDS = 1, 12
"""Rounds of one process."""
FIRST_LOOK_SHARE = 0.6
"""Part of the budget after which there should be a first look; the rest is for more processes."""
SMALL_PARAMETERS = 30_000_000
SMALL_BUDGET_S, LARGE_BUDGET_S = 50.0, 160.0
"""Seconds of measuring latency by default: for a model of TinyBERT's size, and for one of BERT-Base's."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """An artifact as the command line named it."""

    name: str
    model: Measurable
    cell: CellRecord
    """Its row; the baseline's and the current side's match."""


def measure_sides(
    sides: tuple[Side, Side],
    data: TaskData,
    measuring: Measuring,
    *,
    environment: Mapping[str, Any],
    threshold: float,
    budget_s: float | None = None,
    lock_timeout_s: float | None = None,
) -> tuple[Snapshot, Snapshot]:
    """Size, answers and INT8 share of both artifacts, then their latencies interleaved.

    Args:
        sides: Baseline and current.
        data: The task.
        measuring: Where records go, and shapes, runtimes and threads.
        environment: Of this machine.
        threshold: Slowdown that is allowed: what latency is measured to tell.
        budget_s: Seconds of latency measuring; default by the models' size. At least `LEAST_PROCESSES` processes a side
            are measured whatever it is.
        lock_timeout_s: Seconds to wait for another measurement on this machine; None: as long as it takes.

    Raises:
        BadInput: If a model does not fit the task, or the machine stays busy.
        CompressbenchError: If a measuring process dies.
    """
    ledger = measuring.ledger
    measuring.describe_task(data)
    for side in sides:
        measuring.model(side.model, data)
    if budget_s is None:
        sizes = ledger.index.sizes
        largest = max(sizes[side.model.key].parameter_count for side in sides)
        budget_s = SMALL_BUDGET_S if largest <= SMALL_PARAMETERS else LARGE_BUDGET_S
    subjects = [_subject(side.model, measuring) for side in sides]
    with open_campaign(
        subjects,
        shapes=measuring.shapes,
        runtimes=measuring.runtimes,
        threads=measuring.threads,
        session=measuring.session,
        progress=measuring.progress,
        lock_timeout_s=lock_timeout_s,
    ) as campaign:
        measure_until_told(
            campaign,
            (sides[0].model.key, sides[1].model.key),
            threshold=threshold,
            budget_s=budget_s,
            on_record=ledger.add,
            progress=measuring.progress,
        )
    # The log is a run's: its baseline and one row, which `report` and a later gate read.
    ledger.add(replace(sides[0].cell, chain=BASELINE, method=BASELINE))
    ledger.add(sides[1].cell)
    baseline, current = (_snapshot(side, ledger, environment) for side in sides)
    return baseline, current


def measure_until_told(
    campaign: Campaign,
    keys: tuple[str, str],
    *,
    threshold: float,
    budget_s: float,
    on_record: Callable[[LatencyRecord], None],
    progress: Progress,
    clock_s: Callable[[], float] = time.monotonic,
) -> None:
    """Generation after generation until every latency is decided or another would overrun the budget.

    Args:
        campaign: Open, with both sides as its subjects.
        keys: Measured keys of baseline and current.
        threshold: Slowdown that is allowed.
        budget_s: Seconds; `LEAST_PROCESSES` generations are measured whatever it is.
        on_record: Takes each block's record as soon as it is measured.
        progress: Told of every generation up to the least.
        clock_s: Seconds.
    """
    records: list[LatencyRecord] = []
    start, longest_s = clock_s(), 0.0
    rounds, taken, number = LEAST_ROUNDS, 0, 0
    with progress.stage("gate: latency", total=LEAST_PROCESSES) as advance:
        while number < LEAST_PROCESSES or clock_s() - start + longest_s <= budget_s:
            began = clock_s()
            planned = range(taken, taken + rounds)
            blocks_at = [began]
            for record in campaign.generation(number, planned):
                blocks_at.append(clock_s())
                records.append(record)
                on_record(record)
            taken, number = planned.stop, number + 1
            if number == 1:
                block_s = (blocks_at[-1] - blocks_at[1]) / (len(blocks_at) - 2)  # two sides make two blocks at least
                start_s, round_s = blocks_at[1] - began - block_s, block_s * (len(blocks_at) - 1)
                rounds = rounds_that_fit(budget_s, start_s=start_s, round_s=round_s)
            else:
                longest_s = max(longest_s, clock_s() - began)
            if number <= LEAST_PROCESSES:
                advance()
            sides = paired_rounds(records, baseline_key=keys[0], current_key=keys[1])
            if is_look_due(number) and not wants_more(sides, threshold=threshold):
                return


def rounds_that_fit(budget_s: float, *, start_s: float, round_s: float) -> int:
    """Rounds of each process such that `LEAST_PROCESSES` fit into `FIRST_LOOK_SHARE` of the budget.

    Rounds of one process tell less than another process does, so there are `MOST_ROUNDS` at most; one is the least.

    Args:
        budget_s: Seconds in all.
        start_s: Seconds until a generation's first block.
        round_s: Seconds of a round.
    """
    each_s = FIRST_LOOK_SHARE * budget_s / LEAST_PROCESSES - start_s
    return int(min(MOST_ROUNDS, max(LEAST_ROUNDS, each_s // max(round_s, 1e-9))))


def _subject(model: Measurable, measuring: Measuring) -> Subject:
    return Subject(
        measured_key=model.key,
        graph_key=measuring.ledger.index.graphs[model.key],
        onnx_path=model.onnx_path,
        torch_path=model.torch_path,
        on_tasks=measuring.on_tasks(model),
    )


def _snapshot(side: Side, ledger: Ledger, environment: Mapping[str, Any]) -> Snapshot:
    """One side's row alone."""
    records: list[Record] = [each for each in ledger.records if not isinstance(each, CellRecord)]
    return snapshot_of([*records, side.cell], environment=environment, name=side.name)


def side_of(name: str, model: Measurable, *, role: str, row: RowKey) -> Side:
    """A side of the pair; its records carry the role, so that an artifact may be compared with itself.

    Args:
        name: As the command line names it.
        model: What is measured.
        role: `BASELINE` or `CURRENT`.
        row: What both sides match on.
    """
    own = replace(model, key=f"{role}-{model.key}")
    cell = CellRecord(
        task=row.task,
        method=name,
        chain=row.chain,
        seed=row.seed,
        parameters={},
        artifact_key=model.key,
        artifact_path=str(model.onnx_path.parent.absolute()),
        format="onnx",
        measured_key=own.key,
        budget={},
    )
    return Side(name=name, model=own, cell=cell)
