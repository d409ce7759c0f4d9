"""The latency campaign: fresh worker processes, one working at a time, blocks of all models in random order.

A generation is one fresh process per model, runtime and thread count. Each round of a generation runs one block of
every model in every runtime at every shape, shuffled together. What pairs two blocks is the round, so that a slow
minute of the machine slows both, across runtimes too. Who opens the campaign decides after each generation whether it
takes another.
"""

import tempfile
from collections.abc import Container, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from compressbench.harness.inputs import latency_inputs
from compressbench.harness.machine_lock import machine_to_itself
from compressbench.harness.measuring_process import Subject, Worker, end_workers
from compressbench.harness.shapes import Shape
from compressbench.progress import Progress
from compressbench.records.schema import LatencyRecord
from compressbench.runtimes.catalog import runs_in

ONNXRUNTIME = ("onnxruntime",)
WorkerKey = tuple[str, str, int]
"""Measured key, runtime, threads: each has a process of its own."""
BlockKey = tuple[str, str, int, str, int]
"""Measured key, runtime, threads, shape, round."""


class Block(NamedTuple):
    """One model in one runtime with one thread count at one shape in one round: several runs in a row."""

    subject: Subject
    runtime: str
    threads: int
    shape: str
    round: int

    @property
    def worker_key(self) -> WorkerKey:
        """The process it runs in."""
        return self.subject.measured_key, self.runtime, self.threads

    @property
    def key(self) -> BlockKey:
        """What tells it from every other block of a session."""
        return (*self.worker_key, self.shape, self.round)


def block_key(record: LatencyRecord) -> BlockKey:
    """The key of the block that a record is of."""
    return record.measured_key, record.runtime, record.threads, record.shape, record.round


@contextmanager
def open_campaign(
    subjects: Sequence[Subject],
    *,
    shapes: Sequence[Shape],
    runtimes: Sequence[str] = ONNXRUNTIME,
    threads: Sequence[int],
    session: int,
    progress: Progress,
    seed: int = 0,
    lock_timeout_s: float | None = None,
) -> Iterator["Campaign"]:
    """A campaign that has the machine to itself until the context ends; then its processes are gone, however it ends.

    Args:
        subjects: Models with distinct graphs.
        shapes: Batch x tokens.
        runtimes: Names of runtimes; their blocks are shuffled together.
        threads: Thread counts; each has processes of its own.
        session: Number written into the records.
        progress: Told when another campaign has to end first.
        seed: Of the order of blocks.
        lock_timeout_s: Seconds to wait for another campaign; None: as long as it takes.

    Raises:
        BadInput: If another campaign still runs after `lock_timeout_s`.
    """
    with ExitStack() as stack:
        stack.enter_context(machine_to_itself(progress, timeout_s=lock_timeout_s))
        inputs_path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "inputs.npz"
        arrays: dict[str, Any] = latency_inputs([subject.onnx_path for subject in subjects], shapes)
        np.savez(inputs_path, **arrays)
        campaign = Campaign(
            subjects=subjects, shapes=shapes, runtimes=runtimes, threads=threads, session=session, seed=seed,
            inputs_path=inputs_path,
        )  # fmt: skip
        stack.callback(campaign.end_workers)
        yield campaign


@dataclass(kw_only=True)
class Campaign:
    """An open campaign; `open_campaign` makes one."""

    subjects: Sequence[Subject]
    shapes: Sequence[Shape]
    runtimes: Sequence[str]
    threads: Sequence[int]
    session: int
    seed: int
    inputs_path: Path
    _workers: dict[WorkerKey, Worker] = field(default_factory=dict)

    def blocks(self, rounds: Sequence[int], *, known: Container[BlockKey] = ()) -> list[Block]:
        """What a generation of these rounds has to run, in order: round after round, shuffled within each.

        The order of a round depends on the seed and the round's number alone, so that a campaign that was stopped
        goes on in the order it had.
        """
        found: list[Block] = []
        for number in rounds:
            these = [
                Block(subject, runtime, threads, str(shape), number)
                for subject in self.subjects
                for runtime in self.runtimes
                if runs_in(runtime, torch_path=subject.torch_path)
                for threads in self.threads
                for shape in self.shapes
            ]
            order = np.random.default_rng([self.seed, number]).permutation(len(these))
            found += [these[place] for place in order if these[place].key not in known]
        return found

    def generation(
        self, number: int, rounds: Sequence[int], *, known: Container[BlockKey] = ()
    ) -> Iterator[LatencyRecord]:
        """Start fresh processes, run the rounds in them, and end them; yields each block as soon as it is measured.

        Args:
            number: Of the generation; `process` of the records.
            rounds: Their numbers; a number pairs the blocks that have it.
            known: Blocks that were measured before and are left out.

        Raises:
            CompressbenchError: If a model cannot be opened or run, or a process dies.
        """
        blocks = self.blocks(rounds, known=known)
        try:
            self._start_workers(blocks)
            for block in blocks:
                samples_ns = self._workers[block.worker_key].run(block.shape)
                yield LatencyRecord(
                    session=self.session,
                    measured_key=block.subject.measured_key,
                    graph_key=block.subject.graph_key,
                    runtime=block.runtime,
                    shape=block.shape,
                    threads=block.threads,
                    process=number,
                    round=block.round,
                    samples_ns=samples_ns,
                )
        finally:
            self.end_workers()

    def end_workers(self) -> None:
        """End the processes of the current generation, if there is one."""
        workers, self._workers = self._workers, {}
        end_workers(list(workers.values()))

    def _start_workers(self, blocks: Sequence[Block]) -> None:
        """One fresh, settled process for every model, runtime and thread count that has a block."""
        for block in {each.worker_key: each for each in blocks}.values():
            worker = Worker.start(block.subject)
            self._workers[block.worker_key] = worker
            worker.open(runtime=block.runtime, threads=block.threads, inputs_path=self.inputs_path)
            for shape in self.shapes:
                worker.settle(str(shape))
