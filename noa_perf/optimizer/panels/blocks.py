"""Blocks that several of the optimizer's pages show: figures, runs over time, findings, links to one another."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.utils.translation import gettext as _

from noa_perf.core.panels import Chart, Column, Kind, Link, NotThere, Row, Series, Stat, Table, Window
from noa_perf.metrics import rollup
from noa_perf.metrics.rollup import Line, Point
from noa_perf.optimizer.conf import settings

TOP = 100
"""Rows of a page."""


def all_processes() -> str:
    """Return the words for figures that are those of every process together."""
    return _("all processes")


def sampled() -> bool:
    """Tell whether figures of statements are estimates."""
    return settings().sample_rate < 1


def linked(page: str, lines: Iterable[Line], cells: Callable[[Line], Sequence[Any]]) -> list[Row]:
    """Return a row for each of ``lines``, which leads to its own page."""
    return [Row(cells=tuple(cells(line)), link=Link(page=page, key=line.series)) for line in lines]


def read_one(kind: str, key: str, window: Window) -> Line:
    """Return the series of that name, or raise NotThere."""
    lines = rollup.read(kind, window.since, window.until, window.step, series=[key], notes=True)
    if not lines:
        raise NotThere(
            _("Nothing of %(key)r was counted in the last %(window)s.") % {"key": key, "window": window.name}
        )
    return lines[0]


def figure_columns() -> tuple[Column, ...]:
    """Return the columns of :func:`figures`."""
    return (
        Column(title=_("share"), kind=Kind.SHARE),
        Column(title=_("total"), kind=Kind.MS),
        Column(title=_("calls"), kind=Kind.COUNT),
        Column(title=_("mean"), kind=Kind.MS),
        Column(title=_("p95"), kind=Kind.MS),
    )


def figures(total: Point, whole: float) -> tuple[float, float, int, float, float]:
    """Return share of ``whole`` (seconds), total, calls, mean and p95 (milliseconds)."""
    milliseconds = total.seconds * 1000
    mean = milliseconds / max(1, total.count)
    return total.seconds / (whole or 1.0), milliseconds, total.count, mean, total.percentile(0.95) * 1000


def stats(total: Point) -> list[Stat]:
    """Return the figures of one series."""
    _share, milliseconds, calls, mean, p95 = figures(total, total.seconds)
    return [
        Stat(title=_("calls"), value=calls),
        Stat(title=_("total"), value=milliseconds, kind=Kind.MS),
        Stat(title=_("mean"), value=mean, kind=Kind.MS),
        Stat(title=_("p95"), value=p95, kind=Kind.MS, note=_("about: interpolated in powers of two")),
        Stat(title=_("failed"), value=total.extra.get("failed", 0)),
    ]


def over_time(title: str, lines: Sequence[Line], label: str) -> Chart:
    """Return the milliseconds of several series, one upon the other."""
    series = [
        Series(
            title=brief(line.labels.get(label, ""))[:100],
            points=[(point.at, point.seconds * 1000) for point in line.points],
        )
        for line in lines
    ]
    note = _("the %(many)d dearest; %(scope)s") % {"many": len(lines), "scope": all_processes()}
    return Chart(title=title, series=series, kind="stacked", unit=Kind.MS, note=note)


def per_step(title: str, line: Line) -> Chart:
    """Return how often something happened, over time."""
    points = [(point.at, float(point.count)) for point in line.points]
    return Chart(title=title, series=[Series(title=title, points=points)], note=all_processes())


def spread(title: str, total: Point) -> Chart:
    """Return how durations are spread."""
    points = [((1 << index) / 1_000, float(count)) for index, count in sorted(total.histogram.items())]
    return Chart(title=title, series=[Series(title=_("runs"), points=points)], kind="histogram", unit=Kind.MS)


def findings(found: Iterable[dict[str, Any]]) -> Table:
    """Return a table of noted findings."""
    titles = (_("severity"), _("kind"), _("what"), _("where"), _("change"))
    rows = [
        Row(
            cells=(
                one["severity"],
                one["kind"],
                one["summary"],
                place(one["where"] or one["template"]),
                place(one["change"]),
                one["code"] or one["cure"],
            )
        )
        for one in found
    ]
    return Table(
        title=_("Findings"),
        columns=[*(Column(title=title) for title in titles), Column(title=_("cure"), kind=Kind.CODE)],
        rows=rows,
        note=_("as the process that last looked noted them"),
        empty=_("Nothing was found."),
    )


def place(noted: dict[str, Any] | None) -> str:
    """Return a noted place as ``file:line``."""
    if not noted:
        return ""
    return f"{noted['file']}:{noted['line']}" if noted["line"] else str(noted["file"])


def statement_link(alias: str, fingerprint: str, folded: str) -> Link:
    """Return where a statement's own page is."""
    return Link(page="queries", key=rollup.digest("query", (alias, fingerprint, folded)))


def route_link(route: str) -> Link:
    """Return where a route's own page is."""
    return Link(page="routes", key=rollup.digest("route", (route,)))


def brief(sql: str) -> str:
    """Return a statement without the list of its plain columns, which says least of it."""
    return _COLUMNS.sub("SELECT … FROM", sql).replace('"', "").replace("`", "")


_COLUMNS = re.compile(r'^SELECT (?:["`]\w+["`]\.["`]\w+["`](?:, )?)+ FROM')
