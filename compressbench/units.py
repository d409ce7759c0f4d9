"""Units exist here alone: fields hold bytes, nanoseconds and fractions; people read MiB, ms, per cent and points."""

from collections.abc import Sequence

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
