"""What the cache shows on the dashboard: hit ratio by tier and group of keys, memory, Redis and its breaker."""

from __future__ import annotations

from collections.abc import Sequence

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
from noa_perf.metrics.rollup import Line, Point

TOP = 100
POOR = 0.5
"""Hit ratio below which a cache costs more than it helps, as a rule."""


def install() -> None:
    """Register the cache's panel."""
    rollup.SUMS["cache_state"] = ("asked", "misses", "failed")
    page = Page(slug="cache", title=gettext_lazy("Cache"), blocks=blocks, order=50)
    register(Panel(name="cache", title=gettext_lazy("Cache"), verdicts=verdicts, pages=(page,), order=20))


def verdicts(window: Window) -> Sequence[Verdict]:
    """Say how often the caches had what was asked of them, and whether Redis was there."""
    try:
        told = rollup.summed("cache_state", window).extra
    except RollupUnavailable as error:
        return [Verdict(state=State.UNKNOWN, title=_("Cache"), text=str(error))]
    asked = told["asked"]
    if not asked:
        text = _("Nothing was asked of a cache in this window.")
        return [Verdict(state=State.UNKNOWN, title=_("Cache"), text=text)]
    return [_hits(1 - told["misses"] / asked), _redis(told["failed"])]


def _hits(ratio: float) -> Verdict:
    good = ratio >= POOR
    return Verdict(
        state=State.GOOD if good else State.WARN,
        title=_("Cache hits"),
        text=_("Most of what is asked for is there.") if good else _("Most of what is asked for is not there."),
        number=f"{ratio:.0%}",
        evidence=Link(page="cache"),
        threshold=_("poor below %(share)s") % {"share": f"{POOR:.0%}"},
    )


def _redis(failed: int) -> Verdict:
    link = Link(page="cache")
    if not failed:
        return Verdict(state=State.GOOD, title=_("Cache's Redis"), text=_("Redis always answered."), evidence=link)
    return Verdict(
        state=State.WARN,
        title=_("Cache's Redis"),
        text=_("Redis was away at times; memory answered for it. The log has why."),
        number=_("%(failed)s not asked or not answered") % {"failed": f"{failed:,}"},
        evidence=link,
    )


def blocks(window: Window) -> Sequence[Block]:
    """Show the caches of all processes."""
    groups = rollup.read("cache", window.since, window.until, window.step, top=TOP, by="count")
    answers = rollup.read("cache_redis", window.since, window.until)
    states = rollup.read("cache_state", window.since, window.until, by="count")
    return [*_stats(groups, answers), _over_time(groups), _groups(groups), _caches(states, answers), _failures(answers)]


def hit_ratio(totals: Sequence[Point]) -> float:
    """Return the share of what was asked for that some tier had; 0 where nothing was asked."""
    asked = sum(total.count for total in totals)
    return 1 - sum(total.extra.get("misses", 0) for total in totals) / asked if asked else 0.0


def share(total: Point, tier: str) -> float:
    """Return the share of what was asked for that a tier (``memory``, ``redis``, ``stale``) had."""
    return total.extra.get(tier, 0) / total.count if total.count else 0.0


def _stats(groups: list[Line], answers: list[Line]) -> list[Stat]:
    totals = [line.total for line in groups]
    asked = sum(total.count for total in totals)

    def part(tier: str) -> float:
        return sum(total.extra.get(tier, 0) for total in totals) / asked if asked else 0.0

    slowest = max((line.total.percentile(0.95) * 1000 for line in answers), default=None)
    return [
        Stat(title=_("asked for"), value=asked, note=_("all processes")),
        Stat(title=_("hit ratio"), value=hit_ratio(totals), kind=Kind.SHARE),
        Stat(title=_("from memory"), value=part("memory"), kind=Kind.SHARE),
        Stat(title=_("from Redis"), value=part("redis"), kind=Kind.SHARE),
        Stat(title=_("Redis, p95"), value=slowest, kind=Kind.MS, note=_("about: interpolated in powers of two")),
    ]


