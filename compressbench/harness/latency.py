"""Latency of a set of models: a campaign of a fixed number of rounds, resumable block by block."""

from collections.abc import Callable, Sequence

import numpy as np

from compressbench.harness.campaign import ONNXRUNTIME, block_key, open_campaign
from compressbench.harness.measuring_process import Subject
from compressbench.harness.shapes import Shape
from compressbench.progress import Progress
from compressbench.records.schema import LatencyRecord
from compressbench.runtimes.catalog import runs_in

ROUNDS = 15
GENERATIONS = 3


def measure_latency(
    subjects: Sequence[Subject],
    *,
    runtimes: Sequence[str] = ONNXRUNTIME,
    shapes: Sequence[Shape],
    threads: Sequence[int],
    session: int,
    done: Sequence[LatencyRecord],
    on_record: Callable[[LatencyRecord], None],
    progress: Progress,
    rounds: int = ROUNDS,
    generations: int = GENERATIONS,
    seed: int = 0,
    lock_timeout_s: float | None = None,
) -> None:
    """Time every subject in every runtime at every shape in `rounds` rounds over `generations` fresh processes.

    Args:
        subjects: Models with distinct graphs.
        runtimes: Names of runtimes; their blocks are shuffled together.
        shapes: Batch x tokens.
        threads: Intra-op thread counts.
        session: Number written into the records.
        done: Blocks that are there already, from an interrupted campaign; they are not measured again.
        on_record: Takes each block's record as soon as it is measured.
        progress: Told of every block.
        rounds: In all, at least one a generation.
        generations: Fresh processes per subject, runtime and thread count.
        seed: Of the order of blocks.
        lock_timeout_s: Seconds to wait for another campaign on this machine; None: as long as it takes.

    Raises:
        BadInput: If another campaign still runs after `lock_timeout_s`.
        CompressbenchError: If a worker process dies.
    """
    known = {block_key(each) for each in done}
    parts = [[int(number) for number in part] for part in np.array_split(np.arange(rounds), generations)]
    wanted = {
        (subject.measured_key, runtime, count, str(shape), number)
        for subject in subjects
        for runtime in runtimes
        if runs_in(runtime, torch_path=subject.torch_path)
        for count in threads
        for shape in shapes
        for number in range(rounds)
    }
    if wanted <= known:
        return
    with open_campaign(
        subjects, shapes=shapes, runtimes=runtimes, threads=threads, session=session, progress=progress, seed=seed,
        lock_timeout_s=lock_timeout_s,
    ) as campaign:  # fmt: skip
        total = sum(len(campaign.blocks(part, known=known)) for part in parts)
        with progress.stage("latency", total=total) as advance:
            for generation, part in enumerate(parts):
                for record in campaign.generation(generation, part, known=known):
                    on_record(record)
                    advance()
