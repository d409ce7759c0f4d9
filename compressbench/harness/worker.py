"""A measuring process: holds one model, and runs a block of it whenever a line on standard input asks.

Protocol, one JSON object a line. First line in: ``{"onnx_path", "torch_path"?, "runtime", "threads", "inputs_path"}``,
answered by ``{"ready": true}`` or ``{"error": text}``. Then ``{"shape", "warmup", "count"}`` runs `warmup` untimed and
`count` timed runs, answered by ``{"samples_ns"}``; ``{"shape", "settle"}`` warms the shape up until it is steady. End
of input ends the process.
"""

import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from compressbench.errors import CompressbenchError
from compressbench.runtimes.catalog import DEFAULT, Model, open_model

STEADY_SPREAD = 0.05
"""A shape is steady when the medians of its last two windows differ by less than this share."""
WINDOW = 3
SETTLE_MAX_S = 2.0


def sample_latency(
    run_once: Callable[[], object], *, warmup: int, count: int, clock_ns: Callable[[], int] = time.perf_counter_ns
) -> list[int]:
    """Time `count` runs after `warmup` untimed ones: nanoseconds, in the order they happened."""
    for _ in range(warmup):
        run_once()
    samples_ns = []
    for _ in range(count):
        start_ns = clock_ns()
        run_once()
        samples_ns.append(clock_ns() - start_ns)
    return samples_ns


def settle(
    run_once: Callable[[], object],
    *,
    max_s: float = SETTLE_MAX_S,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> list[int]:
    """Run until two windows in a row have like medians, or `max_s` is over; returns what the runs took.

    Threads that have just begun to work spread over the cores only after a while: the first runs of a small
    model take up to three times as long as later ones.
    """
    samples_ns: list[int] = []
    while sum(samples_ns) < max_s * 1e9:
        samples_ns += sample_latency(run_once, warmup=0, count=1, clock_ns=clock_ns)
        if len(samples_ns) >= 2 * WINDOW and sum(samples_ns) > 0.15e9:
            before, after = (
                float(np.median(part)) for part in (samples_ns[-2 * WINDOW : -WINDOW], samples_ns[-WINDOW:])
            )
            if abs(before - after) < STEADY_SPREAD * after:
                break
    return samples_ns


def serve() -> None:
    """Answer requests until standard input ends.

    Ctrl-C reaches every process of the terminal; the one that started this one decides what it means.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    request = json.loads(sys.stdin.readline())
    try:
        onnx_path = Path(request["onnx_path"])
        torch_path = request.get("torch_path")
        model = open_model(
            request.get("runtime", DEFAULT),
            onnx_path,
            torch_path=None if torch_path is None else Path(torch_path),
            threads=request["threads"],
        )
        inputs = _read_inputs(Path(request["inputs_path"]), model)
    except CompressbenchError as error:
        _answer({"error": str(error)})
        return
    _answer({"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            _answer({"samples_ns": _samples(model, inputs[request["shape"]], request)})
        except Exception as error:  # noqa: BLE001 - a runtime's failures have no common base; the parent is told
            reason = str(error).strip().splitlines()[0]
            _answer({"error": f"{request['shape']} does not run in {onnx_path}: {reason}"})


def _samples(model: Model, arrays: dict[str, np.ndarray], request: dict[str, Any]) -> list[int]:
    def run_once() -> object:
        return model(arrays)

    if request.get("settle"):
        return settle(run_once)
    return sample_latency(run_once, warmup=request["warmup"], count=request["count"])


def _read_inputs(path: Path, model: Model) -> dict[str, dict[str, np.ndarray]]:
    """Arrays by shape and input name, from a file of arrays named ``<shape>/<input>``."""
    inputs: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path, allow_pickle=False) as file:
        for name in file.files:
            shape, input_name = name.split("/")
            inputs.setdefault(shape, {})[input_name] = file[name]
    missing = set(model.input_names) - set(next(iter(inputs.values())))
    if missing:
        raise CompressbenchError(f"the model has inputs that no text gives: {', '.join(sorted(missing))}")
    return inputs


def _answer(values: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve()
