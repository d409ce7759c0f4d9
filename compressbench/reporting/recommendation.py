"""Which artifact of a run to take under limits on latency, score and size, and why the others are not taken.

A method with several seeds is one candidate: its figures are means over seeds, and the artifact named is that of its
first seed. Taking the seed with the best dev score would choose by chance and promise what another split does not keep.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compressbench.errors import BadInput, listed
from compressbench.records.run_folder import RunRecords
from compressbench.records.run_index import RunIndex, index_records
from compressbench.reporting.cells import row_label
from compressbench.reporting.comparison import comparison
from compressbench.scoring import score_difference, split_answers
from compressbench.stats import mean_interval
from compressbench.units import format_durations, format_mib, format_percent

LIKE_LATENCY = 1.02
"""Latencies whose ratio is below this count as one when choosing: the better score decides."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an artifact must keep to; None: no limit."""

    max_latency_ns: float | None = None
    min_retention: float | None = None
    """Fraction of the teacher's score."""
    max_size_bytes: int | None = None
    runtime: str = "onnxruntime"
    shape: str = "1x128"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One method on one task, held against the limits."""

    task: str
    name: str
    """As the user typed it."""
    seeds: tuple[int, ...]
    artifact_path: str
    latency_ns: float | None
    """Median at the limits' runtime and shape."""
    retention: float | None
    retention_interval: tuple[float, float] | None
    """95 %: over dev rows of one training, over trainings where there are several."""
    size_bytes: int | None
    misses: tuple[str, ...]
    """Why it is excluded, one clause each; empty if it fits."""
    doubts: tuple[str, ...]
    """Limits that it keeps to as measured, but not with its whole interval, and the like."""
    warnings: tuple[str, ...]
    """Of its first seed's row."""


def recommend(run: RunRecords, limits: Limits) -> dict[str, list[Candidate]]:
    """Every task's candidates, the one to take first, then the others that fit, then what is excluded.

    Raises:
        BadInput: If no limit is given, or nothing was measured at the runtime and shape of a latency limit.
    """
    if limits.max_latency_ns is None and limits.min_retention is None and limits.max_size_bytes is None:
        raise BadInput(
            "there is no limit to choose by: give --max-latency 20ms, --min-retention 99% or --max-size 60MiB"
        )
    rows = comparison(run.records, environment=run.environment, folder=run.folder)["rows"]
    _check_place(rows, limits, run)
    index = index_records(run.records)
    tasks: dict[str, list[Candidate]] = {}
    for task in dict.fromkeys(row["task"] for row in rows):
        chains = dict.fromkeys(row["chain"] for row in rows if row["task"] == task)
        seeds = [[row for row in rows if (row["task"], row["chain"]) == (task, chain)] for chain in chains]
        tasks[task] = _in_order([_candidate(each, index, limits) for each in seeds])
    return tasks


def reason(candidates: Sequence[Candidate]) -> str:
    """Why the first of a task's candidates is to be taken, or that none is."""
    best = candidates[0]
    if best.misses:
        return "no row keeps to all limits"
    others = sum(not each.misses for each in candidates[1:])
    if not others:
        return "it alone keeps to all limits"
    if best.latency_ns is None:
        return f"the best score of the {others + 1} that keep to all limits"
    return f"the fastest of the {others + 1} that keep to all limits (within 2 % of it the better score decides)"