def _over_time(groups: list[Line]) -> Chart:
    points: dict[float, dict[str, int]] = {}
    for line in groups:
        for point in line.points:
            into = points.setdefault(point.at, dict.fromkeys(_TIERS, 0))
            for tier in into:
                into[tier] += point.extra.get(tier, 0)
    titles = {"memory": _("memory"), "redis": _("Redis"), "stale": _("stale"), "misses": _("missed")}
    series = [
        Series(title=titles[tier], points=[(at, float(found[tier])) for at, found in sorted(points.items())])
        for tier in _TIERS
    ]
    return Chart(title=_("Who answered"), series=series, kind="stacked", note=_("all processes"))


_TIERS = ("memory", "redis", "stale", "misses")


def _groups(groups: list[Line]) -> Table:
    columns = (
        Column(title=_("keys")),
        Column(title=_("cache")),
        Column(title=_("asked for"), kind=Kind.COUNT),
        Column(title=_("hit ratio"), kind=Kind.SHARE),
        Column(title=_("from memory"), kind=Kind.SHARE),
        Column(title=_("missed"), kind=Kind.COUNT),
        Column(title=_("written"), kind=Kind.COUNT),
    )
    rows = [
        Row(
            cells=(
                line.labels.get("group", ""),
                line.labels.get("alias", ""),
                line.total.count,
                hit_ratio([line.total]),
                share(line.total, "memory"),
                line.total.extra.get("misses", 0),
                line.total.extra.get("writes", 0),
            )
        )
        for line in groups
    ]
    note = _("all processes; a group is the first words of a key")
    empty = _("Nothing was asked of a cache in this window.")
    return Table(title=_("Groups of keys"), columns=columns, rows=rows, note=note, empty=empty)


def _caches(states: list[Line], answers: list[Line]) -> Table:
    columns = (
        Column(title=_("cache")),
        Column(title=_("entries in memory"), kind=Kind.COUNT),
        Column(title=_("MiB in memory"), kind=Kind.COUNT),
        Column(title=_("Redis left alone"), kind=Kind.SHARE),
        Column(title=_("deletions waiting"), kind=Kind.COUNT),
        Column(title=_("Redis answers"), kind=Kind.COUNT),
        Column(title=_("Redis, p95"), kind=Kind.MS),
    )
    by_alias = {line.labels.get("alias"): line.total for line in answers}
    rows = []
    for line in states:
        answered = by_alias.get(line.labels.get("alias"))
        entries, size, opened, pending = (_each(line.total, name) for name in ("entries", "bytes", "open", "pending"))
        rows.append(
            Row(
                cells=(
                    line.labels.get("alias", ""),
                    round(entries),
                    round(size / 2**20, 1),
                    opened,
                    round(pending),
                    answered.count if answered else None,
                    answered.percentile(0.95) * 1000 if answered and answered.count else None,
                )
            )
        )
    note = _("of one process, on average over the window; answers of all")
    return Table(title=_("Caches"), columns=columns, rows=rows, note=note, empty=_("No cache was used."))


def _each(total: Point, name: str) -> float:
    return total.extra.get(name, 0) / total.count if total.count else 0.0


def _failures(answers: list[Line]) -> Table:
    rows = [
        Row(cells=(line.labels.get("alias", ""), name.removeprefix("failed_"), many))
        for line in answers
        for name, many in sorted(line.total.extra.items())
        if name.startswith("failed_")
    ]
    columns = (
        Column(title=_("cache")),
        Column(title=_("why")),
        Column(title=_("times"), kind=Kind.COUNT),
    )
    note = _("open: left alone by the breaker; budget: the request had no time left for it")
    empty = _("Redis always answered.")
    return Table(title=_("Not asked or not answered"), columns=columns, rows=rows, note=note, empty=empty)
