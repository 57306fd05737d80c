"""Draws blocks: the one place where panels' data meets HTML."""

from __future__ import annotations

from typing import Any

from django import template
from django.template.context import Context
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from noa_perf.core.panels import Chart, Column, Kind, Link, Row, Stat, Table, Tree, Verdict, tables
from noa_perf.dashboard import charts
from noa_perf.dashboard.formats import brief, written

register = template.Library()

ICONS = {"good": "✓", "warn": "▲", "bad": "✕", "unknown": "?"}
WORDS = {"good": _("Good"), "warn": _("Look"), "bad": _("Bad"), "unknown": _("Unknown")}


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
    return str(WORDS[verdict.state.value])


@register.filter
def figure(stat: Stat) -> str:
    """Return a stat's value as a person reads it."""
    return written(stat.value, stat.kind)


@register.filter
def cells(row: Row, columns: list[Column]) -> list[dict[str, Any]]:
    """Return each cell of a row with how it is to be written; the row's link leads from its first cell of code."""
    leading = next((column for column in columns if column.kind is Kind.CODE), None) if row.link else None
    return [
        {
            "text": written(value, column.kind),
            "kind": column.kind.name.lower(),
            "value": value,
            "column": column,
            "leads": column is leading,
        }
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
def table_number(context: Context, block: Table) -> int:
    """Return which of its page's tables this is, from 0."""
    return next(number for number, one in enumerate(tables(context["blocks"])) if one is block)


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
