"""Where the time of a model goes in ONNX Runtime: nanoseconds by operator, from its profiler."""

from collections import defaultdict
from pathlib import Path

from compressbench.harness.inputs import latency_inputs
from compressbench.harness.shapes import Shape
from compressbench.runtimes.onnxruntime import profiled, session_options
from compressbench.table import Table
from compressbench.units import format_durations, format_percent

WARMUP_RUNS, RUNS = 3, 10


def operator_times(onnx_path: Path, shape: Shape, *, threads: int, runs: int = RUNS) -> dict[str, tuple[int, float]]:
    """By operator: how often it runs in one pass, and its nanoseconds in one pass, most first.

    Args:
        onnx_path: Any ONNX classifier.
        shape: Batch x tokens.
        threads: Intra-op threads.
        runs: Timed passes that are averaged, after a few untimed ones.
    """
    arrays = {name.split("/")[1]: values for name, values in latency_inputs([onnx_path], [shape]).items()}
    with profiled(onnx_path, session_options(threads=threads)) as (session, events):
        inputs = {each.name: arrays[each.name] for each in session.get_inputs()}
        for _ in range(WARMUP_RUNS + runs):
            session.run(None, inputs)
    kernels = [each for each in events if each.get("name", "").endswith("_kernel_time")]
    counted = kernels[len(kernels) * WARMUP_RUNS // (WARMUP_RUNS + runs) :]
    times: defaultdict[str, list[int]] = defaultdict(list)
    for event in counted:
        times[event["args"]["op_name"]].append(event["dur"])
    found = {name: (round(len(each) / runs), 1000.0 * sum(each) / runs) for name, each in times.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1][1]))


def operator_table(name: str, onnx_path: Path, shape: Shape, *, threads: int) -> Table:
    """The operators of a model by time."""
    times = operator_times(onnx_path, shape, threads=threads)
    total = sum(time_ns for _, time_ns in times.values())
    return Table(
        title=f"{name} at {shape}, by operator (ONNX Runtime's profiler, which slows small operators)",
        columns=("operator", "count", "time", "share"),
        rows=[
            (operator, str(count), format_durations([time_ns])[0], format_percent(time_ns / total))
            for operator, (count, time_ns) in times.items()
        ],
    )
