"""The tables of the benchmark, from figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.int8.figures import Agreement, pooled_drop
from benchmarks.int8.targets import TARGETS, Measured, verdict_row
from compressbench.records.schema import Int8Record
from compressbench.stats import Interval
from compressbench.table import Table, bullets, table_markdown
from compressbench.units import format_durations, format_mib, format_percent, format_points, format_ratio

FLOORS = (0.99, 0.999)
"""MLPerf's two floors: a share of the fp32 score."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """Everything that was measured."""

    environment: Mapping[str, Any]
    has_vnni: bool
    rounds: int
    speedups: Mapping[tuple[str, str, str], Interval]
    medians_ns: Mapping[tuple[str, str, str], float]
    sizes_bytes: Mapping[str, int]
    int8: Sequence[tuple[str, Int8Record]]
    agreements: Mapping[str, Mapping[str, Agreement]]
    """By task, then by row."""


def report(found: Found, *, profiles: Sequence[Table] = ()) -> str:
    """The whole report as Markdown."""
    tables = [_targets(found), _latencies(found), _int8(found), scores_table(found.agreements), *profiles]
    return "\n\n".join(["# INT8 by figures", bullets(_notes(found)), *map(table_markdown, tables)]) + "\n"


def _notes(found: Found) -> list[str]:
    cpu = found.environment
    where = f"{cpu.get('cpu') or 'unknown CPU'}, instruction set {cpu.get('isa_class')}, {cpu.get('threads')} threads"
    notes = [
        f"{where}; {found.rounds} interleaved rounds; intervals are 95 %, over processes and rounds",
        "speedup: over the fp32 baseline in ONNX Runtime, which went through the same graph passes as every row",
    ]
    if not found.has_vnni:
        notes.append(
            "this CPU has no VNNI: INT8 kernels do a quarter of the work per instruction, and weights have 7 bits; the "
            "numbers to reach are meant for a CPU with VNNI"
        )
    if found.rounds < 15:
        notes.append(f"{found.rounds} rounds are too few for a conclusion")
    return notes


def _targets(found: Found) -> Table:
    rates = {
        row: {task: each[row].rate for task, each in found.agreements.items() if row in each}
        for row in {row for each in found.agreements.values() for row in each}
    }
    measured = Measured(speedups=found.speedups, sizes_bytes=found.sizes_bytes, agreement_rates=rates)
    return Table(
        title="Numbers to reach",
        columns=("figure", "number", "measured", "verdict"),
        rows=[verdict_row(target, measured) for target in TARGETS],
    )


def _latencies(found: Found) -> Table:
    rows = []
    for (name, runtime, shape), interval in found.speedups.items():
        median = format_durations([found.medians_ns[name, runtime, shape]])[0]
        ratio = f"{format_ratio(interval.ratio)} [{format_ratio(interval.low)}, {format_ratio(interval.high)}]"
        size = f"{format_mib(found.sizes_bytes[name])} MiB" if name in found.sizes_bytes else "-"
        rows.append((name, runtime, shape, median, ratio, size))
    return Table(
        title="Latency and size",
        columns=("model", "runtime", "shape", "median", "speedup [95 %]", "file"),
        rows=sorted(rows, key=lambda row: (row[1], row[2])),
    )


def _int8(found: Found) -> Table:
    return Table(
        title="What computes in INT8",
        columns=("model", "runtime", "shape", "of all products", "of Linear layers", "leftover pairs"),
        rows=[
            (
                name,
                each.runtime,
                each.shape,
                format_percent(each.gemm_share),
                format_percent(each.constant_gemm_share),
                str(each.leftover_qdq_pairs),
            )
            for name, each in found.int8
        ],
    )


def scores_table(agreements: Mapping[str, Mapping[str, Agreement]]) -> Table:
    """Agreement with fp32 and scores by task, and the difference pooled over tasks."""
    rows = []
    names = list(dict.fromkeys(row for each in agreements.values() for row in each))
    for name in names:
        by_task = {task: each[name] for task, each in agreements.items() if name in each}
        for task, each in by_task.items():
            reached = " and ".join(format_percent(floor) for floor in FLOORS if each.ratio >= floor) or "none"
            score = f"{format_points(each.score)} of {format_points(each.baseline_score)}"
            agreement = format_percent(each.rate, digits=2)
            rows.append((name, task, agreement, score, format_percent(each.ratio, digits=2), reached))
        centre, low, high = pooled_drop(by_task)
        pooled = f"{format_points(centre)} [{format_points(low)}, {format_points(high)}]"
        rows.append((name, "pooled difference in points", "", pooled, "", ""))
    return Table(
        title="Answers beside fp32",
        columns=("model", "task", "agreement", "score", "of fp32", "MLPerf floors reached"),
        rows=rows,
    )
