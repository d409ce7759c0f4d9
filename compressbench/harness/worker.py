"""A measuring process: holds one model, and runs a block of it whenever a line on standard input asks.

Protocol, one JSON object a line. First in: ``{"onnx_path", "torch_path"?, "runtime"?, "threads", "cores"?,
"inputs_path"}``, answered by ``{"ready", "load_ns", "start_memory_bytes"}`` or ``{"error": text}``. Inputs have names.
``{"run": [names], "warmup": [names]}`` runs `warmup` untimed and `run` timed, answered by ``{"samples_ns"}``;
``{"settle": name, "first": [names], "least_ns", "pin"?}`` runs `first` once, binds the threads that work to the cores
`pin` and runs `settle` until it is steady, answered by ``{"samples_ns", "settled"}``;
``{"for_ns", "run": [names]}`` runs the names again and again for that long;
``{"memory": true}`` is answered by ``{"peak_memory_bytes"}``. End of input ends the process.
"""

import ctypes
import json
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from compressbench.errors import CompressbenchError
from compressbench.harness.cores import bind, pin_threads
from compressbench.harness.settling import LEAST_PIECE, is_settled
from compressbench.runtimes.catalog import DEFAULT, RUNTIMES, Model, open_model

LEAST_NS = 250_000_000
SETTLE_MAX_S = 2.0
PR_SET_PDEATHSIG = 1
ASK_EVERY_NS = 20_000_000
"""Whether it is steady is asked no more often than this, so that asking takes no share of the core's time."""


def sample_latency(
    runs: Sequence[Callable[[], object]], *, clock_ns: Callable[[], int] = time.perf_counter_ns
) -> list[int]:
    """Time each of `runs` once: nanoseconds, in the order they happened."""
    samples_ns = []
    for run_once in runs:
        start_ns = clock_ns()
        run_once()
        samples_ns.append(clock_ns() - start_ns)
    return samples_ns


def settle(
    run_once: Callable[[], object],
    *,
    least_ns: int = LEAST_NS,
    max_s: float = SETTLE_MAX_S,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> tuple[list[int], bool]:
    """Run until the level of the last runs holds (`settling.is_settled`), or `max_s` is over.

    Returns:
        What the runs took, and whether they came to a steady level; of fewer runs than tell, it is taken so: a
        model that takes this long loses little to caches that are cold.
    """
    samples_ns: list[int] = []
    total_ns = asked_ns = 0
    while total_ns < max_s * 1e9:
        samples_ns += sample_latency([run_once], clock_ns=clock_ns)
        total_ns += samples_ns[-1]
        if total_ns - asked_ns >= ASK_EVERY_NS:
            asked_ns = total_ns
            if is_settled(samples_ns, least_ns=least_ns):
                return samples_ns, True
    return samples_ns, len(samples_ns) < 2 * LEAST_PIECE


def sample_for(run_once: Sequence[Callable[[], object]], *, for_ns: int) -> list[int]:
    """Time the runs one after another, again from the first after the last, until `for_ns` have gone."""
    samples_ns: list[int] = []
    end_ns = time.perf_counter_ns() + for_ns
    while time.perf_counter_ns() < end_ns:
        samples_ns += sample_latency([run_once[len(samples_ns) % len(run_once)]])
    return samples_ns


def serve() -> None:
    """Answer requests until standard input ends.

    Ctrl-C reaches every process of the terminal; the one that started this one decides what it means.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent()
    request = json.loads(sys.stdin.readline())
    bind(request.get("cores", ()))
    try:
        model, opened = _open(request)
        inputs = _read_inputs(Path(request["inputs_path"]), model)
    except CompressbenchError as error:
        _answer({"error": str(error)})
        return
    _answer({"ready": True, **opened})
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            _answer(_answer_to(asked, model, inputs))
        except Exception as error:  # noqa: BLE001 - a runtime's failures have no common base; the parent is told
            reason = str(error).strip().splitlines()[0]
            name = asked["settle"] if "settle" in asked else asked["run"][0]
            _answer({"error": f"{name.split('@')[0]} does not run in {request['onnx_path']}: {reason}"})


def peak_memory_bytes() -> int:
    """The most memory this process ever had resident.

    The kernel's own figure: `getrusage` begins with what the parent had, which may hold a teacher in training.
    """
    try:
        match = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        match = None
    if match:
        return int(match[1]) * 1024
    import resource  # not on Windows, which has no /proc either

    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _open(request: dict[str, Any]) -> tuple[Model, dict[str, int]]:
    """The model, and what opening it took once its runtime is loaded."""
    runtime = request.get("runtime", DEFAULT)
    import_module(RUNTIMES[runtime].package)
    memory_bytes, start_ns = peak_memory_bytes(), time.perf_counter_ns()
    torch_path = request.get("torch_path")
    model = open_model(
        runtime,
        Path(request["onnx_path"]),
        torch_path=None if torch_path is None else Path(torch_path),
        threads=request["threads"],
    )
    return model, {"load_ns": time.perf_counter_ns() - start_ns, "start_memory_bytes": memory_bytes}


def _answer_to(asked: dict[str, Any], model: Model, inputs: dict[str, dict[str, np.ndarray]]) -> dict[str, Any]:
    def once(name: str) -> Callable[[], object]:
        arrays = inputs[name]
        return lambda: model(arrays)

    if asked.get("memory"):
        return {"peak_memory_bytes": peak_memory_bytes()}
    if "settle" in asked:
        sample_latency([once(name) for name in asked.get("first", ())])
        pin_threads(once(asked["settle"]), asked.get("pin", ()))
        samples_ns, settled = settle(once(asked["settle"]), least_ns=asked.get("least_ns", LEAST_NS))
        return {"samples_ns": samples_ns, "settled": settled}
    runs = [once(name) for name in asked["run"]]
    if "for_ns" in asked:
        return {"samples_ns": sample_for(runs, for_ns=asked["for_ns"])}
    sample_latency([once(name) for name in asked.get("warmup", ())])
    return {"samples_ns": sample_latency(runs)}


def _end_with_parent() -> None:
    """Have the kernel end this process when its parent dies: while it is frozen it sees no end of its input."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _read_inputs(path: Path, model: Model) -> dict[str, dict[str, np.ndarray]]:
    """Arrays by name and input, from a file of arrays named ``<name>/<input>``."""
    inputs: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path, allow_pickle=False) as file:
        for each in file.files:
            name, input_name = each.split("/")
            inputs.setdefault(name, {})[input_name] = file[each]
    missing = set(model.input_names) - set(next(iter(inputs.values())))
    if missing:
        raise CompressbenchError(f"the model has inputs that no text gives: {', '.join(sorted(missing))}")
    return inputs


def _answer(values: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve()
