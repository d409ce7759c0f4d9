"""The latency campaign: fresh worker processes, one working at a time, blocks of all models in random order.

A generation is one fresh process per model, runtime and thread count. Each round of a generation runs one block of
every model in every runtime at every shape, shuffled together. What pairs two blocks is the round, so that a slow
minute of the machine slows both, across runtimes too. Who opens the campaign decides after each generation whether it
takes another.
"""

import tempfile
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from compressbench.harness.campaign_inputs import CampaignInputs, write_inputs
from compressbench.harness.load_watch import load_between, snapshot
from compressbench.harness.machine_lock import machine_to_itself
from compressbench.harness.measuring_process import OnTask, Subject, Work, Worker, end_workers
from compressbench.harness.real_rows import draw
from compressbench.harness.shapes import AnyShape, TaskShape
from compressbench.progress import Progress
from compressbench.records.schema import LatencyRecord, LeftOutRecord, SideRecord, WorkerRecord
from compressbench.runtimes.catalog import DEFAULT, runs_in

WorkerKey = tuple[str, str, int]
"""Measured key, runtime, threads: each has a process of its own."""
BlockKey = tuple[str, str, int, str, str, int]
"""Measured key, runtime, threads, shape, task, round."""
STEADY_NS, STEADY_AGAIN_NS = 250_000_000, 100_000_000
"""How long a process is to have been steady at its first shape, and at each further one: threads spread but once."""


class Block(NamedTuple):
    """One model in one runtime with one thread count at one shape in one round: several runs in a row."""

    subject: Subject
    runtime: str
    threads: int
    shape: AnyShape
    on_task: OnTask | None
    """For a shape of real lengths."""
    round: int

    @property
    def worker_key(self) -> WorkerKey:
        """The process it runs in."""
        return self.subject.measured_key, self.runtime, self.threads

    @property
    def measured_key(self) -> str:
        """The model it is a measurement of."""
        return self.on_task.measured_key if self.on_task else self.subject.measured_key

    @property
    def task(self) -> str:
        """Whose rows it runs; empty for a fixed shape."""
        return self.on_task.rows.task if self.on_task else ""

    @property
    def key(self) -> BlockKey:
        """What tells it from every other block of a session."""
        return self.measured_key, self.runtime, self.threads, str(self.shape), self.task, self.round


def block_key(record: LatencyRecord) -> BlockKey:
    """The key of the block that a record is of."""
    return record.measured_key, record.runtime, record.threads, record.shape, record.task, record.round


@contextmanager
def open_campaign(
    subjects: Sequence[Subject],
    *,
    shapes: Sequence[AnyShape],
    runtimes: Sequence[str] = (DEFAULT,),
    threads: Sequence[int],
    session: int,
    progress: Progress,
    seed: int = 0,
    lock_timeout_s: float | None = None,
    on_side_record: Callable[[SideRecord], None] | None = None,
) -> Iterator["Campaign"]:
    """A campaign that has the machine to itself until the context ends; then its processes are gone, however it ends.

    Args:
        subjects: Models with distinct measured keys.
        shapes: Batch x tokens, or real lengths, which need the subjects' `on_tasks`.
        runtimes: Names of runtimes; their blocks are shuffled together.
        threads: Thread counts; each has processes of its own.
        session: Number written into the records.
        progress: Told when another campaign has to end first.
        seed: Of the order of blocks, of the token ids and of the rows drawn.
        lock_timeout_s: Seconds to wait for another campaign; None: as long as it takes.
        on_side_record: Takes what is recorded beside latencies: models a runtime cannot open, loading and memory of
            each process, load of the machine; None: nobody asks.

    Raises:
        BadInput: If another campaign still runs after `lock_timeout_s`.
    """
    tell = on_side_record or _nobody
    with ExitStack() as stack:
        stack.enter_context(machine_to_itself(progress, timeout_s=lock_timeout_s))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        campaign = Campaign(
            subjects=subjects, shapes=shapes, runtimes=runtimes, threads=threads, session=session, seed=seed,
            inputs=write_inputs(subjects, shapes, to=folder / "inputs.npz", seed=seed), tell=tell,
        )  # fmt: skip
        stack.callback(campaign.end_workers)
        for record in left_out(subjects, runtimes, session=session):
            tell(record)
        yield campaign


