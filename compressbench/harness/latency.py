"""Latency of a set of models: a campaign of a fixed number of rounds, resumable block by block."""

from collections.abc import Callable, Sequence

import numpy as np

from compressbench.harness.campaign import block_key, open_campaign, planned_blocks
from compressbench.harness.measuring_process import Subject
from compressbench.harness.shapes import AnyShape
from compressbench.progress import Progress
from compressbench.records.schema import LatencyRecord, SideRecord
from compressbench.runtimes.catalog import DEFAULT

ROUNDS = 15
GENERATIONS = 3


def measure_latency(
    subjects: Sequence[Subject],
    *,
    runtimes: Sequence[str] = (DEFAULT,),
    shapes: Sequence[AnyShape],
    threads: Sequence[int],
    session: int,
    done: Sequence[LatencyRecord],
    on_record: Callable[[LatencyRecord], None],
    on_side_record: Callable[[SideRecord], None] | None = None,
    progress: Progress,
    rounds: int = ROUNDS,
    generations: int = GENERATIONS,
    seed: int = 0,
    lock_timeout_s: float | None = None,
    wants_more: Callable[[int], bool] | None = None,
) -> None:
    """Time every subject in every runtime at every shape in `rounds` rounds over `generations` fresh processes.

    Args:
        subjects: Models with distinct graphs.
        runtimes: Names of runtimes; their blocks are shuffled together.
        shapes: Batch x tokens, or real lengths, which need the subjects' `on_tasks`.
        threads: Intra-op thread counts.
        session: Number written into the records.
        done: Blocks that are there already, from an interrupted campaign; they are not measured again.
        on_record: Takes each block's record as soon as it is measured.
        on_side_record: Takes what is recorded beside; see `open_campaign`.
        progress: Told of every block.
        rounds: In all, at least one a generation.
        generations: Fresh processes per subject, runtime and thread count.
        seed: Of the order of blocks.
        lock_timeout_s: Seconds to wait for another campaign on this machine; None: as long as it takes.
        wants_more: Asked after these generations, and after each further one, with how many there were; it sees the
            records that `on_record` took. A further generation has as many rounds as the first.

    Raises:
        BadInput: If another campaign still runs after `lock_timeout_s`.
        CompressbenchError: If a worker process dies.
    """
    known = {block_key(each) for each in done}
    parts = [[int(number) for number in part] for part in np.array_split(np.arange(rounds), generations)]
    total = len(
        planned_blocks(
            subjects, shapes=shapes, runtimes=runtimes, threads=threads, rounds=range(rounds), seed=seed, known=known
        )
    )
    if not total and (wants_more is None or not wants_more(generations)):
        return
    with open_campaign(
        subjects, shapes=shapes, runtimes=runtimes, threads=threads, session=session, progress=progress, seed=seed,
        lock_timeout_s=lock_timeout_s, on_side_record=on_side_record,
    ) as campaign:  # fmt: skip
        with progress.stage("latency", total=total) as advance:
            for generation, part in enumerate(parts):
                for record in campaign.generation(generation, part, known=known):
                    on_record(record)
                    advance()
        first, number = rounds, generations
        while wants_more is not None and wants_more(number):
            further = range(first, first + len(parts[0]))
            with progress.stage("latency, further rounds", total=len(campaign.blocks(further, known=known))) as advance:
                for record in campaign.generation(number, further, known=known):
                    on_record(record)
                    advance()
            first, number = further.stop, number + 1
