"""The numbers to reach, as values: which figure each is of, and whether what was measured reaches it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from benchmarks.int8.models import ATTENTION, DEFAULT, DISTILL, PER_TENSOR, REPAIRED, SMOOTHED
from compressbench.stats import Interval
from compressbench.units import MIB, format_mib, format_percent, format_ratio

REPAIRS = (SMOOTHED, REPAIRED)
NNCF = "quant-nncf"
ONNXRUNTIME, OPENVINO = "onnxruntime", "openvino"


@dataclass(frozen=True, kw_only=True)
class Target:
    """One number to reach."""

    figure: Literal["speedup", "size", "agreement"]
    row: str
    number: float
    runtime: str = ONNXRUNTIME
    shape: str = "1x128"


TARGETS = (
    Target(figure="speedup", row=DEFAULT, number=2.9),
    Target(figure="speedup", row=DEFAULT, number=2.7, shape="8x128"),
    Target(figure="speedup", row=ATTENTION, number=3.8, runtime=OPENVINO),
    Target(figure="speedup", row=ATTENTION, number=3.75, runtime=OPENVINO, shape="8x128"),
    Target(figure="speedup", row=f"{DISTILL}+{DEFAULT}", number=28),
    Target(figure="speedup", row=f"{DISTILL}+{DEFAULT}", number=20, shape="8x128"),
    Target(figure="speedup", row=f"{DISTILL}+{ATTENTION}", number=39, runtime=OPENVINO, shape="8x128"),
    Target(figure="speedup", row=DISTILL, number=14),
    Target(figure="speedup", row=DISTILL, number=11.9, shape="8x128"),
    Target(figure="size", row=PER_TENSOR, number=105.1 * MIB),
    Target(figure="size", row=DEFAULT, number=105.6 * MIB),
    Target(figure="size", row=f"{DISTILL}+{DEFAULT}", number=14 * MIB),
    Target(figure="agreement", row=DEFAULT, number=0.99),
    *(Target(figure="agreement", row=row, number=0.995) for row in REPAIRS),
)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All figures of a table."""

    speedups: Mapping[tuple[str, str, str], Interval]
    sizes_bytes: Mapping[str, int]
    agreement_rates: Mapping[str, Mapping[str, float]]
    """By row, then by task."""


def verdict_row(target: Target, measured: Measured) -> tuple[str, str, str, str]:
    """What is asked, the number to reach, what was measured, and what follows: a row of text.

    A speedup is reached where its whole interval lies above the number, missed where all of it lies below.
    """
    if target.figure == "speedup":
        asked = f"{target.row}, {target.shape}, {target.runtime}"
        found = measured.speedups.get((target.row, target.runtime, target.shape))
        wanted = f">= {format_ratio(target.number)}"
        if found is None:
            return asked, wanted, "-", "not measured"
        figure = f"{format_ratio(found.ratio)} [{format_ratio(found.low)}, {format_ratio(found.high)}]"
        verdict = "reached" if found.low >= target.number else "missed" if found.high < target.number else "open"
        return asked, wanted, figure, verdict
    if target.figure == "size":
        asked, wanted = f"{target.row}, file", f"<= {format_mib(round(target.number))} MiB"
        size_bytes = measured.sizes_bytes.get(target.row)
        if size_bytes is None:
            return asked, wanted, "-", "not measured"
        return asked, wanted, f"{format_mib(size_bytes)} MiB", "reached" if size_bytes <= target.number else "missed"
    asked, wanted = f"{target.row}, agreement on every task", f">= {format_percent(target.number)}"
    rates = measured.agreement_rates.get(target.row)
    if not rates:
        return asked, wanted, "-", "not measured"
    worst = min(rates, key=lambda task: rates[task])
    verdict = "reached" if rates[worst] >= target.number else "missed"
    return asked, wanted, f"{format_percent(rates[worst], digits=2)} ({worst})", verdict
