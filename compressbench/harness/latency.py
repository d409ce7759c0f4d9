"""The latency campaign: fresh worker processes, one at a time, blocks of all models in random order.

A generation is one fresh process per model. Each round of a generation runs one block of every model at every shape,
shuffled. What pairs two models is the round, so that a slow minute of the machine slows both.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock

from compressbench.errors import CompressbenchError
from compressbench.harness.inputs import latency_inputs
from compressbench.harness.shapes import Shape
from compressbench.progress import Progress
from compressbench.records.schema import LatencyRecord

ROUNDS = 15
GENERATIONS = 3
BLOCK_NS = 300_000_000
"""A block holds as many runs as fit into this, within the two bounds below."""
LEAST_RUNS, MOST_RUNS = 1, 10
IDLE_S = 0.02
"""Pause between two workers, so that the last one's spinning threads have gone to sleep."""
LOCK_NAME = "compressbench-latency.lock"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model to time, standing for every model of the same graph."""

    measured_key: str
    graph_key: str
    onnx_path: Path


class Block(NamedTuple):
    """One model at one shape in one round: several runs in a row."""

    subject: Subject
    shape: str
    round: int


@dataclass(kw_only=True)
class Worker:
    """A running measuring process and how many runs its blocks have, by shape."""

    subject: Subject
    process: subprocess.Popen[str]
    runs: dict[str, int] = field(default_factory=dict)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send one request and wait for its answer.

        Raises:
            CompressbenchError: If the process died or could not open its model.
        """
        assert self.process.stdin is not None  # both are pipes
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self.process.wait()
            raise CompressbenchError(
                f"the process that times {self.subject.onnx_path} ended with code {code}: "
                "out of memory, or a model its runtime cannot run at this shape"
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise CompressbenchError(answer["error"])
        return answer

    def run(self, shape: str) -> list[int]:
        """Nanoseconds of one block's runs, after a pause for the other workers' threads and an untimed run.

        A model whose one run fills the block has no untimed one: cold caches cost it far less than it takes.
        """
        time.sleep(IDLE_S)
        count = self.runs[shape]
        samples_ns: list[int] = self.ask({"shape": shape, "warmup": int(count > 1), "count": count})["samples_ns"]
        return samples_ns

    def settle(self, shape: str) -> None:
        """Warm one shape up until it is steady, and size its blocks by it."""
        samples_ns = self.ask({"shape": shape, "settle": True})["samples_ns"]
        typical_ns = float(np.median(samples_ns[-3:]))
        self.runs[shape] = int(np.clip(BLOCK_NS // max(typical_ns, 1), LEAST_RUNS, MOST_RUNS))


def measure_latency(
    subjects: Sequence[Subject],
    *,
    runtime: str,
    shapes: Sequence[Shape],
    threads: int,
    session: int,
    done: Sequence[LatencyRecord],
    on_record: Callable[[LatencyRecord], None],
    progress: Progress,
    rounds: int = ROUNDS,
    generations: int = GENERATIONS,
    seed: int = 0,
) -> None:
    """Time every subject at every shape in `rounds` rounds over `generations` fresh processes.

    Args:
        subjects: Models with distinct graphs.
        runtime: Name written into the records.
        shapes: Batch x tokens.
        threads: Intra-op threads.
        session: Number written into the records.
        done: Blocks that are there already, from an interrupted campaign; they are not measured again.
        on_record: Takes each block's record as soon as it is measured.
        progress: Told of every block.
        rounds: In all, at least one a generation.
        generations: Fresh processes per subject.
        seed: Of the order of blocks.

    Raises:
        CompressbenchError: If a worker process dies.
    """
    known = {(each.measured_key, each.shape, each.round) for each in done if each.runtime == runtime}
    schedule = _schedule(subjects, shapes, rounds=rounds, generations=generations, known=known, seed=seed)
    if not any(schedule):
        return
    with ExitStack() as stack:
        stack.enter_context(_one_campaign_at_a_time(progress))
        inputs_path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "inputs.npz"
        arrays: dict[str, Any] = latency_inputs([subject.onnx_path for subject in subjects], shapes)
        np.savez(inputs_path, **arrays)
        advance = stack.enter_context(progress.stage("latency", total=sum(map(len, schedule))))
        for generation, blocks in enumerate(schedule):
            wanted = [subject for subject in subjects if any(subject == block.subject for block in blocks)]
            with _workers(wanted, threads=threads, inputs_path=inputs_path, shapes=shapes) as workers:
                for block in blocks:
                    samples_ns = workers[block.subject.measured_key].run(block.shape)
                    on_record(
                        LatencyRecord(
                            session=session,
                            measured_key=block.subject.measured_key,
                            graph_key=block.subject.graph_key,
                            runtime=runtime,
                            shape=block.shape,
                            threads=threads,
                            process=generation,
                            round=block.round,
                            samples_ns=samples_ns,
                        )
                    )
                    advance()


def _schedule(
    subjects: Sequence[Subject],
    shapes: Sequence[Shape],
    *,
    rounds: int,
    generations: int,
    known: Container[tuple[str, str, int]],
    seed: int,
) -> list[list[Block]]:
    """The blocks still to be measured, by generation: round after round, shuffled within each."""
    rng = np.random.default_rng(seed)
    schedule = []
    for part in np.array_split(np.arange(rounds), generations):
        blocks = []
        for number in map(int, part):
            these = [Block(subject, str(shape), number) for subject in subjects for shape in shapes]
            blocks += [these[place] for place in rng.permutation(len(these))]
        schedule.append([each for each in blocks if (each.subject.measured_key, each.shape, each.round) not in known])
    return schedule


@contextmanager
def _workers(
    subjects: Sequence[Subject], *, threads: int, inputs_path: Path, shapes: Sequence[Shape]
) -> Iterator[dict[str, Worker]]:
    """One fresh, settled process per subject, ended however the block ends."""
    workers: dict[str, Worker] = {}
    try:
        for subject in subjects:
            process = subprocess.Popen(
                [sys.executable, "-m", "compressbench.harness.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            workers[subject.measured_key] = worker = Worker(subject=subject, process=process)
            worker.ask({"onnx_path": str(subject.onnx_path), "threads": threads, "inputs_path": str(inputs_path)})
            for shape in shapes:
                worker.settle(str(shape))
        yield workers
    finally:
        for worker in workers.values():
            worker.process.kill()
        for worker in workers.values():
            worker.process.wait()
            for pipe in (worker.process.stdin, worker.process.stdout):
                if pipe:
                    with suppress(BrokenPipeError):  # what a dead process was still to be asked
                        pipe.close()


@contextmanager
def _one_campaign_at_a_time(progress: Progress) -> Iterator[None]:
    """Hold the machine-wide lock; say so when another run has it."""
    lock = FileLock(str(Path(tempfile.gettempdir()) / LOCK_NAME))
    try:
        lock.acquire(timeout=0)
    except TimeoutError:
        progress.say("another run on this machine is measuring; waiting for it to end")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
