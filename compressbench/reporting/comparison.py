"""`comparison.json`: every row and the summary, computed from a run's records and nothing else."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compressbench.records.latencies import latency_index
from compressbench.records.run_index import RunIndex, index_records
from compressbench.records.schema import SCHEMA_VERSION, Record
from compressbench.reporting.rows import row_of
from compressbench.reporting.seeds import seeds_of
from compressbench.reporting.summary import summarize
from compressbench.stats import holm, percentile


def comparison(records: Sequence[Record], *, environment: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """All of comparison.json, ready for `json.dump`: no NaN, no numpy.

    Args:
        records: A run's records, in the order they were written.
        environment: What environment.json holds.
        folder: The run's folder; artifacts inside are named relative to it.

    Raises:
        BadInput: If records contradict each other (other dev rows, blocks without durations).
    """
    index = index_records(records)
    latencies = latency_index(index)
    rows = [row_of(cell, index, latencies, folder) for cell in index.ordered_cells()]
    tested = [row for row in rows if row["score_p_value"] is not None]
    for row, adjusted in zip(tested, holm([row["score_p_value"] for row in tested]), strict=True):
        row["score_p_value_holm"] = adjusted
    seeds = [finite(entry) for entry in seeds_of(index, rows)]
    tokenization = tokenization_of(index)
    return {
        "schema_version": SCHEMA_VERSION,
        "environment": dict(environment),
        "rows": [finite(row) for row in rows],
        "summary": [finite(entry) for entry in summarize(rows)],
        **({"over_seeds": seeds} if seeds else {}),
        **({"tokenization": tokenization} if tokenization else {}),
    }


def tokenization_of(index: RunIndex) -> dict[str, dict[str, dict[str, float]]]:
    """What turning one request into token ids takes, by task and shape of real lengths: the last measured, in ns."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for record in index.tokenizations:
        found.setdefault(record.task, {})[record.shape] = {
            "median_ns": percentile(record.samples_ns, 50),
            "p95_ns": percentile(record.samples_ns, 95),
            "calls": len(record.samples_ns),
        }
    return found


def finite(value: Any) -> Any:
    """The value with NaN and infinities, which JSON does not have, as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return value
