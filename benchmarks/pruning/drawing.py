"""Lines through points as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from compressbench.reporting.svg import GREY, line, polyline, svg, text

WIDTH, HEIGHT = 560, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 150, 40, 40
COLOURS = ("#1f5fa8", "#b3541e", "#3b7d3b", "#7a4fa0", "#a08500")
TICKS = 5


@dataclass(frozen=True, kw_only=True)
class Line:
    """A name and its points."""

    name: str
    points: Sequence[tuple[float, float]]


def draw_lines(lines: Sequence[Line], *, title: str, across: str, upwards: str) -> str:
    """All lines in one frame, each named at its end."""
    xs, ys = zip(*(point for each in lines for point in each.points), strict=True)
    low_x, high_x, low_y, high_y = min(xs), max(xs), min(ys) - 1, max(ys) + 1
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x = LEFT + (right - LEFT) * (point[0] - low_x) / ((high_x - low_x) or 1)
        return x, bottom - (bottom - TOP) * (point[1] - low_y) / (high_y - low_y)

    parts = [text(LEFT, 16, title, weight="bold"), text(LEFT, 31, f"{upwards} against {across}", colour=GREY)]
    for number in range(TICKS):
        share = number / (TICKS - 1)
        x, y = place((low_x + share * (high_x - low_x), low_y + share * (high_y - low_y)))
        parts += [line(LEFT, y, right, y), line(x, TOP, x, bottom)]
        parts.append(text(LEFT - 6, y + 4, f"{low_y + share * (high_y - low_y):.1f}", anchor="end", colour=GREY))
        parts.append(text(x, bottom + 16, f"{low_x + share * (high_x - low_x):.0f}", anchor="middle", colour=GREY))
    for number, each in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        places = [place(point) for point in each.points]
        parts.append(polyline(places, colour=colour))
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(text(places[-1][0] + 8, places[-1][1] + 4, each.name, colour=colour))
    return svg(WIDTH, HEIGHT, title, parts)
