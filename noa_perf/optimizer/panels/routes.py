"""The pages of routes: what each spends in the database and beside it, and one alone with all that is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.translation import gettext as _

from noa_perf.core.panels import Block, Column, Kind, Stat, Table, Text, Window
from noa_perf.metrics import rollup
from noa_perf.metrics.rollup import Line, Point
from noa_perf.optimizer.panels import blocks, n_plus_one


def database_seconds(total: Point) -> float:
    """Return the seconds that a route's requests spent in the database."""
    return total.extra.get("database_us", 0) / 1_000_000


def every(window: Window) -> Sequence[Block]:
    """List the routes by the time they spent in the database."""
    lines = rollup.read("route", window.since, window.until, window.step, top=blocks.TOP)
    lines.sort(key=lambda line: -database_seconds(line.total))
    whole = sum(database_seconds(line.total) for line in lines)
    columns = (
        Column(title=_("route"), kind=Kind.CODE),
        Column(title=_("share of database time"), kind=Kind.SHARE),
        Column(title=_("requests"), kind=Kind.COUNT),
        Column(title=_("mean"), kind=Kind.MS),
        Column(title=_("p95"), kind=Kind.MS),
        Column(title=_("in the database, each"), kind=Kind.MS),
        Column(title=_("queries, each"), kind=Kind.COUNT),
    )
    rows = blocks.linked(
        "routes",
        lines,
        lambda line: (line.labels.get("route", ""), database_seconds(line.total) / (whole or 1.0), *_each(line.total)),
    )
    note = _("%(scope)s; commands and tasks count too; a streaming response's time holds its reader's")
    note %= {"scope": blocks.all_processes()}
    return [
        blocks.over_time(_("Time of requests"), lines[:5], "route"),
        Table(
            title=_("Routes"),
            columns=columns,
            rows=rows,
            note=note,
            empty=_("No request was counted in this window."),
        ),
    ]


def _each(total: Point) -> tuple[int, float, float, float, float]:
    count = max(1, total.count)
    return (
        total.count,
        total.seconds * 1000 / count,
        total.percentile(0.95) * 1000,
        database_seconds(total) * 1000 / count,
        round(total.extra.get("queries", 0) / count, 1),
    )


def one(key: str, window: Window) -> Sequence[Block]:
    """Show one route: its figures, its run over time, and what is fetched one by one in it."""
    line = blocks.read_one("route", key, window)
    return [
        Text(title=_("Route"), body=line.labels.get("route", ""), code=True),
        *_stats(line),
        blocks.per_step(_("Requests"), line),
        blocks.spread(_("Time of a request"), line.total),
        n_plus_one.table(window, line.labels.get("route", "")),
    ]


def _stats(line: Line) -> list[Stat]:
    requests, mean, p95, database, queries = _each(line.total)
    return [
        Stat(title=_("requests"), value=requests),
        Stat(title=_("mean"), value=mean, kind=Kind.MS),
        Stat(title=_("p95"), value=p95, kind=Kind.MS, note=_("about: interpolated in powers of two")),
        Stat(title=_("in the database, each"), value=database, kind=Kind.MS),
        Stat(title=_("queries, each"), value=queries),
        Stat(title=_("failed queries"), value=line.total.extra.get("failed", 0)),
    ]
