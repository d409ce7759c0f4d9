"""Several processes of one model at the same time, each as fast as it can: what a busy server sees.

Not paired: models come one after another, for each needs the cores to itself. So these are latencies under load and
rows a second, and no ratio is made of them.
"""

from collections.abc import Callable, Container, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter_ns

import numpy as np

from compressbench.harness.campaign import STEADY_AGAIN_NS, STEADY_NS, Block, planned_blocks
from compressbench.harness.campaign_inputs import CampaignInputs, write_inputs
from compressbench.harness.machine_lock import machine_to_itself
from compressbench.harness.measuring_process import Subject, Worker, end_workers
from compressbench.harness.shapes import AnyShape, TaskShape
from compressbench.progress import Progress
from compressbench.records.schema import ConcurrencyRecord

ROUNDS = 3
WANTED = 1000
"""Samples over all rounds and processes, from which a 99th percentile is given."""
LEAST_NS, MOST_NS = 500_000_000, 5_000_000_000
"""Bounds of a round's length."""

ConcurrencyKey = tuple[str, str, str, str, int]
"""Measured key, runtime, shape, task, round."""


def concurrency_key(record: ConcurrencyRecord) -> ConcurrencyKey:
    """What tells a record from the others of its session."""
    return record.measured_key, record.runtime, record.shape, record.task, record.round


def measure_concurrency(
    subjects: Sequence[Subject],
    *,
    shapes: Sequence[AnyShape],
    runtimes: Sequence[str],
    threads: int,
    concurrency: int,
    session: int,
    known: Container[ConcurrencyKey],
    on_record: Callable[[ConcurrencyRecord], None],
    progress: Progress,
    lock_timeout_s: float | None = None,
) -> None:
    """Run `concurrency` processes of every model at once, in every runtime at every shape, `ROUNDS` times each.

    Args:
        subjects: As for a campaign.
        shapes: Batch x tokens, or real lengths.
        runtimes: Names of runtimes.
        threads: Of each process; each is bound to cores of its own where there are enough.
        concurrency: Processes at once.
        session: Number written into the records.
        known: What was measured before and is left out.
        on_record: Takes each round as soon as it is measured.
        progress: Told of every round.
        lock_timeout_s: Seconds to wait for another measurement on this machine.

    Raises:
        BadInput: If another campaign still runs after `lock_timeout_s`.
        CompressbenchError: If a process dies.
    """
    blocks = [
        block
        for block in planned_blocks(
            subjects, shapes=shapes, runtimes=runtimes, threads=[threads], rounds=range(ROUNDS), seed=0
        )
        if (block.measured_key, block.runtime, str(block.shape), block.task, block.round) not in known
    ]
    groups: dict[tuple[str, str, int], list[Block]] = {}
    for block in blocks:
        groups.setdefault(block.worker_key, []).append(block)
    if not blocks:
        return
    with ExitStack() as stack:
        stack.enter_context(machine_to_itself(progress, timeout_s=lock_timeout_s))
        folder = Path(stack.enter_context(TemporaryDirectory()))
        inputs = write_inputs(subjects, shapes, to=folder / "inputs.npz", seed=0)
        advance = stack.enter_context(progress.stage(f"{concurrency} side by side", total=len(blocks)))
        for group in groups.values():
            workers: list[Worker] = []
            try:
                _start(workers, group[0], inputs, shapes, concurrency=concurrency)
                for block in group:
                    on_record(_round(workers, block, inputs, session=session))
                    advance()
            finally:
                end_workers(workers)


def _start(
    workers: list[Worker], block: Block, inputs: CampaignInputs, shapes: Sequence[AnyShape], *, concurrency: int
) -> None:
    """Processes that have their model open and have warmed up, one after another."""
    for place in range(concurrency):
        worker = Worker.start(block.subject)
        workers.append(worker)
        worker.open(runtime=block.runtime, threads=block.threads, inputs_path=inputs.path, place=place)
        inputs.settle(worker, shapes, first_ns=STEADY_NS, further_ns=STEADY_AGAIN_NS)


def _round(workers: Sequence[Worker], block: Block, inputs: CampaignInputs, *, session: int) -> ConcurrencyRecord:
    """All processes at once, each over the same inputs from another start, until the time is over."""
    names = [str(block.shape)]
    if block.on_task is not None and isinstance(block.shape, TaskShape):
        names = inputs.names(block.on_task.rows, block.shape)
    typical_ns = workers[0].typical_ns[str(block.shape)]
    for_ns = int(np.clip(typical_ns * WANTED / (ROUNDS * len(workers)) * 1.2, LEAST_NS, MOST_NS))
    order = np.random.default_rng(block.round).permutation(len(names))
    start_ns = perf_counter_ns()
    for place, worker in enumerate(workers):
        shift = place * len(names) // len(workers)
        worker.send({"run": [names[each] for each in np.roll(order, shift)], "for_ns": for_ns})
    answers = [worker.receive()["samples_ns"] for worker in workers]
    return ConcurrencyRecord(
        session=session,
        measured_key=block.measured_key,
        graph_key=block.subject.graph_key,
        runtime=block.runtime,
        shape=str(block.shape),
        threads=block.threads,
        concurrency=len(workers),
        round=block.round,
        wall_ns=perf_counter_ns() - start_ns,
        samples_ns=[sample for answer in answers for sample in answer],
        task=block.task,
    )
