"""What one request, command or block did to the database: counted within a fixed memory, whatever it does."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from time import perf_counter
from types import FrameType
from typing import Any

from noa_perf.core.histogram import bucket
from noa_perf.optimizer import callsite, fingerprint, lineage, relations
from noa_perf.optimizer.callsite import Key
from noa_perf.optimizer.conf import OptimizerSettings
from noa_perf.optimizer.detectors import n_plus_one
from noa_perf.optimizer.detectors.duplicate import Duplicates
from noa_perf.optimizer.fingerprint import Kind, Statement
from noa_perf.optimizer.groups import Group

PREFETCHES = frozenset({"prefetch_one_level"})

current: ContextVar[Scope | None] = ContextVar("noa_perf_scope", default=None)


class Hit:
    """One query whose rows may still be coming."""

    __slots__ = ("group", "outer", "sample", "scope", "seconds", "slow_from", "was_slow")

    def __init__(self, scope: Scope, group: Group | None, seconds: float, slow_from: float) -> None:
        """Account for a query of ``group`` that took ``seconds`` to execute."""
        self.scope = scope
        self.group = group
        self.seconds = seconds
        self.slow_from = slow_from
        self.was_slow = False
        self.sample: tuple[str, Any] | None = None
        self.outer: Hit | None = None

    def fetched(self, seconds: float, rows: int, sample: Any = None) -> None:
        """Add ``seconds`` of waiting for ``rows`` rows; ``sample`` is the first of them."""
        if self.outer is not None:
            self.outer.fetched(seconds, rows, sample)
        scope, group = self.scope, self.group
        before = self.seconds
        self.seconds = before + seconds
        with scope.lock:
            scope.fetch += seconds
            scope.rows += rows
            if group is None:
                return
            group.fetch += seconds
            if sample is not None and not group.rows:
                group.wide = _wide_columns(sample)
            group.rows += rows
            self._settle(group, before, seconds)

    def broke(self) -> None:
        """Count this query as failed: reading its rows raised."""
        if self.outer is not None:
            self.outer.broke()
        with self.scope.lock:
            self.scope.failed += 1
            if self.group is not None:
                self.group.failed += 1

    def _settle(self, group: Group, before: float, added: float) -> None:
        old, new = bucket(before), bucket(self.seconds)
        if old != new:
            group.buckets[old] = group.buckets.get(old, 1) - 1
            group.buckets[new] = group.buckets.get(new, 0) + 1
        self.judge(group, added)

    def judge(self, group: Group, added: float) -> None:
        """Note the longest time, and whether this query has become slow, ``added`` seconds later."""
        longest = self.seconds >= group.max
        group.max = max(group.max, self.seconds)
        if self.was_slow:
            group.slow_seconds += added
        elif self.seconds >= self.slow_from:
            self.was_slow = True
            group.slow += 1
            group.slow_seconds += self.seconds
        if longest and self.was_slow:
            group.slow_run = self


class Scope:
    """The queries of one request, command, test or ``with optimizer.scope(...)``; its figures may be read any time."""

    def __init__(
        self,
        name: str,
        settings: OptimizerSettings,
        *,
        kind: str = "block",
        parent: Scope | None = None,
        detailed: bool = True,
    ) -> None:
        """Open a scope; with ``detailed`` off only counts and times are kept."""
        self.name = name
        self.kind = kind
        self.settings = settings
        self.parent = parent
        self.detailed = detailed
        self.weight = 1.0
        """How many scopes this one stands for, where only a sample is watched in detail."""
        self.route = name
        self.view: Any = None
        self.queries = self.failed = self.rows = self.transaction_statements = self.overflow = 0
        self.execute = self.fetch = 0.0
        self.started = perf_counter()
        self.elapsed = 0.0
        """Seconds from opening to closing; a streaming response's with the time that its reader took."""
        self.groups: dict[Key, Group] = {}
        self.duplicates = Duplicates()
        self.lock = threading.RLock()
        self.closed = False

    @property
    def seconds(self) -> float:
        """Seconds spent in the database: execute and fetch."""
        return self.execute + self.fetch

    def record(
        self, alias: str, statement: Statement, params: Any, seconds: float, failed: bool, frame: FrameType
    ) -> tuple[Hit, Group | None]:
        """Count one query run from ``frame``; returns it and, when it made its group an N+1, that group."""
        slow_from = self.settings.slow_query_ms_by_alias.get(alias, self.settings.slow_query_ms) / 1000
        with self.lock:
            self.execute += seconds
            self.failed += failed
            if statement.kind is Kind.TRANSACTION:
                self.transaction_statements += 1
                return Hit(self, None, seconds, slow_from), None
            self.queries += 1
            if not self.detailed:
                return Hit(self, None, seconds, slow_from), None
            values = fingerprint.hashes(params)
            group = self._group(alias, statement, params, values, frame)
            hit = Hit(self, group, seconds, slow_from)
            hit.sample = statement.sql, params
            if group is None:
                return hit, None
            group.count += 1
            group.last = self.queries
            group.failed += failed
            group.execute += seconds
            index = bucket(seconds)
            group.buckets[index] = group.buckets.get(index, 0) + 1
            hit.judge(group, 0.0)
            if failed:
                return hit, None  # what failed tells nothing, and nothing may stand between the site and its error
            self.duplicates.note(group, statement, values)
            if group.count < 2:
                return hit, None
            if not group.relation_read:
                self._read_relation(group, frame)
            found = n_plus_one.examine(group, statement, values, frame, self.settings)
            return hit, group if found else None

    def _group(
        self, alias: str, statement: Statement, params: Any, values: tuple[int, ...], frame: FrameType
    ) -> Group | None:
        key = (alias, statement.folded, callsite.key_of(frame))
        group = self.groups.get(key)
        if group is not None:
            return group
        if len(self.groups) >= self.settings.max_groups:
            self.overflow += 1
            return None
        group = self.groups[key] = Group(key, alias, statement, callsite.site_of(frame), self.queries)
        if any(name in PREFETCHES for name in group.site.operations):
            group.prefetch = relations.read_prefetch(frame)
            group.parent = lineage.prefetched_from(group, self.groups.values())
        elif not group.site.frames:
            # A serializer or a generic view ran it: what leads up to the line that a person wrote is read now.
            self._read_relation(group, frame)
        group.first_hashes = values
        group.wildcard = fingerprint.has_leading_wildcard(params)
        return group

    def _read_relation(self, group: Group, frame: FrameType) -> None:
        group.relation = relations.read(frame)
        group.relation_read = True
        if group.prefetch is None:
            group.parent = lineage.parent_of(group, self.groups.values())


def _wide_columns(row: Any) -> dict[int, int] | None:
    if not isinstance(row, (tuple, list)):
        return None  # a row factory of the site's own may return anything
    wide = {
        index: len(value)
        for index, value in enumerate(row)
        if (type(value) is str or type(value) is bytes) and len(value) >= 500
    }
    return wide or None
