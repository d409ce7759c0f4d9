"""The measuring process as a process: what it loads, how it rests between two blocks, how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from compressbench.errors import CompressbenchError
from compressbench.harness.inputs import latency_inputs
from compressbench.harness.latency import measure_latency
from compressbench.harness.measuring_process import Subject, Work, Worker
from compressbench.harness.shapes import Shape
from compressbench.progress import Quiet
from compressbench.records.schema import LatencyRecord
from tests.unit.test_latency import write_model

SHAPE = Shape(1, 4)
Process = subprocess.Popen[str]


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model" / "model.onnx", outputs=2)


@pytest.fixture
def process() -> Iterator[Process]:
    command = [sys.executable, "-m", "compressbench.harness.worker"]
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield started
    started.kill()
    started.wait()
    for pipe in (started.stdin, started.stdout):
        assert pipe
        with suppress(BrokenPipeError):
            pipe.close()


@pytest.fixture
def worker(process: Process, model_path: Path, tmp_path: Path) -> Worker:
    """A worker that has opened its model."""
    inputs_path = tmp_path / "inputs.npz"
    np.savez(inputs_path, **latency_inputs([model_path], [SHAPE]))
    made = Worker(subject=Subject(measured_key="a", graph_key="b", onnx_path=model_path), process=process)
    request = {"onnx_path": str(model_path), "threads": 1, "inputs_path": str(inputs_path)}
    assert made.ask(request)["ready"] is True
    return made


def wait_until_stopped(process: psutil.Process) -> None:
    """The kernel stops a process soon, not at once."""
    end = time.monotonic() + 20
    while process.status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_loads_no_training_libraries() -> None:
    code = "import sys, compressbench.harness.worker; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "datasets", "onnx", "optimum", "pandas"} & set(loaded)


def test_an_interrupt_is_left_to_the_parent(worker: Worker, process: Process) -> None:
    os.kill(process.pid, signal.SIGINT)
    assert len(worker.ask({"run": ["1x4"] * 3, "warmup": ["1x4"]})["samples_ns"]) == 3


def test_ends_with_its_input(worker: Worker, process: Process) -> None:
    assert process.stdin
    process.stdin.close()  # as when the parent is gone
    assert process.wait(timeout=20) == 0


def test_uses_no_core_between_two_blocks_and_goes_on(worker: Worker, process: Process) -> None:
    worker.settle("1x4", least_ns=1_000_000)
    seen = psutil.Process(process.pid)
    wait_until_stopped(seen)
    before = seen.cpu_times()
    time.sleep(0.2)
    assert seen.cpu_times()[:2] == before[:2]
    assert len(worker.run(Work(shape="1x4", run=["1x4"] * 3))) == 3
    wait_until_stopped(seen)
    assert worker.ask({"memory": True})["peak_memory_bytes"] > 0


def test_ends_with_its_parent_though_it_is_frozen(model_path: Path, tmp_path: Path) -> None:
    inputs_path = tmp_path / "inputs.npz"
    np.savez(inputs_path, **latency_inputs([model_path], [SHAPE]))
    code = f"""
import time
from pathlib import Path
from compressbench.harness.measuring_process import Subject, Work, Worker
worker = Worker.start(Subject(measured_key="a", graph_key="b", onnx_path=Path({str(model_path)!r})))
worker.open(runtime="onnxruntime", threads=1, inputs_path=Path({str(inputs_path)!r}))
worker.freeze()
print(worker.process.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    frozen = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    gone, _ = psutil.wait_procs([frozen], timeout=20)
    assert gone or frozen.status() == psutil.STATUS_ZOMBIE  # where nobody reaps orphans


def test_threads_that_work_get_a_core_each_and_those_that_wait_none() -> None:
    code = """
import os, threading, time
from compressbench.harness.cores import pin_threads
allowed = sorted(os.sched_getaffinity(0))
waiting = threading.Thread(target=time.sleep, args=(60,), daemon=True)
waiting.start()
bound = pin_threads(lambda: sum(range(10_000)), [allowed[-1], allowed[0]])
assert bound == [threading.get_native_id()], bound
assert os.sched_getaffinity(bound[0]) == {allowed[-1]}
assert os.sched_getaffinity(waiting.native_id) == set(allowed)
assert pin_threads(lambda: None, []) == []
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_its_death_is_one_clear_error(worker: Worker, process: Process) -> None:
    process.kill()
    with pytest.raises(
        CompressbenchError, match=r"the process that times .*model\.onnx ended with code -9: out of memory"
    ):
        worker.ask({"run": ["1x4"]})


def test_speaks_lines_of_json_and_nothing_else(worker: Worker, process: Process) -> None:
    assert process.stdin
    assert process.stdout
    for count in (1, 2):
        process.stdin.write(json.dumps({"run": ["1x4"] * count, "warmup": ["1x4"]}) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        assert list(answer) == ["samples_ns"]
        assert len(answer["samples_ns"]) == count


def test_a_campaign_whose_process_dies_says_so_and_leaves_none_behind(model_path: Path) -> None:
    def kill_workers(record: LatencyRecord) -> None:
        for child in psutil.Process().children():
            if "compressbench.harness.worker" in child.cmdline():
                child.kill()

    subject = Subject(measured_key="a", graph_key="b", onnx_path=model_path)
    with pytest.raises(CompressbenchError, match="ended with code -9"):
        measure_latency(
            [subject], shapes=[SHAPE], threads=[1], session=1, done=[], on_record=kill_workers,
            progress=Quiet(), rounds=4, generations=1,
        )  # fmt: skip
    assert not [each for each in psutil.Process().children() if "compressbench.harness.worker" in each.cmdline()]
