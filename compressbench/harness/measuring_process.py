"""The parent's end of a measuring process: starts it, asks it for blocks, freezes it between them, ends it.

Threads of a runtime spin after a run, in the hope of the next one: ONNX Runtime's for 57 ms on an AMD EPYC of the third
generation. A process that waits for its next block would take a core from the one that is being timed. So the kernel
stops it meanwhile, and it goes on as if no time had gone by, which also keeps the pause out of its own next runs.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from compressbench.errors import CompressbenchError
from compressbench.harness.cores import cores_for
from compressbench.harness.real_rows import RealRows

BLOCK_NS = 60_000_000
"""A block holds as many runs as fit into this, within the two bounds below. Short, for what a machine does to its
guests changes within tenths of a second, and only what changes more slowly than blocks does a pair of them share."""
LEAST_RUNS, MOST_RUNS = 1, 10
FREEZES = sys.platform == "linux"
"""Elsewhere a frozen process would outlive a parent that is killed."""
SPIN_S = 0.1
"""Pause before each block where processes are not frozen, so that the last one's threads have gone to sleep."""


@dataclass(frozen=True, kw_only=True)
class OnTask:
    """A model that answers a task, and the rows of that task."""

    measured_key: str
    rows: RealRows


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model to time, standing for every model of the same graph."""

    measured_key: str
    graph_key: str
    onnx_path: Path
    torch_path: Path | None = None
    """Folder of the same model for PyTorch; None where there is none, and then no PyTorch runtime times it."""
    on_tasks: Sequence[OnTask] = ()
    """For the shapes of real lengths: one model of this graph for each task. The process of this subject runs the rows
    of all of them, for the values of weights cost nothing; their records bear those models' keys."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one block runs: names of inputs, in order."""

    shape: str
    run: Sequence[str]
    warmup: Sequence[str] = ()


@dataclass(kw_only=True)
class Worker:
    """A running measuring process and how many runs its blocks have, by shape."""

    subject: Subject
    process: subprocess.Popen[str]
    cores: tuple[int, ...] = ()
    opened: dict[str, int] = field(default_factory=dict)
    """What opening the model took: `load_ns`, `start_memory_bytes`."""
    frozen: bool = False
    runs: dict[str, int] = field(default_factory=dict)
    typical_ns: dict[str, float] = field(default_factory=dict)
    """What a run takes once warm, by shape."""
    unsettled: list[str] = field(default_factory=list)

    @classmethod
    def start(cls, subject: Subject) -> "Worker":
        """A fresh process that has opened nothing yet."""
        process = subprocess.Popen(
            [sys.executable, "-m", "compressbench.harness.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return cls(subject=subject, process=process)

    def open(self, *, runtime: str, threads: int, inputs_path: Path, place: int = 0) -> None:
        """Open the model on cores of its own, where the system binds.

        Args:
            runtime: Name of the runtime.
            threads: Intra-op threads.
            inputs_path: File with all inputs by name.
            place: Processes that work at the same time and have their cores already.

        Raises:
            CompressbenchError: If it cannot be opened.
        """
        self.cores = cores_for(threads, place=place)
        model_paths = {"onnx_path": str(self.subject.onnx_path)}
        if self.subject.torch_path is not None:
            model_paths["torch_path"] = str(self.subject.torch_path)
        answer = self.ask(
            {
                **model_paths,
                "runtime": runtime,
                "threads": threads,
                "cores": self.cores,
                "inputs_path": str(inputs_path),
            }
        )
        self.opened = {name: answer[name] for name in ("load_ns", "start_memory_bytes")}

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send one request and wait for its answer.

        Raises:
            CompressbenchError: If the process died or could not open its model.
        """
        self.send(request)
        return self.receive()

    def send(self, request: dict[str, Any]) -> None:
        """Send one request, which wakes a frozen process; a process that has died is told of by `receive`."""
        assert self.process.stdin is not None  # a pipe
        if self.frozen:  # before it is written to: a long request waits for its reader
            self.process.send_signal(signal.SIGCONT)
            self.frozen = False
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()

    def freeze(self) -> None:
        """Stop all its threads until the next request, where the system can."""
        if FREEZES:
            self.process.send_signal(signal.SIGSTOP)
            self.frozen = True

    def receive(self) -> dict[str, Any]:
        """Wait for the answer to the last request.

        Raises:
            CompressbenchError: If the process died or could not do what it was asked.
        """
        assert self.process.stdout is not None  # a pipe
        line = self.process.stdout.readline()
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

    def run(self, work: Work) -> list[int]:
        """Nanoseconds of one block's runs; its untimed runs come before, and it is frozen behind."""
        if not FREEZES:
            time.sleep(SPIN_S)
        samples_ns: list[int] = self.ask({"run": list(work.run), "warmup": list(work.warmup)})["samples_ns"]
        self.freeze()
        return samples_ns

    def fixed_work(self, shape: str) -> Work:
        """A block of a fixed shape: one untimed run, then as many timed ones as fill the block.

        A model whose one run fills the block has no untimed one: cold caches cost it far less than it takes.
        """
        count = self.runs[shape]
        return Work(shape=shape, run=[shape] * count, warmup=[shape] if count > 1 else ())

    def settle(self, shape: str, *, inputs: str | None = None, first: Sequence[str] = (), least_ns: int) -> None:
        """Warm one shape up until it is steady, and size its blocks by it; the process is frozen behind.

        The first time its working threads get a core each, where the process is bound to cores.

        Args:
            shape: As recorded.
            inputs: Name of the inputs to settle on; by default the shape's.
            first: Inputs to run once before.
            least_ns: How long it is to have been steady.
        """
        pin = () if self.typical_ns else self.cores
        answer = self.ask({"settle": inputs or shape, "first": list(first), "least_ns": least_ns, "pin": pin})
        self.freeze()
        self.typical_ns[shape] = typical_ns = float(np.median(answer["samples_ns"][-3:]))
        self.runs[shape] = int(np.clip(BLOCK_NS // max(typical_ns, 1), LEAST_RUNS, MOST_RUNS))
        if not answer["settled"]:
            self.unsettled.append(shape)


def end_workers(workers: Sequence[Worker]) -> None:
    """Kill and reap processes, whatever state they are in."""
    for worker in workers:
        worker.process.kill()
    for worker in workers:
        worker.process.wait()
        for pipe in (worker.process.stdin, worker.process.stdout):
            if pipe:
                with suppress(BrokenPipeError):  # what a dead process was still to be asked
                    pipe.close()
