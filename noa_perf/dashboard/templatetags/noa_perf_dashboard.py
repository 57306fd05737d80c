"""Draws blocks: the one place where panels' data meets HTML."""

from __future__ import annotations

from typing import Any

from django import template
from django.template.context import Context
from django.utils.safestring import SafeString

from noa_perf.core.panels import Chart, Column, Kind, Link, Row, Stat, Tree, Verdict
from noa_perf.dashboard import charts
from noa_perf.dashboard.formats import brief, written

register = template.Library()

ICONS = {"good": "✓", "warn": "▲", "bad": "✕", "unknown": "?"}
WORDS = {"good": "Good", "warn": "Look", "bad": "Bad", "unknown": "Unknown"}


@register.filter
def template_of(block: Any) -> str:
    """Return the template that draws a block."""
    return f"noa_perf/dashboard/blocks/{type(block).__name__.lower()}.html"


@register.filter
def icon(verdict: Verdict) -> str:
    """Return the sign of a verdict's state."""
    return ICONS[verdict.state.value]


@register.filter
def word(verdict: Verdict) -> str:
    """Return the word of a verdict's state."""
    return WORDS[verdict.state.value]


@register.filter
def figure(stat: Stat) -> str:
    """Return a stat's value as a person reads it."""
    return written(stat.value, stat.kind)


@register.filter
def cells(row: Row, columns: list[Column]) -> list[dict[str, Any]]:
    """Return each cell of a row with how it is to be written."""
    return [
        {"text": written(value, column.kind), "kind": column.kind.name.lower(), "value": value, "column": column}
        for value, column in zip(row.cells, columns, strict=True)
    ]


@register.filter
def is_number(column: Column) -> bool:
    """Tell whether a column stands to the right."""
    return column.kind not in (Kind.TEXT, Kind.CODE)


@register.simple_tag(takes_context=True)
def address(context: Context, link: Link | None) -> str:
    """Return the address of a link, in the window that is being looked at."""
    if link is None:
        return ""
    key = f"{link.key}/" if link.key else ""
    return f"{context['home']}{link.page}/{key}?window={context['window'].name}"


@register.simple_tag(takes_context=True)
def svg(context: Context, chart: Chart) -> SafeString:
    """Return a chart as SVG."""
    return charts.draw(chart, context["window"])


@register.filter
def tree_svg(tree: Tree) -> SafeString:
    """Return a tree as SVG."""
    return charts.tree(tree)


@register.filter
def numbers(chart: Chart) -> list[dict[str, Any]]:
    """Return the same numbers as a chart, for the table beside it."""
    unit = Kind.COUNT if chart.kind == "histogram" else chart.unit
    return [
        {"series": series.title, "points": [(_edge(chart, x), written(value, unit)) for x, value in series.points]}
        for series in chart.series
    ]


def _edge(chart: Chart, at: float) -> str:
    return f"≤ {brief(at, chart.unit)}" if chart.kind == "histogram" else written(at, Kind.TIME)