@dataclass(kw_only=True)
class Campaign:
    """An open campaign; `open_campaign` makes one."""

    subjects: Sequence[Subject]
    shapes: Sequence[AnyShape]
    runtimes: Sequence[str]
    threads: Sequence[int]
    session: int
    seed: int
    inputs: CampaignInputs
    tell: Callable[[SideRecord], None]
    _workers: dict[WorkerKey, Worker] = field(default_factory=dict)

    def blocks(self, rounds: Sequence[int], *, known: Container[BlockKey] = ()) -> list[Block]:
        """What a generation of these rounds has to run, in order; see `planned_blocks`."""
        return planned_blocks(
            self.subjects, shapes=self.shapes, runtimes=self.runtimes, threads=self.threads, rounds=rounds,
            seed=self.seed, known=known,
        )  # fmt: skip

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
        if not blocks:
            return
        try:
            self._start_workers(blocks)
            pids = [worker.process.pid for worker in self._workers.values()]
            before = snapshot(pids)
            for block in blocks:
                worker = self._workers[block.worker_key]
                samples_ns = worker.run(self._work(worker, block))
                yield _record(block, samples_ns, session=self.session, process=number)
            self.tell(load_between(before, snapshot(pids), session=self.session, process=number))
            for key, worker in self._workers.items():
                self.tell(_worker_record(key, worker, session=self.session, process=number))
        finally:
            self.end_workers()

    def end_workers(self) -> None:
        """End the processes of the current generation, if there is one."""
        workers, self._workers = self._workers, {}
        end_workers(list(workers.values()))

    def _work(self, worker: Worker, block: Block) -> Work:
        if block.on_task is None or not isinstance(block.shape, TaskShape):
            return worker.fixed_work(str(block.shape))
        names = self.inputs.names(block.on_task.rows, block.shape)
        run = [names[place] for place in draw(len(names), seed=self.seed, round_number=block.round)]
        return Work(shape=str(block.shape), run=run, warmup=run[:1])

    def _start_workers(self, blocks: Sequence[Block]) -> None:
        """One fresh, settled process for every model, runtime and thread count that has a block."""
        for block in {each.worker_key: each for each in blocks}.values():
            worker = Worker.start(block.subject)
            self._workers[block.worker_key] = worker
            worker.open(runtime=block.runtime, threads=block.threads, inputs_path=self.inputs.path)
            self.inputs.settle(worker, self.shapes, first_ns=STEADY_NS, further_ns=STEADY_AGAIN_NS)


def planned_blocks(
    subjects: Sequence[Subject],
    *,
    shapes: Sequence[AnyShape],
    runtimes: Sequence[str],
    threads: Sequence[int],
    rounds: Sequence[int],
    seed: int,
    known: Container[BlockKey] = (),
) -> list[Block]:
    """All blocks of some rounds in the order they run: round after round, shuffled within each.

    The order of a round depends on the seed and the round's number alone, so that a campaign that was stopped goes on
    in the order it had.
    """
    found: list[Block] = []
    for number in rounds:
        these = [
            Block(subject, runtime, count, shape, on_task, number)
            for subject in subjects
            for runtime in runtimes
            if runs_in(runtime, torch_path=subject.torch_path)
            for count in threads
            for shape in shapes
            for on_task in (subject.on_tasks if isinstance(shape, TaskShape) else (None,))
        ]
        order = np.random.default_rng([seed, number]).permutation(len(these))
        found += [these[place] for place in order if these[place].key not in known]
    return found


def left_out(subjects: Sequence[Subject], runtimes: Sequence[str], *, session: int) -> Iterator[LeftOutRecord]:
    """The models that a runtime cannot open, each with the reason."""
    for subject in subjects:
        for runtime in runtimes:
            if not runs_in(runtime, torch_path=subject.torch_path):
                yield LeftOutRecord(
                    session=session,
                    measured_key=subject.measured_key,
                    runtime=runtime,
                    reason="there is no Hugging Face folder of this model, and PyTorch opens no ONNX file",
                )


def _record(block: Block, samples_ns: Sequence[int], *, session: int, process: int) -> LatencyRecord:
    return LatencyRecord(
        session=session,
        measured_key=block.measured_key,
        graph_key=block.subject.graph_key,
        runtime=block.runtime,
        shape=str(block.shape),
        threads=block.threads,
        process=process,
        round=block.round,
        samples_ns=samples_ns,
        task=block.task,
    )


def _worker_record(key: WorkerKey, worker: Worker, *, session: int, process: int) -> WorkerRecord:
    measured_key, runtime, threads = key
    return WorkerRecord(
        session=session,
        measured_key=measured_key,
        runtime=runtime,
        threads=threads,
        process=process,
        cores=worker.cores,
        **worker.opened,
        peak_memory_bytes=worker.ask({"memory": True})["peak_memory_bytes"],
        unsettled=worker.unsettled,
    )


def _nobody(record: SideRecord) -> None:
    """Takes what nobody asked for."""
