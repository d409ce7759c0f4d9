"""Latencies in pytest-benchmark's JSON: its own comparison and the dashboards built on it read them.

pytest-benchmark knows seconds, means and no percentiles; ours go into ``extra_info``.
"""

import json
import statistics
from datetime import UTC, datetime
from typing import Any

import numpy as np

from compressbench import __version__
from compressbench.gate.snapshot import GateRow, Place, Snapshot, Timed
from compressbench.stats import percentile

FORMAT = "5.0.0"
"""Version of pytest-benchmark whose files these look like."""


def benchmark_json(snapshot: Snapshot) -> str:
    """One benchmark a row and place of the snapshot, from raw samples where they are kept, else from block medians."""
    environment = snapshot.environment
    values = {
        "machine_info": {
            "node": "", "processor": environment.get("cpu", ""), "machine": environment.get("isa_class", ""),
            "python_version": environment.get("python", ""), "system": environment.get("system", ""),
            "cpu": {"brand_raw": environment.get("cpu", ""), "count": environment.get("cores")},
        },
        "commit_info": {"id": environment.get("commit"), "dirty": None, "project": "compressbench", "branch": None},
        "benchmarks": [
            _benchmark(row, place, timed) for row in snapshot.rows.values() for place, timed in row.latency.items()
        ],
        "datetime": datetime.now(UTC).isoformat(),
        "version": FORMAT,
    }  # fmt: skip
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def _benchmark(row: GateRow, place: Place, timed: Timed) -> dict[str, Any]:
    blocks = timed.samples_ns.values() or [[value] for value in timed.medians_ns.values()]
    name = f"{row.key.task}/{row.key.chain}[{place.runtime}-{place.shape}-{place.threads}]"
    seconds = [float(value) / 1e9 for block in blocks for value in block]
    return {
        "group": f"{row.key.task} {place.runtime} {place.shape}",
        "name": name,
        "fullname": f"compressbench::{name}-seed{row.key.seed}",
        "params": {**place._asdict(), "seed": row.key.seed},
        "param": f"{place.runtime}-{place.shape}-{place.threads}",
        "extra_info": {
            "compressbench": __version__,
            "p05_s": percentile(seconds, 5),
            "p95_s": percentile(seconds, 95),
            "processes": len({process for process, _ in timed.medians_ns}),
        },
        "options": {
            "disable_gc": False, "timer": "perf_counter", "min_rounds": 1, "max_time": 0.0, "min_time": 0.0,
            "warmup": True,
        },
        "stats": _stats(seconds),
    }  # fmt: skip


def _stats(seconds: list[float]) -> dict[str, Any]:
    q1, median, q3 = (percentile(seconds, each) for each in (25, 50, 75))
    mean = statistics.fmean(seconds)
    spread = statistics.stdev(seconds) if len(seconds) > 1 else 0.0
    values = np.array(seconds)
    fences = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    inside = values[(values >= fences[0]) & (values <= fences[1])]
    outliers = int((np.abs(values - mean) > spread).sum()), len(values) - len(inside)
    return {
        "min": min(seconds), "max": max(seconds), "mean": mean, "stddev": spread, "rounds": len(seconds),
        "median": median, "iqr": q3 - q1, "q1": q1, "q3": q3, "iqr_outliers": outliers[1],
        "stddev_outliers": outliers[0], "outliers": f"{outliers[0]};{outliers[1]}",
        "ld15iqr": float(inside.min()), "hd15iqr": float(inside.max()), "ops": 1 / mean, "total": sum(seconds),
        "iterations": 1, "data": seconds,
    }  # fmt: skip