def _in_order(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that fit from the fastest on, like latencies by score and then by size; excluded ones after them."""
    fitting = [each for each in candidates if not each.misses]
    fastest = min((each.latency_ns for each in fitting if each.latency_ns is not None), default=0.0)

    def rank(each: Candidate) -> tuple[float, float, float]:
        latency = each.latency_ns if each.latency_ns is not None else float("inf")
        return (
            fastest if latency <= LIKE_LATENCY * fastest else latency,
            -(each.retention or 0.0),
            float(each.size_bytes or 0),
        )

    return [*sorted(fitting, key=rank), *(each for each in candidates if each.misses)]


def _check_place(rows: Sequence[dict[str, Any]], limits: Limits, run: RunRecords) -> None:
    """Refuse a latency limit at a place that was not measured."""
    places = {f"{shape} in {runtime}" for row in rows for runtime, shapes in row["latency"].items() for shape in shapes}
    wanted = f"{limits.shape} in {limits.runtime}"
    if limits.max_latency_ns is not None and wanted not in places:
        known = f"it has {listed(places, last='and')}" if places else "it has no latencies at all"
        raise BadInput(f"{run.folder} has no latency at {wanted}: {known}; choose by --shape and --runtime")


def _candidate(rows: Sequence[dict[str, Any]], index: RunIndex, limits: Limits) -> Candidate:
    """All seeds of one method on one task."""
    first = rows[0]
    medians = [row["latency"].get(limits.runtime, {}).get(limits.shape, {}).get("median_ns") for row in rows]
    retained = [row["retention"] for row in rows]
    sizes = [row["size_bytes"] for row in rows]
    failed = any(row["artifact"] is None for row in rows)
    latency_ns = None if failed or None in medians else statistics.median(medians)
    retention = None if failed or None in retained else statistics.fmean(retained)
    interval = None
    if retention is not None:
        interval = mean_interval(retained) if len(retained) > 1 else _retention_interval(first, index)
    size_bytes = None if failed or None in sizes else max(sizes)
    misses, doubts = _held_against(limits, latency_ns, retention, interval, size_bytes)
    above_chance = first["retention_above_chance_interval"]
    if above_chance is not None and above_chance[0] <= 0:
        doubts = (*doubts, "it may be no better than giving one answer to every row")
    return Candidate(
        task=first["task"],
        name=row_label(first),
        seeds=tuple(row["seed"] for row in rows),
        artifact_path="" if first["artifact"] is None else first["artifact"]["path"],
        latency_ns=latency_ns,
        retention=retention,
        retention_interval=interval,
        size_bytes=size_bytes,
        misses=("it could not be made",) if failed else misses,
        doubts=() if failed or misses else doubts,
        warnings=tuple(first["warnings"]),
    )


def _retention_interval(row: dict[str, Any], index: RunIndex) -> tuple[float, float] | None:
    """From the paired interval of the score difference, the teacher's score taken as given."""
    cell = index.cells[(row["task"], row["chain"], row["seed"])]
    baseline = index.baseline_of(cell)
    if baseline is None or baseline is cell:
        return None
    teacher, own = (next(iter(split_answers(each, index).values())) for each in (baseline, cell))
    found = score_difference(index.tasks[cell.task].metrics[0], teacher, own)
    before = row["primary_score"] / row["retention"] if row["retention"] else 0.0
    return (1 + found.low / before, 1 + found.high / before) if found and before > 0 else None


def _held_against(
    limits: Limits,
    latency_ns: float | None,
    retention: float | None,
    interval: tuple[float, float] | None,
    size_bytes: int | None,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a candidate misses, and what it keeps to only as measured."""
    misses, doubts = [], []
    if limits.max_latency_ns is not None:
        if latency_ns is None:
            misses.append(f"was not measured at {limits.shape} in {limits.runtime}")
        elif latency_ns > limits.max_latency_ns:
            shown = format_durations([latency_ns, limits.max_latency_ns])
            misses.append(f"takes {shown[0]}, more than {shown[1]}")
    if limits.min_retention is not None:
        floor = format_percent(limits.min_retention)
        if retention is None:
            misses.append("has no score to compare with the teacher's")
        elif retention < limits.min_retention:
            misses.append(f"keeps {format_percent(retention)} of the teacher's score, less than {floor}")
        elif interval is not None and interval[0] < limits.min_retention:
            doubts.append(f"its 95 % interval begins at {format_percent(interval[0])}, so {floor} is not shown")
    if limits.max_size_bytes is not None:
        if size_bytes is None:
            misses.append("has no size")
        elif size_bytes > limits.max_size_bytes:
            misses.append(f"takes {format_mib(size_bytes)} MiB, more than {format_mib(limits.max_size_bytes)} MiB")
    return tuple(misses), tuple(doubts)
