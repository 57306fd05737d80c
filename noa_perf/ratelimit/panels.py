"""What the rate limiter shows on the dashboard: policies, who is refused, bans and lists, and its storage."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import Count
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from noa_perf.core.panels import (
    Block,
    Chart,
    Column,
    Kind,
    Link,
    Page,
    Panel,
    Row,
    Series,
    Stat,
    State,
    Table,
    Verdict,
    Window,
    register,
)
from noa_perf.metrics import rollup
from noa_perf.metrics.exceptions import RollupUnavailable
from noa_perf.metrics.rollup import Line
from noa_perf.ratelimit import registry
from noa_perf.ratelimit.addresses import mask
from noa_perf.ratelimit.models import Ban, ListEntry
from noa_perf.ratelimit.tally import OUTCOMES

TOP = 100
_PASSED = ("allowed", "opened", "shadowed", "uncharged")


def install() -> None:
    """Register the panel."""
    rollup.SUMS["ratelimit"] = OUTCOMES
    page = Page(slug="rate-limits", title=gettext_lazy("Rate limits"), blocks=blocks, order=60)
    title = gettext_lazy("Rate limits")
    register(Panel(name="ratelimit", title=title, verdicts=verdicts, pages=(page,), order=30))


def verdicts(window: Window) -> Sequence[Verdict]:
    """Say whether anybody was refused, and whether the storage was there."""
    try:
        told = rollup.summed("ratelimit", window).extra
    except RollupUnavailable as error:
        return [Verdict(state=State.UNKNOWN, title=_("Rate limits"), text=str(error))]
    asked = sum(told[name] for name in OUTCOMES)
    if not asked:
        text = _("Nothing was limited in this window.")
        return [Verdict(state=State.UNKNOWN, title=_("Rate limits"), text=text)]
    alone = told["opened"] + told["closed"]
    return [_refusals(told["denied"], asked), *([_away(alone)] if alone else [])]


def _refusals(denied: int, asked: int) -> Verdict:
    return Verdict(
        state=State.GOOD,
        title=_("Rate limits"),
        text=_("Nobody was over a limit.") if not denied else _("Who asked for too much was refused."),
        number=_("%(denied)s of %(asked)s refused") % {"denied": f"{denied:,}", "asked": f"{asked:,}"},
        evidence=Link(page="rate-limits"),
    )


def _away(alone: int) -> Verdict:
    return Verdict(
        state=State.WARN,
        title=_("Rate limits' Redis"),
        text=_("Redis was away at times; policies decided without it. The log has why."),
        number=_("%(alone)s decided without it") % {"alone": f"{alone:,}"},
        evidence=Link(page="rate-limits"),
    )


def blocks(window: Window) -> Sequence[Block]:
    """Show the policies of all processes."""
    span = window.since, window.until
    policies = rollup.read("ratelimit", *span, window.step, top=TOP, by="count")
    clients = rollup.read("ratelimit_client", *span, top=TOP, by="count")
    refused = rollup.read("ratelimit_blocked", *span)
    storage = rollup.read("ratelimit_storage", *span)
    bans = list(Ban.objects.active().order_by("-begun")[:TOP])
    return [
        *_stats(policies, refused, storage, Ban.objects.active().count() if len(bans) == TOP else len(bans)),
        _over_time(policies),
        _policies(policies),
        _clients(clients),
        _bans(bans),
        _lists(),
        _failures(storage),
    ]


def _stats(policies: list[Line], refused: list[Line], storage: list[Line], bans: int) -> list[Stat]:
    asked = sum(line.total.count for line in policies)
    denied = sum(line.total.extra.get("denied", 0) for line in policies)
    slowest = max((line.total.percentile(0.95) * 1000 for line in storage if line.total.count), default=None)
    return [
        Stat(title=_("under a policy"), value=asked, note=_("requests of all processes")),
        Stat(title=_("denied"), value=denied / asked if asked else 0.0, kind=Kind.SHARE),
        Stat(title=_("refused by bans and lists"), value=sum(line.total.count for line in refused)),
        Stat(title=_("bans in force"), value=bans),
        Stat(title=_("Redis, p95"), value=slowest, kind=Kind.MS, note=_("about: interpolated in powers of two")),
    ]


def _over_time(policies: list[Line]) -> Chart:
    points: dict[float, dict[str, int]] = {}
    for line in policies:
        for point in line.points:
            into = points.setdefault(point.at, {"passed": 0, "denied": 0, "closed": 0})
            into["passed"] += sum(point.extra.get(name, 0) for name in _PASSED)
            into["denied"] += point.extra.get("denied", 0)
            into["closed"] += point.extra.get("closed", 0)
    titles = {"passed": _("passed"), "denied": _("denied"), "closed": _("storage away")}
    series = [
        Series(title=title, points=[(at, float(found[name])) for at, found in sorted(points.items())])
        for name, title in titles.items()
    ]
    return Chart(title=_("What became of requests"), series=series, kind="stacked", note=_("all processes"))


def _policies(lines: list[Line]) -> Table:
    columns = (
        Column(title=_("policy")),
        Column(title=_("limits")),
        Column(title=_("requests"), kind=Kind.COUNT),
        Column(title=_("denied"), kind=Kind.COUNT),
        Column(title=_("would be denied"), kind=Kind.COUNT),
        Column(title=_("headroom"), kind=Kind.SHARE),
        Column(title=_("without storage"), kind=Kind.COUNT),
    )
    known = registry.known()
    rows = []
    for line in lines:
        name, extra = line.labels.get("policy", ""), line.total.extra
        looks = extra.get("looks", 0)
        rows.append(
            Row(
                cells=(
                    name,
                    ", ".join(str(limit) for limit in known[name].limits) if name in known else "",
                    line.total.count,
                    extra.get("denied", 0),
                    extra.get("shadowed", 0),
                    extra.get("left", 0) / looks / 100 if looks else None,
                    extra.get("opened", 0) + extra.get("closed", 0),
                )
            )
        )
    note = _("all processes; headroom: what a request leaves of the quota, on average")
    empty = _("No request was under a policy in this window.")
    return Table(title=_("Policies"), columns=columns, rows=rows, note=note, empty=empty)


def _clients(lines: list[Line]) -> Table:
    columns = (
        Column(title=_("client")),
        Column(title=_("policy")),
        Column(title=_("times over the limit"), kind=Kind.COUNT),
    )
    rows = [
        Row(cells=(line.labels.get("client", ""), line.labels.get("policy", ""), line.total.count)) for line in lines
    ]
    note = _("masked: the last part of an address, and all but the first letters of other names, are not kept")
    return Table(title=_("Most refused"), columns=columns, rows=rows, note=note, empty=_("Nobody was over a limit."))


def _bans(bans: list[Ban]) -> Table:
    columns = (
        Column(title=_("client")),
        Column(title=_("rule")),
        Column(title=_("tier"), kind=Kind.COUNT),
        Column(title=_("until")),
    )
    rows = [
        Row(cells=(mask(ban.client), ban.rule, ban.tier, f"{timezone.localtime(ban.until):%Y-%m-%d %H:%M}"))
        for ban in bans
    ]
    return Table(title=_("Bans in force"), columns=columns, rows=rows, empty=_("Nobody is banned."))


def _lists() -> Table:
    columns = (Column(title=_("list")), Column(title=_("entries"), kind=Kind.COUNT))
    many = dict(ListEntry.objects.values_list("list").annotate(Count("pk")).order_by())
    rows = [Row(cells=(name, many.get(name, 0))) for name in ListEntry.List.values]
    note = _("of the table; the settings may list more")
    return Table(title=_("Lists"), columns=columns, rows=rows, note=note)


def _failures(storage: list[Line]) -> Table:
    rows = [
        Row(cells=(name.removeprefix("failed_"), many))
        for line in storage
        for name, many in sorted(line.total.extra.items())
        if name.startswith("failed_")
    ]
    columns = (Column(title=_("why")), Column(title=_("times"), kind=Kind.COUNT))
    note = _("open: left alone by the breaker")
    empty = _("Redis always answered, or counts are in memory.")
    return Table(title=_("Not asked or not answered"), columns=columns, rows=rows, note=note, empty=empty)
