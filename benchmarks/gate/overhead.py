"""What measuring adds to the time inside the runtime: our samples against ONNX Runtime's own clock for the same runs.

The runtime's profiler times each run from within; the harness times it from without, by the very functions that
campaigns use. What lies between is the call through Python, the dict of inputs and the clock.
"""

from pathlib import Path

import numpy as np

from compressbench.harness.inputs import latency_inputs
from compressbench.harness.shapes import Shape
from compressbench.harness.worker import sample_latency
from compressbench.runtimes.onnxruntime import OrtModel, profiled, session_options

RUNS_A_BLOCK = 10
RESAMPLES = 2000


def measure_overhead(onnx_path: Path, *, shape: Shape, threads: int, blocks: int) -> np.ndarray:
    """Share that each timed run took longer from without than from within: float64 [runs].

    Args:
        onnx_path: The model.
        shape: Batch x tokens.
        threads: Intra-op threads.
        blocks: Of ten runs each, with a warm-up run before, as in a campaign.
    """
    arrays = {name.split("/")[1]: array for name, array in latency_inputs([onnx_path], [shape]).items()}
    with profiled(onnx_path, session_options(threads=threads)) as (session, events):
        model = OrtModel(session, onnx_path)
        runs = [lambda: model(arrays)] * (1 + RUNS_A_BLOCK)
        outside_ns = [sample_latency(runs)[1:] for _ in range(blocks)]
    inside_us = [event["dur"] for event in events if event.get("name") == "model_run"]
    inside = np.array(inside_us, dtype=np.float64).reshape(blocks, RUNS_A_BLOCK + 1)[:, 1:]
    overhead: np.ndarray = (np.array(outside_ns) / 1e3 / inside - 1).ravel()
    return overhead


def overhead_markdown(overhead: np.ndarray, *, shape: Shape, threads: int, name: str) -> str:
    """One sentence with an interval over runs."""
    rng = np.random.default_rng(0)
    drawn = np.median(rng.choice(overhead, size=(RESAMPLES, len(overhead))), axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return (
        f"Measuring adds {100 * np.median(overhead):.3f} % [{100 * low:.3f}, {100 * high:.3f}] to the time inside the "
        f"runtime ({name} at {shape}, {threads} threads, {len(overhead)} runs; 95 of 100 runs below "
        f"{100 * np.percentile(overhead, 95):.3f} %; target: 2 %).\n"
    )
