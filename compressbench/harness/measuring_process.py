"""The parent's end of a measuring process: starts it, asks it for blocks, ends it."""

import json
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

BLOCK_NS = 300_000_000
"""A block holds as many runs as fit into this, within the two bounds below."""
LEAST_RUNS, MOST_RUNS = 1, 10
IDLE_S = 0.02
"""Pause between two workers, so that the last one's spinning threads have gone to sleep."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model to time, standing for every model of the same graph."""

    measured_key: str
    graph_key: str
    onnx_path: Path
    torch_path: Path | None = None
    """Folder of the same model for PyTorch; None where there is none, and then no PyTorch runtime times it."""


@dataclass(kw_only=True)
class Worker:
    """A running measuring process and how many runs its blocks have, by shape."""

    subject: Subject
    process: subprocess.Popen[str]
    runs: dict[str, int] = field(default_factory=dict)

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

    def open(self, *, runtime: str, threads: int, inputs_path: Path) -> None:
        """Open the model.

        Raises:
            CompressbenchError: If it cannot be opened.
        """
        model_paths = {"onnx_path": str(self.subject.onnx_path)}
        if self.subject.torch_path is not None:
            model_paths["torch_path"] = str(self.subject.torch_path)
        self.ask({**model_paths, "runtime": runtime, "threads": threads, "inputs_path": str(inputs_path)})

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
