"""How much worse the current side may be, by metric; every figure carries its unit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from compressbench.units import format_percent, parse_percent, parse_points

METRICS = ("latency", "score", "agreement", "size", "int8")
_PARSERS: Mapping[str, Callable[..., float]] = {
    "latency": parse_percent,
    "score": parse_points,
    "agreement": parse_points,
    "size": parse_percent,
    "int8": parse_points,
}


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Allowed worsening, as fractions; more than that is a regression."""

    latency: float = 0.05
    """Slowdown: current / baseline - 1."""
    score: float = 0.01
    """Drop of a split's primary score; 0.01 is a point."""
    agreement: float = 0.05
    """Share of dev rows that the two sides answer differently."""
    size: float = 0.01
    """Growth of the model's bytes."""
    int8: float = 0.01
    """Drop of the share of matrix products that run in INT8 kernels."""

    def of(self, metric: str) -> float:
        """The threshold of one of `METRICS`."""
        value: float = getattr(self, metric)
        return value


def parse_threshold(metric: str, text: str, *, name: str) -> float:
    """A threshold with its unit as a fraction: per cent for latency and size, points for shares and scores.

    Args:
        metric: One of `METRICS`.
        text: Such as ``5%`` or ``1pt``.
        name: Where it stands, for the error.

    Raises:
        InvalidParameter: If the unit is missing or another one, or the number is zero, negative or not finite.
    """
    return _PARSERS[metric](text, name=name)


def format_change(metric: str, value: float, *, signed: bool = True) -> str:
    """A change in its metric's unit: ``+7.1 %``, ``-0.4 pt``."""
    value = round(value, 9) + 0.0  # no minus zero
    if _PARSERS[metric] is parse_percent:
        return f"{'+' if signed and value >= 0 else ''}{format_percent(value)}"
    return f"{100 * value:{'+' if signed else ''}.1f} pt"
