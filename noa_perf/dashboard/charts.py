"""Charts as inline SVG, from pure functions: no script, no inline style, colours from classes.

Each has a ``<title>`` and a ``<desc>``; the same numbers stand in a table beside it, which the template draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from math import ceil, floor, log10

from django.utils.safestring import SafeString, mark_safe

from noa_perf.core.panels import Chart, Kind, Node, Series, Tree, Window
from noa_perf.dashboard.formats import brief

WIDTH, HEIGHT = 720, 200
LEFT, RIGHT, TOP, BOTTOM = 64, 8, 10, 24
COLOURS = 6
"""Classes ``c0`` to ``c5``; the style sheet gives each a colour and a dash, for colour alone says nothing."""

TINY = 1e-300
"""Below this a float has not digits enough to be scaled; nothing that is counted comes near."""

ROW, INDENT = 30, 22
TREE_WIDTH = 720
DEEPEST = 20
"""Steps further down than this are drawn no further to the right: they would leave the picture."""


def draw(chart: Chart, window: Window) -> SafeString:
    """Return ``chart`` as an SVG element."""
    if not any(series.points for series in chart.series):
        return SafeString("")
    body = {"line": _lines, "stacked": _stacked, "histogram": _histogram}[chart.kind](chart, window)
    return _svg(chart.title, _described(chart), "".join(body), WIDTH, HEIGHT)


def tree(drawn: Tree) -> SafeString:
    """Return a plan's tree as an SVG element: one row a step, the dear ones marked by a bar."""
    rows = list(_rows(drawn.roots, 0))
    parts = []
    for index, (node, depth, parent) in enumerate(rows):
        x, y = 8 + min(depth, DEEPEST) * INDENT, index * ROW + 20
        if parent is not None:
            up = parent * ROW + 26
            parts.append(f'<path class="edge" d="M{x - INDENT + 6} {up}V{y - 5}H{x - 4}"/>')
        if node.weight is not None:
            width = max(1.0, 120 * min(1.0, node.weight))
            parts.append(f'<rect class="weight" x="{TREE_WIDTH - 128}" y="{y - 11}" width="{width:.0f}" height="12"/>')
            parts.append(f'<text class="small" x="{TREE_WIDTH - 124}" y="{y - 1}">{node.weight:.0%}</text>')
        parts.append(f'<text x="{x}" y="{y}">{escape(_cut(node.title, max(12, 74 - 3 * depth)))}</text>')
        if node.figures:
            parts.append(f'<text class="small" x="{x}" y="{y + 12}">{escape(_cut(node.figures, 90))}</text>')
    described = "; ".join(f"{node.title} ({node.figures})" for node, _, _ in rows)
    return _svg(drawn.title, described, "".join(parts), TREE_WIDTH, len(rows) * ROW + 12)


def _rows(
    nodes: Iterable[Node], depth: int, offset: int = 0, parent: int | None = None
) -> list[tuple[Node, int, int | None]]:
    found: list[tuple[Node, int, int | None]] = []
    for node in nodes:
        here = offset + len(found)
        found.append((node, depth, parent))
        found.extend(_rows(node.children, depth + 1, here + 1, here))
    return found


def _lines(chart: Chart, window: Window) -> list[str]:
    top = nice(max(value for series in chart.series for _, value in series.points))
    drawn = [*_frame(window, top, chart.unit)]
    for number, series in enumerate(chart.series):
        points = " ".join(f"{_x(at, window):.1f},{_y(value, top):.1f}" for at, value in _filled(series, window))
        drawn.append(f'<polyline class="line c{number % COLOURS}" points="{points}"/>')
    return drawn


def _stacked(chart: Chart, window: Window) -> list[str]:
    columns = sorted({at for series in chart.series for at, _ in series.points})
    values = [dict(series.points) for series in chart.series]
    top = nice(max(sum(one.get(at, 0.0) for one in values) for at in columns))
    width = max(1.0, (WIDTH - LEFT - RIGHT) * window.step / (window.until - window.since) - 1)
    drawn = [*_frame(window, top, chart.unit)]
    for at in columns:
        floor_of = 0.0
        for number, one in enumerate(values):
            value = one.get(at, 0.0)
            if value <= 0:
                continue
            high, low = _y(floor_of + value, top), _y(floor_of, top)
            x = min(_x(at, window), WIDTH - RIGHT - width)
            drawn.append(
                f'<rect class="area c{number % COLOURS}" x="{x:.1f}" y="{high:.1f}" '
                f'width="{width:.1f}" height="{max(0.5, low - high):.1f}"/>'
            )
            floor_of += value
    return drawn


def _histogram(chart: Chart, window: Window) -> list[str]:
    points = list(chart.series[0].points)
    top = nice(max(value for _, value in points))
    width = (WIDTH - LEFT - RIGHT) / len(points)
    drawn = [*_scale(top, Kind.COUNT)]
    for index, (end, value) in enumerate(points):
        x, y = LEFT + index * width, _y(value, top)
        drawn.append(
            f'<rect class="area c0" x="{x + 1:.1f}" y="{y:.1f}" width="{max(1.0, width - 2):.1f}" '
            f'height="{HEIGHT - BOTTOM - y:.1f}"/>'
        )
        if index % ceil(len(points) / 8) == 0:
            drawn.append(_label(x + width / 2, HEIGHT - 8, f"≤ {brief(end, chart.unit)}", "middle"))
    return drawn


def _frame(window: Window, top: float, unit: Kind) -> Iterable[str]:
    yield from _scale(top, unit)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = window.since + share * (window.until - window.since)
        anchor = "start" if share == 0 else "end" if share == 1 else "middle"
        yield _label(_x(at, window), HEIGHT - 8, _clock(at, window), anchor)


def _scale(top: float, unit: Kind) -> Iterable[str]:
    for share in (0.0, 0.5, 1.0):
        y = _y(share * top, top)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        yield _label(LEFT - 6, y + 4, brief(share * top, unit), "end")


def _filled(series: Series, window: Window) -> list[tuple[float, float]]:
    """Return the points with a zero wherever a step is missing: nothing counted is nothing, not the last value."""
    values = dict(series.points)
    first = floor(window.since / window.step) * window.step
    steps = range(int(first), int(window.until) + 1, window.step)
    return [(max(float(at), window.since), values.get(at, 0.0)) for at in steps]


def nice(value: float) -> float:
    """Return the next of 1, 2, 5, 10, 20, … that is not below ``value``."""
    if value < TINY:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * 0.9999)


def _x(at: float, window: Window) -> float:
    share = (at - window.since) / (window.until - window.since)
    return LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT)


def _y(value: float, top: float) -> float:
    return TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM)


def _clock(at: float, window: Window) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return moment.strftime("%H:%M" if window.until - window.since <= 86_400 else "%d %b %H:%M")


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="small" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _described(chart: Chart) -> str:
    parts = []
    for series in chart.series:
        values: Sequence[float] = [value for _, value in series.points] or [0.0]
        parts.append(f"{series.title}: from {brief(min(values), chart.unit)} to {brief(max(values), chart.unit)}")
    return "; ".join(parts)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _svg(title: str, description: str, body: str, width: int, height: int) -> SafeString:
    # Every text in it went through escape(); the rest are numbers and our own words.
    return mark_safe(  # noqa: S308
        f'<svg class="chart" role="img" viewBox="0 0 {width} {height}" preserveAspectRatio="xMinYMin meet">'
        f"<title>{escape(title)}</title><desc>{escape(description[:2_000])}</desc>{body}</svg>"
    )
