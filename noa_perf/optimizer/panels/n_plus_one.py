"""The pages of N+1: what is fetched one by one, where, and the cure; and one alone with its line and statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _

from noa_perf.core.panels import Block, Column, Kind, Link, Row, Stat, State, Table, Text, Verdict, Window
from noa_perf.metrics import rollup
from noa_perf.metrics.rollup import Line
from noa_perf.optimizer.metering import MAX_SQL
from noa_perf.optimizer.panels import blocks


def every(window: Window) -> Sequence[Block]:
    """List the N+1 by the time they took, each with its place and its cure."""
    return [table(window)]


def table(window: Window, route: str | None = None) -> Table:
    """Return the N+1 of one route, or of all."""
    top = blocks.TOP if route is None else None  # those of one route may be anywhere among all
    lines = rollup.read("n_plus_one", window.since, window.until, top=top, notes=True)
    if route is not None:
        lines = [line for line in lines if line.labels.get("route") == route]
    titles = (_("where"), _("route"))
    columns = [
        Column(title=_("what"), kind=Kind.CODE),
        *(Column(title=title) for title in titles),
        Column(title=_("times"), kind=Kind.COUNT),
        Column(title=_("queries"), kind=Kind.COUNT),
        Column(title=_("total"), kind=Kind.MS),
        Column(title=_("cure"), kind=Kind.CODE),
    ]
    return Table(
        title=_("N+1"),
        columns=columns,
        rows=[_row(line, finding(line)) for line in lines],
        note=blocks.all_processes(),
        empty=_("Nothing is fetched one by one. Well done."),
        sampled=blocks.sampled(),
    )


def _row(line: Line, found: Mapping[str, Any]) -> Row:
    return Row(
        cells=(
            line.labels.get("subject", ""),
            line.labels.get("place", "").removeprefix("at ") or blocks.place(found.get("change")),
            line.labels.get("route", ""),
            line.total.count,
            line.total.extra.get("queries", 0),
            line.total.seconds * 1000,
            cure(found),
        ),
        link=Link(page="n-plus-one", key=line.series),
    )


def finding(line: Line) -> Mapping[str, Any]:
    """Return the finding that was noted of an N+1; empty where none was yet."""
    found = line.notes.get("findings") or [{}]
    return dict(found[0])


def cure(found: Mapping[str, Any]) -> str:
    """Return the code to add, or the words that say what to do."""
    return str(found.get("code") or found.get("cure") or "")


def one(key: str, window: Window) -> Sequence[Block]:
    """Show one N+1: the change to make, its figures, its run over time, its statement."""
    line = blocks.read_one("n_plus_one", key, window)
    found = finding(line)
    each = line.total.extra.get("queries", 0) / max(1, line.total.count)
    return [
        _verdict(line, found),
        Stat(title=_("times"), value=line.total.count),
        Stat(title=_("queries, each time"), value=round(each, 1)),
        Stat(title=_("total"), value=line.total.seconds * 1000, kind=Kind.MS),
        Stat(title=_("each time"), value=line.total.seconds * 1000 / max(1, line.total.count), kind=Kind.MS),
        blocks.per_step(_("Times"), line),
        *([Text(title=_("Statement"), body=found["sql"], code=True)] if found else ()),
        _places(line, found),
    ]


def _verdict(line: Line, found: Mapping[str, Any]) -> Verdict:
    text = found.get("cure") or _("Its cure was not noted yet: that takes a few seconds after the first request.")
    return Verdict(state=State.WARN, title=line.labels.get("subject", ""), text=text, cure=found.get("code", ""))


def _places(line: Line, found: Mapping[str, Any]) -> Table:
    route = line.labels.get("route", "")
    rows = [Row(cells=(_("route"), route), link=blocks.route_link(route))]
    rows.append(Row(cells=(_("runs"), line.labels.get("place", "").removeprefix("at "))))
    if found:
        rows.append(Row(cells=(_("template"), blocks.place(found["template"]))))
        sure = "" if found["certain"] else _(" (a guess)")
        rows.append(Row(cells=(_("to change"), blocks.place(found["change"]) + sure)))
        link = blocks.statement_link(found["alias"], found["fingerprint"], found["sql"])
        # A finding's statement is cut shorter than the one that is counted: then its page cannot be named.
        if len(found["sql"]) < MAX_SQL:
            rows.append(Row(cells=(_("statement"), blocks.brief(found["sql"])), link=link))
    columns = (Column(title=_("what")), Column(title=_("where"), kind=Kind.CODE))
    return Table(title=_("Places"), columns=columns, rows=[row for row in rows if row.cells[1]])
