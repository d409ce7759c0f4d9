"""Tables of what is measured beside the main latencies: further thread counts, processes side by side, loading."""

from collections.abc import Iterator, Sequence
from typing import Any

from compressbench.table import Table
from compressbench.units import MIB, format_milliseconds


def concurrency_tables(task: str, rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> Iterator[Table]:
    """One table for each runtime and shape that processes were run side by side in."""
    places = dict.fromkeys(
        (runtime, shape) for row in rows for runtime, shapes in row.get("concurrency", {}).items() for shape in shapes
    )
    for runtime, shape in places:
        lines, how = [], ""
        for row, label in zip(rows, labels, strict=True):
            found = row.get("concurrency", {}).get(runtime, {}).get(shape)
            if found is None:
                continue
            how = f"{found['concurrency']} processes of {found['threads']} thread(s) side by side"
            percentiles = [found[name] for name in ("p50_ns", "p95_ns", "p99_ns")]
            lines.append([label, *(format_milliseconds(each) for each in percentiles), f"{found['rows_per_s']:.1f}"])
        columns = ["Model", "p50 (ms)", "p95 (ms)", "p99 (ms)", "Rows/s"]
        yield Table(title=f"{task}: {how}, {runtime} {shape}", columns=columns, rows=lines)


def loading_note(rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> list[str]:
    """One line of what loading took and how much memory the measuring processes had; none where nobody recorded it."""
    runtimes = dict.fromkeys(runtime for row in rows for runtime in row.get("loading", {}))
    notes = []
    for runtime in runtimes:
        parts = [
            f"{label} {format_milliseconds(found['load_ns'])} ms, {found['peak_memory_bytes'] / MIB:.0f} MiB"
            for row, label in zip(rows, labels, strict=True)
            if (found := row.get("loading", {}).get(runtime))
        ]
        notes.append(f"loading and peak memory of a measuring process in {runtime}: {'; '.join(parts)}")
    return notes
