"""What stands in one cell of a table, and how rows and columns are called."""

from collections.abc import Sequence
from typing import Any

from compressbench.records.latencies import REAL_LENGTHS
from compressbench.records.run_index import BASELINE
from compressbench.runtimes.catalog import RUNTIMES
from compressbench.units import format_percent, format_points, format_ratio

NONE = "–"
BASELINE_LABEL, INT8_BASELINE_LABEL = "baseline (fp32)", "baseline (int8)"
SAME_GRAPH = "same graph"
NOT_APPLICABLE = "n/a"


def row_label(row: dict[str, Any], *, with_seed: bool = False) -> str:
    """How a row is called on screen: as the user typed it."""
    name = baseline_label([row]) if row["chain"] == BASELINE else row["method"]
    return f"{name} (seed {row['seed']})" if with_seed else name


def baseline_label(rows: Sequence[dict[str, Any]]) -> str:
    """What the baseline of these rows is called: `measure` takes any model for one, a quantized one too."""
    found = {runtime for row in rows if row["chain"] == BASELINE for runtime in row.get("int8") or ()}
    is_int8 = any(name in found for name, runtime in RUNTIMES.items() if runtime.opens == "onnx")  # others quantize
    return INT8_BASELINE_LABEL if is_int8 else BASELINE_LABEL


def places_of(rows: Sequence[dict[str, Any]], key: str = "latency") -> list[tuple[str, str]]:
    """Runtimes and shapes that any row has: runtimes as they come, the smaller shapes first."""
    found = dict.fromkeys((runtime, shape) for row in rows for runtime, shapes in row[key].items() for shape in shapes)
    runtimes = list(dict.fromkeys(runtime for runtime, _ in found))
    return sorted(found, key=lambda place: (runtimes.index(place[0]), shape_order(place[1])))


def shape_order(shape: str) -> tuple[bool, int, int]:
    """Sorts ``1x128``, ``8x128``, ``task``, ``8xtask`` so: fixed sizes first, the smaller batches first."""
    batch, _, tokens = shape.rpartition("x")
    is_real = tokens == REAL_LENGTHS
    return is_real, int(batch or 1), 0 if is_real else int(tokens)


def place_name(place: tuple[str, str], *, with_runtime: bool) -> str:
    """The shape, behind its runtime where there are several."""
    return f"{place[0]} {place[1]}" if with_runtime else place[1]


def format_share(value: float | None) -> str:
    """Per cent of a fraction, if there is one."""
    return NONE if value is None else format_percent(value)


def format_score(value: float | None) -> str:
    """A score in points, if there is one."""
    return NONE if value is None else format_points(value)


def format_range(interval: Sequence[float] | None, between: str) -> str:
    """Both ends of an interval in points, if there is one."""
    return NONE if interval is None else f"{100 * interval[0]:.1f}{between}{100 * interval[1]:.1f}"


def format_interval(interval: dict[str, float] | None) -> str:
    """``14.4x [14.1, 14.7]``; ``same graph`` where nothing was compared because nothing differs."""
    if interval is None:
        return NONE
    if interval["ratio"] == interval["low"] == interval["high"] == 1.0:
        return SAME_GRAPH
    digits = 2 if interval["ratio"] < 10 else 1
    return f"{format_ratio(interval['ratio'])} [{interval['low']:.{digits}f}, {interval['high']:.{digits}f}]"


def format_budget(budget: dict[str, float]) -> str:
    """The training a row had: ``20/3 epochs``, ``300 rows``; the first kind of figure that is there.

    On augmented rows with how many there were of each: ``20/3 epochs, x27.9 rows``.
    """
    augmented = f", x{budget['rows'] / budget['task_rows']:.1f} rows" if "task_rows" in budget else ""
    for unit in ("epochs", "steps", "rows"):
        counts = [value for name, value in budget.items() if name.endswith(unit)]
        if counts:
            shown = "/".join(f"{count:g}" for count in counts)
            return f"{shown} {unit.removesuffix('s') if counts == [1] else unit}{augmented}"
    return NONE


def format_retained(value: float | None, interval: Sequence[float] | None) -> str:
    """``59 % [41, 78]``; decimals would pretend to more than a dev split of some hundred rows tells."""
    if value is None:
        return NONE
    return f"{100 * value:.0f} %" + (f" [{100 * interval[0]:.0f}, {100 * interval[1]:.0f}]" if interval else "")


def format_p_value(value: float | None) -> str:
    """Three digits, or less than that."""
    if value is None:
        return NONE
    return "<0.001" if value < 0.001 else f"{value:.3f}"
