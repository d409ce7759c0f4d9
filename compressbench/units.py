"""Units exist here alone: fields hold bytes, nanoseconds and fractions; people read MiB, ms, per cent and points."""

import math
import re
from collections.abc import Mapping, Sequence

from compressbench.errors import InvalidParameter, listed

MIB = 1024 * 1024
DURATION_UNITS = (("s", 1_000_000_000), ("ms", 1_000_000), ("µs", 1_000), ("ns", 1))


def format_mib(size_bytes: int) -> str:
    """Bytes as MiB with two digits: ``417.66``."""
    return f"{size_bytes / MIB:.2f}"


def format_percent(fraction: float, *, digits: int = 1) -> str:
    """A fraction as per cent: ``0.131`` is ``13.1 %``."""
    return f"{100 * fraction:.{digits}f} %"


def format_points(score: float) -> str:
    """A score fraction as points: ``0.557`` is ``55.7``."""
    return f"{100 * score:.1f}"


def format_ratio(ratio: float) -> str:
    """A speedup or a compression ratio: two digits below ten, one above."""
    return f"{ratio:.2f}x" if ratio < 10 else f"{ratio:.1f}x"


def format_durations(durations_ns: Sequence[float]) -> list[str]:
    """One unit for the whole row, milliseconds at most, fit for its smallest value."""
    smallest_ns = min(durations_ns)
    unit, size_ns = next((pair for pair in DURATION_UNITS[1:] if smallest_ns >= pair[1]), DURATION_UNITS[-1])
    return [f"{duration_ns / size_ns:.1f} {unit}" for duration_ns in durations_ns]


def format_seconds(seconds: float) -> str:
    """Time left or taken, for people: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_milliseconds(duration_ns: float | None) -> str:
    """``2814.7``, ``12.04``: two digits below 100 ms."""
    if duration_ns is None:
        return "–"
    milliseconds = duration_ns / 1e6
    return f"{milliseconds:.2f}" if milliseconds < 100 else f"{milliseconds:.1f}"


def parse_percent(text: str, *, name: str) -> float:
    """A relative threshold as a fraction: ``5%`` is 0.05.

    Args:
        text: A positive number followed by ``%``.
        name: Where it stands, such as ``--precision`` or ``gate.toml: latency``; begins the error's sentence.

    Raises:
        InvalidParameter: If the unit is missing or another one, or the number is not positive and finite.
    """
    return _parse(text, {"%": 0.01}, name=name, example="5%")


def parse_points(text: str, *, name: str) -> float:
    """An absolute threshold of a score as a fraction: ``1pt`` is 0.01.

    Args:
        text: A positive number followed by ``pt``.
        name: Where it stands; begins the error's sentence.

    Raises:
        InvalidParameter: If the unit is missing or another one, or the number is not positive and finite.
    """
    return _parse(text, {"pt": 0.01}, name=name, example="1pt")


def parse_duration_ns(text: str, *, name: str) -> float:
    """A duration in nanoseconds: ``20ms`` is 20,000,000.

    Args:
        text: A positive number followed by ``s``, ``ms``, ``us``, ``µs`` or ``ns``.
        name: Where it stands; begins the error's sentence.

    Raises:
        InvalidParameter: If the unit is missing or another one, or the number is not positive and finite.
    """
    sizes = {unit: float(size_ns) for unit, size_ns in DURATION_UNITS}
    return _parse(text, sizes | {"us": sizes["µs"]}, name=name, example="20ms")


def parse_size_bytes(text: str, *, name: str) -> int:
    """A size in bytes: ``60MiB`` is 62,914,560; ``MB`` is refused, for some mean MiB by it and some do not.

    Args:
        text: A positive number followed by ``B``, ``KiB``, ``MiB`` or ``GiB``.
        name: Where it stands; begins the error's sentence.

    Raises:
        InvalidParameter: If the unit is missing or another one, or the number is not positive and finite.
    """
    return round(_parse(text, {"B": 1.0, "KiB": 1024.0, "MiB": MIB, "GiB": 1024 * MIB}, name=name, example="60MiB"))


def _parse(text: str, units: Mapping[str, float], *, name: str, example: str) -> float:
    """A positive number with one of the units, in the unit that fields have."""
    found = re.fullmatch(r"\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*(\S*)\s*", text)
    if found is None:
        raise InvalidParameter(f"{name} {text!r} is no number with a unit: write it as {example}")
    number, unit = float(found[1]), found[2]
    if unit not in units:
        what = f"has the unit {unit!r}" if unit else "has no unit"
        raise InvalidParameter(f"{name} {text!r} {what}: it takes {listed(units)}, such as {example}")
    value = number * units[unit]
    if not (math.isfinite(value) and value > 0):
        raise InvalidParameter(f"{name} {text!r} is no finite number above zero: write it as {example}")
    return value
