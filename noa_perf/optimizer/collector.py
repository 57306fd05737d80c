"""What this process has seen, all scopes added up, in a fixed memory; findings are made from it when asked for."""

from __future__ import annotations

import os
import threading
from typing import Any

from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.core.findings import Finding
from noa_perf.optimizer import capture, lineage, parameters, report
from noa_perf.optimizer.conf import settings
from noa_perf.optimizer.detectors import allow, misuse
from noa_perf.optimizer.fingerprint import Kind
from noa_perf.optimizer.groups import Group, Verdict
from noa_perf.optimizer.plans.explainer import explainer
from noa_perf.optimizer.scopes import Scope
from noa_perf.optimizer.sightings import Route, Sample, Shape, Sighting

MAX_ROUTES = 1_000


class Collector:
    """Adds scopes up; a report that wants only what it caused has one of its own."""

    def __init__(
        self,
        known: report.Known = lambda alias, folded: None,
        clock: Clock = SYSTEM,
        allowed: tuple[str, ...] = (),
    ) -> None:
        """Start from nothing.

        ``known`` looks up plans that were read already, with the values of slow runs. ``allowed`` is what to leave
        alone beside ``ALLOW``.
        """
        self.known = known
        self._allowed_besides = allowed
        self._clock = clock
        self._lock = threading.Lock()
        self.reset()

    def unlock(self) -> None:
        """Take a new lock, in a forked child: the old one may be held by a thread that exists no more."""
        self._lock = threading.Lock()

    def reset(self) -> None:
        """Forget all that was seen."""
        with self._lock:
            self.shapes: dict[tuple[str, str], Shape] = {}
            self.sightings: dict[tuple[Any, ...], Sighting] = {}
            self.routes: dict[str, Route] = {}
            self.scopes = self.queries = self.failed = self.forgotten = 0
            self.execute = self.fetch = 0.0
            self.allowed: set[str] = set()

    def add(self, scope: Scope) -> None:
        """Add a closed scope."""
        with self._lock:
            self.scopes += 1
            self.queries += scope.queries
            self.failed += scope.failed
            self.execute += scope.execute
            self.fetch += scope.fetch
            self._add_route(scope)
            for group in scope.groups.values():
                self._add_shape(scope, group)
                self._add_suspicions(scope, group)
            self._add_duplicates(scope)

    def allows(self, group: Group) -> bool:
        """Tell whether an entry of ``ALLOW`` covers ``group``, and remember that the entry is needed."""
        entry = allow.entry_for(group, self._allowed_besides)
        if entry is not None:
            self.allowed.add(entry)
        return entry is not None

    def unused_allowances(self) -> list[str]:
        """Return the entries of ``ALLOW`` that nothing seen so far needed."""
        return [entry for entry in settings().allow if entry not in self.allowed]

    def totals(self) -> dict[str, Any]:
        """Return the sums: ``requests`` (scopes), ``queries``, ``failed``, ``execute_ms``, ``fetch_ms``."""
        with self._lock:
            return {
                "requests": self.scopes,
                "queries": self.queries,
                "failed": self.failed,
                "execute_ms": self.execute * 1000,
                "fetch_ms": self.fetch * 1000,
            }

    def seen(self) -> tuple[list[Sighting], list[Shape]]:
        """Return what was seen so far."""
        with self._lock:
            return list(self.sightings.values()), list(self.shapes.values())

    def findings(self) -> list[Finding]:
        """Return what is wrong, dearest first. Reads source files and plans: not for the path of a request."""
        return report.findings(*self.seen(), self.known)

    def _add_route(self, scope: Scope) -> None:
        if scope.route not in self.routes and len(self.routes) >= MAX_ROUTES:
            self.forgotten += 1
            return
        route = self.routes.setdefault(scope.route, Route())
        route.scopes += 1
        route.queries += scope.queries
        route.execute += scope.execute
        route.fetch += scope.fetch

    def _add_shape(self, scope: Scope, group: Group) -> None:
        key = (group.alias, group.statement.folded)
        shape = self.shapes.get(key)
        if shape is None:
            if len(self.shapes) >= settings().max_fingerprints:
                self._make_room(self.shapes)
            ran = group.statement
            shape = self.shapes[key] = Shape(group.alias, ran.sql, ran.folded, ran.digest)
        shape.add(group)
        if group.slow_run is not None:
            shape.samples.append(self._sample(scope, group))

    def _sample(self, scope: Scope, group: Group) -> Sample:
        params = group.slow_run.params
        return Sample(
            at=self._clock.time(),
            ms=group.slow_run.seconds * 1000,
            route=scope.route,
            place=report.where(group).strip(),
            parameters=parameters.masked(params),
            values=parameters.shown(params) if settings().keep_parameters else None,
        )

    def _add_suspicions(self, scope: Scope, group: Group) -> None:
        if group.verdict is Verdict.N_PLUS_ONE and not self.allows(group):
            dragged = [other for other in scope.groups.values() if other.prefetch is not None and other.parent is group]
            queries = group.count + sum(other.count for other in dragged)
            self._sight("n_plus_one", scope, group, queries, group.seconds + sum(other.seconds for other in dragged))
        elif group.verdict is Verdict.WRITE_LOOP:
            self._sight("write_loop", scope, group, group.count, group.seconds)
        elif group.statement.kind is Kind.SELECT and group.verdict is Verdict.NONE:
            for kind in misuse.suspicions(group):
                self._sight(kind, scope, group, group.count, group.seconds)
        if group.statement.kind is Kind.SELECT or group.slow:
            self._sight("query", scope, group, group.count, group.seconds)

    def _add_duplicates(self, scope: Scope) -> None:
        for found in scope.duplicates.found.values():
            groups = found.groups
            if any(_repeats_with_a_row(group) for group in groups):
                continue  # reported once, as what it is
            each = sum(group.seconds for group in groups) / max(1, sum(group.count for group in groups))
            self._sight("duplicate", scope, found.first, found.count, each * (found.count - 1), groups[1:])

    def _sight(
        self,
        kind: str,
        scope: Scope,
        group: Group,
        count: int,
        seconds: float,
        others: tuple[Group, ...] = (),
    ) -> None:
        key = (kind, scope.route, *group.key)
        sighting = self.sightings.get(key)
        if sighting is None:
            if len(self.sightings) >= settings().max_fingerprints:
                self._make_room(self.sightings)
            chain = lineage.trace(group, scope.groups.values()) if kind == "n_plus_one" else None
            sighting = self.sightings[key] = Sighting(kind, scope.route, scope.view, group, chain, others)
        sighting.add(count, seconds)

    def _make_room(self, table: dict[Any, Any]) -> None:
        # A tenth at a time, the cheapest first: what costs the site most is never forgotten.
        cheapest = sorted(table, key=lambda key: table[key].seconds)[: max(1, len(table) // 10)]
        self.forgotten += len(cheapest)
        for key in cheapest:
            del table[key]


def _repeats_with_a_row(group: Group) -> bool:
    """Tell whether ``group`` is an N+1, or a prefetch that one drags along."""
    by = group.parent if group.prefetch is not None and group.parent is not None else group
    return by.verdict is Verdict.N_PLUS_ONE


collector = Collector(explainer.reading)


def install() -> None:
    """Add up every scope of this process, from now on."""
    capture.on_closed(collector.add)
    os.register_at_fork(after_in_child=collector.unlock)
