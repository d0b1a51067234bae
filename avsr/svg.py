"""Small figures as SVG text: bars, heat maps and lines, with nothing but the standard library.

Data: numbers and names -> one SVG document. A number that is not finite leaves a gap.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

__all__ = ["bars", "curves", "heat_map", "lines"]

COLOURS = ("#1f6fb2", "#d9822b", "#3a9a52", "#b3403a", "#7d5ba6", "#8a6d3b", "#5f6b73", "#c25b93")
DASHES = ("none", "6 3", "2 2")
WIDTH, HEIGHT = 640, 320
LEFT, TOP, BOTTOM = 60, 36, 44


def bars(values: Mapping[str, float], *, title: str, unit: str) -> str:
    """Vertical bars from zero.

    Args:
        values: height of each bar by its name, not negative.
        title: above the figure.
        unit: what the heights are.
    """
    top = _top(values.values())
    inner, floor = WIDTH - LEFT - 20, HEIGHT - BOTTOM
    parts = [*_frame(inner, 0.0, top), _text(16, HEIGHT / 2, unit, turn=-90)]
    step = inner / max(1, len(values))
    for number, (name, value) in enumerate(values.items()):
        x = LEFT + (number + 0.5) * step
        parts.append(_text(x, floor + 16, name))
        if math.isfinite(value):
            height = (floor - TOP) * value / top
            parts.append(_box(x - 0.35 * step, floor - height, 0.7 * step, height, COLOURS[0]))
            parts.append(_text(x, floor - height - 4, f"{value:.3g}"))
    return _document(title, WIDTH, HEIGHT, parts)


def heat_map(
    values: Sequence[Sequence[float]],
    *,
    title: str,
    rows: str,
    columns: str,
    low: float = 0.0,
    high: float | None = None,
) -> str:
    """A table of cells, white at `low` and dark at `high`.

    Args:
        values: rows of equal length, the first at the top.
        title: above the figure.
        rows: what the rows are.
        columns: what the columns are.
        low: value of white.
        high: value of the darkest colour, None for the largest one there is.
    """
    high = _top(v for row in values for v in row) if high is None else high
    count, wide = len(values), max((len(row) for row in values), default=0)
    cell = max(3.0, min(18.0, 560 / max(1, wide), 560 / max(1, count)))
    inner, depth = cell * wide, cell * count
    parts = [
        _box(LEFT + c * cell, TOP + r * cell, cell, cell, _shade(value, low, high))
        for r, row in enumerate(values)
        for c, value in enumerate(row)
        if math.isfinite(value)
    ]
    parts += [
        _text(LEFT + inner / 2, TOP + depth + 28, f"{columns} (0 to {max(0, wide - 1)})"),
        _text(16, TOP + depth / 2, rows, turn=-90),
        _text(LEFT - 4, TOP + 10, "0", anchor="end"),
        _text(LEFT - 4, TOP + depth, str(max(0, count - 1)), anchor="end"),
        _text(LEFT, TOP + depth + 14, f"white {low:.3g}, dark {high:.3g}", anchor="start"),
    ]
    return _document(title, max(WIDTH, LEFT + inner + 20), TOP + depth + BOTTOM, parts)


def lines(
    series: Mapping[str, Sequence[float]],
    *,
    title: str,
    across: str,
    up: str,
    high: float | None = None,
) -> str:
    """Lines over 0, 1, 2, ..., from zero upwards.

    Args:
        series: the values of each line by its name.
        title: above the figure.
        across: what the numbers along the axis are.
        up: what the values are.
        high: upper end of the axis, None for the largest value.
    """
    top = _top(v for row in series.values() for v in row) if high is None else high
    inner, floor = WIDTH - LEFT - 20, HEIGHT - BOTTOM
    last = max(1, max((len(row) for row in series.values()), default=1) - 1)
    parts = [
        *_frame(inner, 0.0, top),
        _text(LEFT + inner / 2, floor + 28, across),
        _text(16, HEIGHT / 2, up, turn=-90),
        _text(LEFT, floor + 14, "0"),
        _text(LEFT + inner, floor + 14, str(last)),
    ]
    for number, (name, row) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        dash = "" if number < len(COLOURS) else ' stroke-dasharray="5 3"'
        points = [
            f"{LEFT + inner * i / last:.1f},{floor - (floor - TOP) * min(v / top, 1.0):.1f}"
            for i, v in enumerate(row)
            if math.isfinite(v)
        ]
        parts.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="1.6"{dash} '
            f'points="{" ".join(points)}"/>'
        )
        y = HEIGHT + 14 * number
        parts.append(_box(LEFT, y - 8, 10, 10, colour))
        parts.append(_text(LEFT + 16, y, name, anchor="start"))
    return _document(title, WIDTH, HEIGHT + 14 * len(series), parts)


def curves(
    series: Mapping[str, Sequence[tuple[float, float]]], *, title: str, across: str, up: str
) -> str:
    """Lines with a dot at each point, upwards from zero.

    Args:
        series: points (x, y) of each line by its name, in order of x.
        title: above the figure.
        across: what x is.
        up: what y is.
    """
    known = {
        name: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        for name, points in series.items()
    }
    every = [point for points in known.values() for point in points]
    top = _top(y for _, y in every)
    low, high = min((x for x, _ in every), default=0.0), max((x for x, _ in every), default=1.0)
    inner, floor = WIDTH - LEFT - 20, HEIGHT - BOTTOM
    span = high - low if high > low else 1.0
    parts = [
        *_frame(inner, 0.0, top),
        _text(LEFT + inner / 2, floor + 28, across),
        _text(16, HEIGHT / 2, up, turn=-90),
    ]
    parts += [
        _text(LEFT + inner * (x - low) / span, floor + 14, f"{x:.3g}")
        for x in sorted({round(x, 1) for x, _ in every})
    ]
    for number, (name, points) in enumerate(known.items()):
        colour = COLOURS[number % len(COLOURS)]
        dash = DASHES[number // len(COLOURS) % len(DASHES)]
        places = [
            (LEFT + inner * (x - low) / span, floor - (floor - TOP) * y / top) for x, y in points
        ]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        line = f'fill="none" stroke="{colour}" stroke-width="1.6" stroke-dasharray="{dash}"'
        parts.append(f'<polyline {line} points="{joined}"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in places]
        y = HEIGHT + 14 * number
        parts.append(f'<path {line} d="M{LEFT} {y - 3}h24"/>')
        parts.append(_text(LEFT + 30, y, name, anchor="start"))
    return _document(title, WIDTH, HEIGHT + 14 * len(known), parts)


def _top(values: Iterable[float]) -> float:
    """The largest finite value; 1 where none is above zero."""
    found = max((v for v in values if math.isfinite(v)), default=0.0)
    return found if found > 0 else 1.0


def _shade(value: float, low: float, high: float) -> str:
    share = min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 0.0
    return f"rgb({255 - 231 * share:.0f},{255 - 187 * share:.0f},{255 - 125 * share:.0f})"


def _frame(inner: float, low: float, high: float) -> list[str]:
    floor = HEIGHT - BOTTOM
    axes = f"M{LEFT} {TOP}V{floor}H{LEFT + inner}"
    return [
        f'<path d="{axes}" fill="none" stroke="#444"/>',
        _text(LEFT - 4, floor, f"{low:.3g}", anchor="end"),
        _text(LEFT - 4, TOP + 8, f"{high:.3g}", anchor="end"),
    ]


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
    )


def _text(x: float, y: float, words: str, *, anchor: str = "middle", turn: int = 0) -> str:
    turned = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn != 0 else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turned}>{escape(words)}</text>'


def _document(title: str, width: float, height: float, parts: Iterable[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'font-family="sans-serif" font-size="11" role="img" aria-label={quoteattr(title)}>'
    )
    ground = '<rect width="100%" height="100%" fill="white"/>'
    return "\n".join([head, ground, _text(width / 2, 20, title), *parts, "</svg>", ""])
