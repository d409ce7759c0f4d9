"""Size and latency side by side, as in the study's table."""

from collections.abc import Iterator, Sequence
from typing import Any

from compressbench.records.latencies import BASELINE_RUNTIME
from compressbench.records.run_index import BASELINE
from compressbench.reporting.cells import NONE, NOT_APPLICABLE, format_interval, format_share, place_name, places_of
from compressbench.table import Table
from compressbench.units import MIB, format_mib, format_milliseconds, format_ratio

OVER_ONNXRUNTIME = "over ORT"
_PLACES_PER_TABLE = 2


def size_and_latency_tables(task: str, rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> Iterator[Table]:
    """Size and latency with the main thread count, then latency with each further one."""
    yield from _size_tables(task, rows, labels)
    for count in sorted({count for row in rows for count in row.get("latency_by_threads", {})}, key=int):
        own = [
            {
                **row,
                "latency": row.get("latency_by_threads", {}).get(count, {}),
                "speedup": row.get("speedup_by_threads", {}).get(count, {}),
            }
            for row in rows
        ]
        yield from _size_tables(task, own, labels, threads=count)


def _size_tables(
    task: str, rows: Sequence[dict[str, Any]], labels: Sequence[str], *, threads: str | None = None
) -> Iterator[Table]:
    """Size and latency side by side as in the study's table; more places than fit go into further tables.

    Every runtime has tables of its own, the default one first. Those of the others say how a row compares with the
    baseline in ONNX Runtime too, which is what a change of runtime alone brings to the baseline.

    Args:
        task: For the title.
        rows: Of one task.
        labels: What each is called.
        threads: The count these latencies are of; None: the main one, whose first table has the sizes.
    """
    places = places_of(rows)
    runtimes = list(dict.fromkeys(runtime for runtime, _ in places)) or [BASELINE_RUNTIME]
    with_sizes = threads is None
    for runtime in runtimes:
        shapes = [shape for other, shape in places if other == runtime]
        with_over = threads is None and runtime != BASELINE_RUNTIME
        for start in range(0, max(1, len(shapes)), _PLACES_PER_TABLE):
            shown = shapes[start : start + _PLACES_PER_TABLE]
            columns = ["Model", "Size (MiB)", "Size (%)", "zstd (MiB)"] if with_sizes else ["Model"]
            for shape in shown:
                place = place_name((runtime, shape), with_runtime=len(runtimes) > 1)
                columns += [f"{place} (ms)", "Speedup [95\u00a0%]", *([OVER_ONNXRUNTIME] if with_over else [])]
            lines = [
                [
                    label,
                    *(_size_cells(row) if with_sizes else ()),
                    *_latency_cells(row, runtime, shown, with_over=with_over),
                ]
                for row, label in zip(rows, labels, strict=True)
            ]
            what = "size and latency" if with_sizes else "latency"
            how = f" with {threads} thread{'' if threads == '1' else 's'}" if threads else ""
            with_sizes = False
            yield Table(title=f"{task}: {what}{how}", columns=columns, rows=lines)


def _latency_cells(row: dict[str, Any], runtime: str, shapes: Sequence[str], *, with_over: bool) -> Iterator[str]:
    """Median, speedup and, if `with_over`, the ratio to the baseline in ONNX Runtime."""
    absent = NOT_APPLICABLE if not runs_here(row, runtime) else NONE
    for shape in shapes:
        taken = row["latency"].get(runtime, {}).get(shape)
        yield format_milliseconds(taken["median_ns"]) if taken else absent
        ratio = row["speedup"].get(runtime, {}).get(shape)
        yield absent if ratio is None else "1x" if row["chain"] == BASELINE else format_interval(ratio)
        if with_over:
            over = row["speedup_over_onnxruntime"].get(runtime, {}).get(shape)
            yield format_ratio(over["ratio"]) if over else absent


def runs_here(row: dict[str, Any], runtime: str) -> bool:
    """False for a measured model that a PyTorch runtime cannot open, since it exists as ONNX alone."""
    return not (runtime.startswith("torch") and row["latency"] and runtime not in row["latency"])


def _size_cells(row: dict[str, Any]) -> list[str]:
    if row["size_bytes"] is None:
        return [NONE] * 3
    return [
        format_mib(row["size_bytes"]),
        format_share(row["compression_ratio"] and 1 / row["compression_ratio"]),
        f"{row['compressed_bytes'] / MIB:.2f}",
    ]
