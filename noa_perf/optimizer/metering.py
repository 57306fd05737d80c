"""Hands what each closed scope did to the recorder of ``noa_perf.metrics``, where that app is installed."""

from __future__ import annotations

from django.apps import apps
from django.db import connections

from noa_perf.core import health
from noa_perf.core.health import Health
from noa_perf.core.histogram import bucket
from noa_perf.metrics import recorder
from noa_perf.metrics.instruments import N_PLUS_ONE, QUERIES, QUERY_TIME, SCOPES, SLOW_QUERIES
from noa_perf.metrics.recorder import Recorder
from noa_perf.optimizer import capture
from noa_perf.optimizer.detectors import allow
from noa_perf.optimizer.fingerprint import Kind
from noa_perf.optimizer.groups import Group, Verdict
from noa_perf.optimizer.report import where
from noa_perf.optimizer.scopes import Scope

KINDS = frozenset({"request", "task", "command", "block"})
_KIND_NAMES = {kind: kind.value for kind in Kind}  # .value of an enumeration is a descriptor: slow for each group
MAX_SQL = 10_000
"""Characters of a folded statement that are kept."""


def install() -> None:
    """Count every scope of this process, from now on, if there is somebody to count for."""
    health.register("optimizer.capture", capturing)
    if apps.is_installed("noa_perf.metrics"):
        capture.on_closed(closed)


def closed(scope: Scope) -> None:
    """Add a closed scope; what ``perf_report`` asks the site for is not the site's traffic."""
    to = recorder.current()
    if to is recorder.NOTHING or capture.is_quiet():
        return
    to.count(SCOPES, (scope.kind if scope.kind in KINDS else recorder.OTHER,))
    if scope.queries > scope.failed:
        to.count(QUERIES, ("ok",), scope.queries - scope.failed)
    if scope.failed:
        to.count(QUERIES, ("failed",), scope.failed)
    spread = {bucket(scope.elapsed): 1}
    database = round(scope.seconds * 1_000_000)
    counts = {"queries": scope.queries, "failed": scope.failed, "database_us": database}
    to.add("route", (scope.route,), 1, scope.elapsed, spread, **counts)
    for group in scope.groups.values():
        _add(to, scope, group)


def _add(to: Recorder, scope: Scope, group: Group) -> None:
    alias, statement, weight = group.alias, group.statement, scope.weight
    seconds, count, buckets = group.seconds, group.count, group.buckets
    slow, failed = group.slow, group.failed
    if weight != 1.0:  # a sample: it speaks for the requests that were not watched in detail
        seconds *= weight
        count, slow, failed = round(count * weight), round(slow * weight), round(failed * weight)
        buckets = {index: round(many * weight) for index, many in buckets.items()}
    to.observe(QUERY_TIME, (alias, _KIND_NAMES[statement.kind]), count, seconds, buckets)
    labels = query_labels(alias, statement.digest, statement.folded)
    if slow or failed:
        to.add("query", labels, count, seconds, buckets, failed=failed, slow=slow)
        to.count(SLOW_QUERIES, (alias,), slow)
    else:
        to.add("query", labels, count, seconds, buckets)
    if group.verdict is Verdict.N_PLUS_ONE and allow.entry_for(group) is None:
        times = round(weight)
        to.count(N_PLUS_ONE, (alias,), times)
        to.add("n_plus_one", n_plus_one_labels(group, scope.route), times, seconds, queries=count)


def query_labels(alias: str, digest: str, folded: str) -> tuple[str, str, str]:
    """Return the labels under which a statement is counted."""
    return alias, digest, folded[:MAX_SQL]


def n_plus_one_labels(group: Group, route: str) -> tuple[str, str, str]:
    """Return the labels under which an N+1 is counted."""
    subject = group.relation.subject if group.relation else group.statement.folded[:80]
    return subject, where(group).strip(), route


def capturing(deep: bool) -> Health:
    """Ask whether this thread's open connections, and all to come, are watched."""
    unwatched = [
        connection.alias
        for connection in connections.all(initialized_only=True)
        if connection.connection is not None and capture.watch not in connection.execute_wrappers
    ]
    if unwatched or not capture.installed():
        what = f"Queries on {', '.join(map(repr, unwatched))} are" if unwatched else "New connections are"
        cure = "Something took the wrapper off: look for code that replaces execute_wrappers, or restart."
        return Health(ok=False, message=f"{what} not watched.", cure=cure)
    return Health(ok=True, message="Every open connection is watched.")
