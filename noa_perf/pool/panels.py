"""What the pools show on the dashboard: use over time, leaks, what was closed and cleaned, sizes and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from noa_perf.core.panels import (
    Block,
    Chart,
    Column,
    Kind,
    Link,
    NotThere,
    Page,
    Panel,
    Row,
    Series,
    Stat,
    State,
    Table,
    Text,
    Verdict,
    Window,
    register,
)
from noa_perf.metrics import rollup
from noa_perf.metrics.exceptions import RollupUnavailable
from noa_perf.metrics.rollup import Line, Point
from noa_perf.pool import fleet
from noa_perf.pool.models import PoolOrder
from noa_perf.pool.orders import orders

SLUG = "pools"
TOP = 100
DRAWN = 5
"""Pools of which a chart is drawn, those that are used most."""
STEPS = 50
LATELY = 60.0
"""Seconds for which what was told last still holds, where steps are short."""
CROWDED = 0.1
"""Share of those who asked for a connection beyond which too many found none."""

CAUSES = {
    "lifetime": gettext_lazy("older than max_lifetime"),
    "idle": gettext_lazy("idle for longer than max_idle, and not called for"),
    "dead": gettext_lazy("the server, or something between, had closed it"),
    "silent": gettext_lazy("the server did not answer within ping_timeout"),
    "drained": gettext_lazy("drained, by an order or a change of time zone"),
    "resized": gettext_lazy("more than the new size"),
    "untidy": gettext_lazy("came back in the middle of something, and could not be put in order"),
    "interrupted": gettext_lazy("whoever took it or gave it back was interrupted meanwhile"),
    "closed": gettext_lazy("the pool was closed"),
}
FOUND = {
    "transaction": gettext_lazy("an open transaction, which was rolled back: close cursors and use atomic()"),
    "session": gettext_lazy("SET, temporary tables, locks, LISTEN and the like, which were taken back"),
    "cursor": gettext_lazy("a server-side cursor that was not closed"),
    "attributes": gettext_lazy("another isolation level, row factory or the like, set on psycopg's connection"),
}


def install() -> None:
    """Register the panel."""
    rollup.SUMS["pool"] = ("timeouts", "refused", "leaks", "waited")
    page = Page(slug=SLUG, title=gettext_lazy("Pool"), blocks=blocks, detail=detail, order=70)
    register(Panel(name="pool", title=gettext_lazy("Connection pools"), verdicts=verdicts, pages=(page,), order=40))


def verdicts(window: Window) -> Sequence[Verdict]:
    """Say whether everybody got a connection, and whether any leaked."""
    try:
        total = rollup.summed("pool", window)
    except RollupUnavailable as error:
        return [Verdict(state=State.UNKNOWN, title=_("Pools"), text=str(error))]
    if not total.count:
        text = _("No connection was taken from a pool in this window.")
        return [Verdict(state=State.UNKNOWN, title=_("Pools"), text=text)]
    leaks = total.extra["leaks"]
    return [_waiting(total), *([_leaking(leaks)] if leaks else [])]


def _waiting(total: Point) -> Verdict:
    extra = total.extra
    without, waited = extra["timeouts"] + extra["refused"], extra["waited"] / total.count
    title, link = _("Pools"), Link(page=SLUG)
    if without:
        return Verdict(
            state=State.BAD,
            title=title,
            text=_("Some got no connection in time, or were turned away."),
            number=_("%(many)s got none") % {"many": f"{without:,}"},
            cure='DATABASES[…]["OPTIONS"]["noa_pool"]["max_size"]',
            evidence=link,
        )
    crowded = waited > CROWDED
    return Verdict(
        state=State.WARN if crowded else State.GOOD,
        title=title,
        text=_("Many find no idle connection.") if crowded else _("Nearly everybody finds an idle connection."),
        number=_("%(share)s found none idle") % {"share": f"{waited:.1%}"},
        evidence=link,
        threshold=_("crowded above %(share)s") % {"share": f"{CROWDED:.0%}"},
    )


def _leaking(leaks: int) -> Verdict:
    return Verdict(
        state=State.WARN,
        title=_("Leaks"),
        text=_("Connections were held for longer than leak_threshold; the page has the lines that took them."),
        number=f"{leaks:,}",
        evidence=Link(page=SLUG),
    )


def blocks(window: Window) -> Sequence[Block]:
    """Show the pools of all processes."""
    span = window.since, window.until
    pools = rollup.read("pool", *span, window.step, top=TOP, by="count")
    held = rollup.read("pool_checkout", *span, window.step, top=TOP, by="count")
    leaks = rollup.read("pool_leak", *span, top=TOP, by="count", notes=True)
    steps = rollup.read("pool_step", *span, top=TOP, by="count", notes=True)
    used = [line for line in pools if line.total.count][:DRAWN] or pools[:DRAWN]
    return [
        *_stats(pools, window),
        *(_over_time(line, window) for line in used),
        _p95(_("Time to get a connection, p95"), used),
        _p95(_("Time for which one is held, p95"), [line for line in held if line.total.count][:DRAWN]),
        _pools(pools, held, window),
        _leaks(leaks),
        _named(_("Why connections were closed"), _("why"), CAUSES, rollup.read("pool_recycled", *span, by="count")),
        _named(
            _("Found on connections that came back"), _("what"), FOUND, rollup.read("pool_cleaned", *span, by="count")
        ),
        _failures(pools),
        _steps(steps),
        _orders(),
    ]


def _now(line: Line, what: str, window: Window) -> float:
    """Return how it is at the end of the window; nothing where nobody has told of it any more."""
    found = fleet.means(line, what, window.step, window.until)
    return found[-1][1] if found and found[-1][0] > window.until - 2 * window.step - LATELY else 0.0


def _stats(pools: list[Line], window: Window) -> list[Stat]:
    def now(what: str) -> float:
        return sum(_now(line, what, window) for line in pools)

    def many(*names: str) -> int:
        return sum(line.total.extra.get(name, 0) for line in pools for name in names)

    return [
        Stat(title=_("in use"), value=round(now("used"), 1), note=_("lately, all processes")),
        Stat(title=_("idle"), value=round(now("idle"), 1), note=_("lately")),
        Stat(title=_("waiting"), value=round(now("waiting"), 1), note=_("lately")),
        Stat(title=_("got none"), value=many("timeouts", "refused")),
        Stat(title=_("leaks"), value=many("leaks")),
    ]


def _over_time(line: Line, window: Window) -> Chart:
    titles = {"used": _("in use"), "idle": _("idle"), "waiting": _("waiting")}
    series = [
        Series(title=title, points=fleet.means(line, what, window.step, window.until)) for what, title in titles.items()
    ]
    title = _("Connections of %(pool)s") % {"pool": line.labels.get("pool", "")}
    note = _("averages of all processes together; waiting: those who have none yet")
    return Chart(title=title, series=series, kind="stacked", note=note)


def _p95(title: str, lines: Iterable[Line]) -> Chart:
    series = [
        Series(
            title=line.labels.get("pool", ""),
            points=[(point.at, point.percentile(0.95) * 1_000) for point in line.points if point.count],
        )
        for line in lines
    ]
    return Chart(title=title, series=series, unit=Kind.MS, note=_("about: interpolated in powers of two"))


def _pools(pools: list[Line], held: list[Line], window: Window) -> Table:
    columns = (
        Column(title=_("pool")),
        Column(title=_("at most"), kind=Kind.COUNT),
        Column(title=_("uses"), kind=Kind.COUNT),
        Column(title=_("none idle"), kind=Kind.COUNT),
        Column(title=_("got one, p95"), kind=Kind.MS),
        Column(title=_("held, p95"), kind=Kind.MS),
        Column(title=_("timeouts"), kind=Kind.COUNT),
        Column(title=_("turned away"), kind=Kind.COUNT),
        Column(title=_("leaks"), kind=Kind.COUNT),
        Column(title=_("left behind"), kind=Kind.COUNT),
    )
    by_pool = {line.labels.get("pool"): line.total for line in held}
    rows = []
    for line in pools:
        name, total, kept = line.labels.get("pool", ""), line.total, by_pool.get(line.labels.get("pool"))
        counts = [total.extra.get(what, 0) for what in ("timeouts", "refused", "leaks", "orphans")]
        p95s = [point.percentile(0.95) * 1_000 if point and point.count else None for point in (total, kept)]
        most = round(_now(line, "limit", window))
        rows.append(Row(cells=(name, most, total.count, total.extra.get("waited", 0), *p95s, *counts)))
    note = _("all processes together; a use is one request's, as a rule; left behind: by threads and tasks that ended")
    empty = _("No pool was used in this window.")
    return Table(title=_("Pools"), columns=columns, rows=rows, note=note, empty=empty)


def _leaks(lines: list[Line]) -> Table:
    columns = (
        Column(title=_("taken by"), kind=Kind.CODE),
        Column(title=_("route")),
        Column(title=_("pool and thread")),
        Column(title=_("times"), kind=Kind.COUNT),
        Column(title=_("last found, UTC"), kind=Kind.TIME),
        Column(title=_("held then"), kind=Kind.MS),
    )
    rows = [
        Row(
            cells=(
                line.labels.get("line", ""),
                line.labels.get("route", ""),
                f"{line.labels.get('pool', '')}, {line.notes.get('thread', '')}",
                line.total.count,
                line.notes.get("at"),
                line.notes.get("age", 0.0) * 1_000,
            ),
            link=Link(page=SLUG, key=line.series),
        )
        for line in sorted(lines, key=lambda line: -line.notes.get("at", 0.0))
    ]
    note = _("held for longer than leak_threshold; each line leads to the stack")
    return Table(title=_("Leaks"), columns=columns, rows=rows, note=note, empty=_("Every connection came back."))


def _named(title: str, heading: str, names: dict[str, Any], lines: list[Line]) -> Table:
    columns = (
        Column(title=heading),
        Column(title=_("times"), kind=Kind.COUNT),
        Column(title=_("pool")),
        Column(title=_("meaning")),
    )
    rows = []
    for line in lines:
        pool, name = [*line.labels.values(), "", ""][:2]
        rows.append(Row(cells=(name, line.total.count, pool, str(names.get(name, "")))))
    return Table(title=title, columns=columns, rows=rows, empty=_("None."))


def _failures(pools: list[Line]) -> Table:
    columns = (
        Column(title=_("pool")),
        Column(title=_("error")),
        Column(title=_("times"), kind=Kind.COUNT),
    )
    rows = [
        Row(cells=(line.labels.get("pool", ""), name.removeprefix("failed_"), many))
        for line in pools
        for name, many in sorted(line.total.extra.items())
        if name.startswith("failed_")
    ]
    empty = _("Every connection that was to be opened could be.")
    return Table(title=_("Could not be opened"), columns=columns, rows=rows, empty=empty)


def _steps(lines: list[Line]) -> Table:
    columns = (
        Column(title=_("UTC"), kind=Kind.TIME),
        Column(title=_("pool")),
        Column(title=_("process")),
        Column(title=_("from"), kind=Kind.COUNT),
        Column(title=_("to"), kind=Kind.COUNT),
        Column(title=_("why")),
    )
    steps = [
        Row(cells=(step["at"], line.labels.get("pool", ""), line.labels.get("process", ""),
                   step["before"], step["after"], step["why"]))
        for line in lines
        for step in line.notes.get("steps", ())
    ]  # fmt: skip
    rows = list(islice(sorted(steps, key=lambda row: -float(row.cells[0] or 0)), STEPS))
    empty = _("No pool grew or shrank.")
    return Table(title=_("Open connections, and why so many"), columns=columns, rows=rows, empty=empty)


def _orders() -> Table:
    columns = (
        Column(title=_("UTC"), kind=Kind.TIME),
        Column(title=_("pool")),
        Column(title=_("action")),
        Column(title=_("size"), kind=Kind.COUNT),
        Column(title=_("who"), private=True),
    )
    rows = [
        Row(cells=(one.at.timestamp(), one.alias, str(PoolOrder.Action(one.action).label), one.value, one.who))
        for one in orders().order_by("-pk")[:TOP]
    ]
    return Table(
        title=_("Orders"), columns=columns, rows=rows, empty=_("Sizes are as the settings say."), note=_where()
    )


def _where() -> str:
    try:
        address = reverse("admin:noa_perf_pool_poolorder_changelist")
    except NoReverseMatch:
        return ""
    return _("Whoever may operate drains and resizes pools at %(address)s.") % {"address": address}


def detail(key: str, window: Window) -> Sequence[Block]:
    """Show one leak with the stack that took the connection."""
    lines = rollup.read("pool_leak", window.since, window.until, window.step, series=[key], notes=True)
    if not lines:
        raise NotThere(_("This leak was not seen in this window."))
    line = lines[0]
    note = line.notes
    return [
        Stat(title=_("times"), value=line.total.count),
        Stat(title=_("last found, UTC"), value=note.get("at"), kind=Kind.TIME),
        Stat(title=_("held then"), value=note.get("age", 0.0) * 1_000, kind=Kind.MS),
        Text(title=_("Taken by"), body=line.labels.get("line", ""), code=True),
        Text(
            title=_("Route"), body=line.labels.get("route", "") or _("outside requests, or PoolMiddleware is missing")
        ),
        Text(title=_("Thread"), body=note.get("thread", "")),
        Text(title=_("Stack, innermost first"), body="\n".join(note.get("stack", ())), code=True),
    ]
