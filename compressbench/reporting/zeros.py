"""What was taken out of each model: parameters, zeros, work; and in which layers the zeros lie."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compressbench.reporting.cells import NONE, row_label
from compressbench.table import Table
from compressbench.units import format_percent

FEWEST_ZEROS = 0.05
"""Share of Linear weights from which a model counts as sparse; INT8 codes round some small weights to zero too."""
_LAYER = re.compile(r"layers?\.(\d+)\.(.*)")

Layers = Sequence[Mapping[str, Any]]
"""Of a `SizeRecord`: name, weights, nonzero."""


def zeros_by_part(layers: Layers) -> dict[str, float]:
    """Share of zeros by part of the model: attention and FFN of each encoder layer, pooler, classifier, in order."""
    counts: dict[str, list[int]] = {}
    for layer in layers:
        count = counts.setdefault(part_of(str(layer["name"])), [0, 0])
        count[0] += layer["weights"] - layer["nonzero"]
        count[1] += layer["weights"]
    shares = {part: zeros / weights for part, (zeros, weights) in counts.items() if weights}
    return dict(sorted(shares.items(), key=lambda each: (_layer_of(each[0]), "FFN" in each[0])))


def part_of(name: str) -> str:
    """``layer 3 attention`` or ``layer 3 FFN`` for a matrix of an encoder layer, else the last word of its name."""
    match = _LAYER.search(name)
    if match is None:
        return name.rpartition("/")[2].removesuffix(".dense").rpartition(".")[2] or name
    return f"layer {match.group(1)} {'attention' if 'attention' in match.group(2) else 'FFN'}"


def zeros_tables(task: str, rows: Sequence[dict[str, Any]], *, many_seeds: bool) -> Iterator[Table]:
    """What each model consists of, where models differ in it; zeros by layer, where a model is sparse."""
    known = [row for row in rows if row["parameter_count"] is not None]
    sparse = [row for row in known if (row["linear_sparsity"] or 0.0) >= FEWEST_ZEROS]
    if not sparse and len({row["parameter_count"] for row in known}) < 2:
        return
    yield Table(
        title=f"{task}: what the models consist of",
        columns=["Model", "Parameters (M)", "Nonzero (M)", "Zeros of all", "Zeros of Linear", "GFLOPs at 1x128"],
        rows=[
            [
                row_label(row, with_seed=many_seeds),
                f"{row['parameter_count'] / 1e6:.2f}",
                f"{row['nonzero_count'] / 1e6:.2f}",
                format_percent(row["sparsity"]),
                NONE if row["linear_sparsity"] is None else format_percent(row["linear_sparsity"]),
                f"{row['flops'] / 1e9:.2f}",
            ]
            for row in known
        ],
    )
    by_layer = [row for row in sparse if row.get("zeros_by_layer")]
    if by_layer:
        yield _by_layer(task, by_layer, many_seeds=many_seeds)


def _by_layer(task: str, rows: Sequence[dict[str, Any]], *, many_seeds: bool) -> Table:
    """A line for each kind of matrix of each model, a column for each encoder layer."""
    parts = [part for row in rows for part in row["zeros_by_layer"]]
    kinds = list(dict.fromkeys(_kind_and_layer(part)[0] for part in parts))
    numbers = sorted({number for part in parts if (number := _kind_and_layer(part)[1]) is not None})
    lines = []
    for row in rows:
        found = {_kind_and_layer(part): share for part, share in row["zeros_by_layer"].items()}
        for kind in kinds:
            shares = [found.get((kind, number)) for number in (None, *numbers)]
            if any(share is not None for share in shares):
                lines.append([f"{row_label(row, with_seed=many_seeds)}, {kind}", *map(_percent, shares)])
    return Table(
        title=f"{task}: zeros by layer, in per cent", columns=["Model", "whole", *map(str, numbers)], rows=lines
    )


def _layer_of(part: str) -> float:
    """For order: what is outside the encoder comes last."""
    number = _kind_and_layer(part)[1]
    return math.inf if number is None else number


def _kind_and_layer(part: str) -> tuple[str, int | None]:
    """``("FFN", 3)`` for ``layer 3 FFN``; the number is None outside the encoder."""
    words = part.split(" ")
    return (words[2], int(words[1])) if len(words) == 3 and words[0] == "layer" else (part, None)


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.0f}"
