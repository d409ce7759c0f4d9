"""Rows as CSV, one line each, nested figures under dotted names: for spreadsheets and data frames."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

_AS_JSON = ("parameters", "zeros_by_layer", "budget", "warnings")
"""Free-form parts that would make a column per method."""


def comparison_csv(comparison: dict[str, Any]) -> str:
    """All rows; columns in order of first appearance, empty where a row has no such figure."""
    lines = [dict(_flat(row)) for row in comparison["rows"]]
    columns = list(dict.fromkeys(name for line in lines for name in line))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def _flat(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of a row with their dotted names."""
    for name, value in row.items():
        path = f"{prefix}{name}"
        if path == "score_interval":
            low, high = value or (None, None)
            yield f"{path}.low", low
            yield f"{path}.high", high
        elif path in _AS_JSON:
            yield path, json.dumps(value, ensure_ascii=False)
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{path}.")
        else:
            yield path, value
