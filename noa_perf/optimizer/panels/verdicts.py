"""The optimizer's lines on the overview: N+1, slow statements, errors."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from noa_perf.core.panels import Link, State, Verdict, Window
from noa_perf.metrics import rollup
from noa_perf.metrics.exceptions import RollupUnavailable
from noa_perf.metrics.rollup import Line
from noa_perf.optimizer.conf import settings
from noa_perf.optimizer.panels import blocks, n_plus_one
from noa_perf.optimizer.panels.routes import database_seconds

GRAVE_SHARE = 0.1
"""Share of all time in the database from which N+1 or slow statements are bad, not only worth a look."""


def verdicts(window: Window) -> Sequence[Verdict]:
    """Say how the queries of this window are: N+1, slow, failed."""
    try:
        requests = rollup.summed("route", window)
        found = rollup.read("n_plus_one", window.since, window.until, top=blocks.TOP, notes=True)
        statements = rollup.read("query", window.since, window.until, top=blocks.TOP, having="slow")
    except RollupUnavailable as error:
        return [Verdict(state=State.UNKNOWN, title=_("Queries"), text=str(error))]
    if not requests.count:
        return [Verdict(state=State.UNKNOWN, title=_("Queries"), text=_("Nothing was counted in this window."))]
    return [_n_plus_one(found, database_seconds(requests)), _slow(statements), _failed(requests.extra["failed"])]


def _n_plus_one(lines: list[Line], whole: float) -> Verdict:
    link = Link(page="n-plus-one")
    if not lines:
        return Verdict(state=State.GOOD, title=_("N+1"), text=_("No query runs once for each row."), evidence=link)
    share = sum(line.total.seconds for line in lines) / whole if whole else 0.0
    dearest = lines[0].labels
    facts = {"many": len(lines), "subject": dearest.get("subject"), "place": dearest.get("place")}
    return Verdict(
        state=State.BAD if share >= GRAVE_SHARE else State.WARN,
        title=_("N+1"),
        text=ngettext(
            "%(many)d place fetches one by one: %(subject)s %(place)s",
            "%(many)d places fetch one by one; most time goes to %(subject)s %(place)s",
            len(lines),
        )
        % facts,
        number=_("%(share)s of database time") % {"share": f"{share:.0%}"},
        cure=n_plus_one.cure(n_plus_one.finding(lines[0])),
        evidence=link,
        threshold=_("bad from %(share)s of database time") % {"share": f"{GRAVE_SHARE:.0%}"},
    )


def _slow(lines: list[Line]) -> Verdict:
    limit = settings().slow_query_ms
    found = lines
    threshold = _("slow from %(limit).0f ms") % {"limit": limit}
    link = Link(page="slow")
    if not found:
        return Verdict(
            state=State.GOOD, title=_("Slow"), text=_("No statement was slow."), evidence=link, threshold=threshold
        )
    grave = [line for line in found if line.total.percentile(0.95) * 1000 >= limit]
    runs = sum(line.total.extra["slow"] for line in found)
    facts = {"many": len(found), "grave": len(grave)}
    return Verdict(
        state=State.BAD if grave else State.WARN,
        title=_("Slow"),
        text=ngettext(
            "%(many)d statement was slow at times, %(grave)d as a rule",
            "%(many)d statements were slow at times, %(grave)d of them as a rule",
            len(found),
        )
        % facts,
        number=ngettext("%(runs)s slow run", "%(runs)s slow runs", runs) % {"runs": f"{runs:,}"},
        evidence=link,
        threshold=threshold,
    )


def _failed(failed: int) -> Verdict:
    if not failed:
        return Verdict(state=State.GOOD, title=_("Errors"), text=_("No query failed."))
    return Verdict(
        state=State.WARN,
        title=_("Errors"),
        text=_("Queries failed; the site's own log has their errors."),
        number=f"{failed:,}",
    )
