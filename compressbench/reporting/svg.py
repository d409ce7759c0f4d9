"""Pieces of SVG text that every plot here is drawn with."""

import math
from collections.abc import Sequence
from html import escape

GREY = "#666"
_STYLE = 'font-family="system-ui, sans-serif" font-size="11"'


def text(x: float, y: float, words: str, *, anchor: str = "start", colour: str = "#222", weight: str = "normal") -> str:
    """Words at a place."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}" {_STYLE}>'
        f"{escape(words)}</text>"
    )


def line(x1: float, y1: float, x2: float, y2: float) -> str:
    """A thin line of a grid."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'


def polyline(points: Sequence[tuple[float, float]], *, colour: str) -> str:
    """A curve through points."""
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """A whole drawing on white."""
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img">\n<title>{escape(title)}</title>\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n'
    )


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten inside the range."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**decade for decade in decades for factor in (1, 2, 5)]
    return [tick for tick in ticks if low <= tick <= high]
