"""What one request, command or block did to the database: counted within a fixed memory, whatever it does."""

from __future__ import annotations

import sys
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
from noa_perf.optimizer.groups import Group, Verdict

PREFETCHES = frozenset({"prefetch_one_level"})
CAPTURE_FRAMES = 3
"""From :meth:`Scope.record` to Django's own cursor: what lies between is the capture."""

current: ContextVar[Scope | None] = ContextVar("noa_perf_scope", default=None)


class Hit:
    """One query whose rows may still be coming."""

    __slots__ = ("execute", "fetch", "group", "outer", "params", "rows", "scope", "settled", "slow", "sql")

    def __init__(self, scope: Scope, sql: str, params: Any, execute: float) -> None:
        """Account for a query that took ``execute`` seconds before its first row was asked for."""
        self.scope = scope
        self.sql = sql
        self.params = params
        self.execute = execute
        self.fetch = 0.0
        self.rows = 0
        self.group: Group | None = None
        self.outer: Hit | None = None
        self.settled = self.slow = False

    @property
    def seconds(self) -> float:
        """Seconds so far: execute and fetch."""
        return self.execute + self.fetch

    def fetched(self, seconds: float, rows: Any) -> None:
        """Add ``seconds`` of waiting for ``rows``: a list, or None where nothing came."""
        if self.outer is not None:
            self.outer.fetched(seconds, rows)
        if self.settled:
            with self.scope.lock:
                self._fetched_late(seconds, rows)
            return
        # One cursor is read by one thread, and nobody else touches what is not settled: no lock is needed. Who settles
        # it meanwhile, in another thread, may miss this one fetch.
        self.fetch += seconds
        if rows:
            group = self.group
            if group is not None and not group.rows and not self.rows:
                group.wide = _wide_columns(rows[0])
            self.rows += len(rows)

    def broke(self) -> None:
        """Count this query as failed: reading its rows raised."""
        if self.outer is not None:
            self.outer.broke()
        with self.scope.lock:
            self.scope.failed += 1
            if self.group is not None:
                self.group.failed += 1

    def settle(self) -> None:
        """Add what is known so far to the scope and the group; what comes later is added as it comes.

        Runs for each query, long after its own code has left the processor's caches: hence one function, few steps.
        """
        self.settled = True
        fetch, rows, group = self.fetch, self.rows, self.group
        seconds = self.execute + fetch
        sums = self.scope.sums
        sums.execute += self.execute
        sums.fetch += fetch
        sums.rows += rows
        if group is None:
            return
        group.seconds += seconds
        group.rows += rows
        index = int(seconds * 1_000_000).bit_length()  # histogram.bucket, without the call
        group.buckets[index] = group.buckets.get(index, 0) + 1
        if seconds > group.max:
            group.max = seconds
            if seconds >= group.slow_from:
                group.slow_run = self
        if seconds >= group.slow_from:
            self._became_slow(group, seconds)

    def _fetched_late(self, seconds: float, rows: Any) -> None:
        """Add to a query after another one has run: an iterator's, a cursor's that is left open."""
        group, before, sums = self.group, self.execute + self.fetch, self.scope.sums
        many = len(rows) if rows else 0
        self.fetch += seconds
        sums.fetch += seconds
        sums.rows += many
        if group is None:
            return
        if many and not group.rows:
            group.wide = _wide_columns(rows[0])
        self.rows += many
        group.seconds += seconds
        group.rows += many
        now = before + seconds
        old, new = bucket(before), bucket(now)
        if old != new:
            group.buckets[old] = group.buckets.get(old, 1) - 1
            group.buckets[new] = group.buckets.get(new, 0) + 1
        if now > group.max:
            group.max = now
            if now >= group.slow_from:
                group.slow_run = self
        if self.slow:
            group.slow_seconds += seconds
        elif now >= group.slow_from:
            self._became_slow(group, now)

    def _became_slow(self, group: Group, seconds: float) -> None:
        self.slow = True
        group.slow += 1
        group.slow_seconds += seconds


class Sums:
    """What the settled queries of a scope took."""

    __slots__ = ("execute", "fetch", "rows")

    def __init__(self) -> None:
        """Start from nothing."""
        self.execute = self.fetch = 0.0
        self.rows = 0


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
        self.watch: Any = parent.watch if parent is not None else None
        """The :class:`~noa_perf.optimizer.watches.Watch` of the test that this is a part of, or None."""
        self.keeps_first: bool = parent is not None and parent.keeps_first
        """Whether the values of each statement's first run are kept, so that a test may ask for its plan."""
        self.weight = 1.0
        """How many scopes this one stands for, where only a sample is watched in detail."""
        self.route = name
        self.view: Any = None
        self.queries = self.failed = self.transaction_statements = self.overflow = 0
        self.sums = Sums()
        self._latest: Hit | None = None
        self.started = perf_counter()
        self.elapsed = 0.0
        """Seconds from opening to closing; a streaming response's with the time that its reader took."""
        self.groups: dict[Key, Group] = {}
        # By the identity of the place in a group's key, which keeps that place alive: no key is made and hashed.
        self._at: dict[int, Group] = {}
        self.duplicates = Duplicates()
        self.lock = threading.RLock()
        self.closed = False

    @property
    def execute(self) -> float:
        """Seconds spent in executing."""
        return self.settle().execute

    @property
    def fetch(self) -> float:
        """Seconds spent in reading rows."""
        return self.settle().fetch

    @property
    def rows(self) -> int:
        """Rows read."""
        return self.settle().rows

    @property
    def seconds(self) -> float:
        """Seconds spent in the database: execute and fetch."""
        sums = self.settle()
        return sums.execute + sums.fetch

    def settle(self) -> Sums:
        """Add what the latest query has done so far; returns the sums."""
        with self.lock:
            latest, self._latest = self._latest, None
            if latest is not None:
                latest.settle()
            return self.sums

    def record(
        self, alias: str, statement: Statement, params: Any, seconds: float, failed: bool
    ) -> tuple[Hit, Group | None]:
        """Count one query; returns it and, when it made its group an N+1, that group.

        Called by the capture alone, whose frames :func:`callsite.locate` reckons with. What a query fetches is added
        when the next one comes: most have fetched all by then, and one sum is cheaper than many.
        """
        with self.lock:
            latest = self._latest
            if latest is not None:
                latest.settle()
            hit = self._latest = Hit(self, statement.sql, params, seconds)
            if failed:
                self.failed += 1
            if statement.kind is Kind.TRANSACTION:
                self.transaction_statements += 1
                return hit, None
            self.queries += 1
            if not self.detailed:
                return hit, None
            place = callsite.locate(statement)
            group = self._at.get(id(place))
            if group is None or group.statement is not statement or group.alias != alias:
                key = (alias, statement.folded, place)
                group = self.groups.get(key)
                if group is None:
                    group = self._new_group(key, alias, statement, params, sys._getframe(CAPTURE_FRAMES))
                    if group is None:
                        return hit, None
            hit.group = group
            group.count += 1
            group.last = self.queries
            if failed:
                # What failed tells nothing, and nothing may stand between the site and its error.
                group.failed += 1
                return hit, None
            if group.verdict is Verdict.N_PLUS_ONE:
                group.last_params = params  # all is said of it, but whose rows its own loop may ask for
                return hit, None
            return hit, self._judge(group, statement, params)

    def _judge(self, group: Group, statement: Statement, params: Any) -> Group | None:
        """Compare a query with those before it; returns its group when it has become an N+1 or a write loop."""
        values = fingerprint.hashes(params)
        if group.count == 1:
            group.first_hashes = values
        self.duplicates.note(group, statement, values)
        if group.count == 1:
            return None
        frame = sys._getframe(CAPTURE_FRAMES + 1)
        if not group.relation_read:
            self._read_relation(group, frame)
        return group if n_plus_one.examine(group, statement, values, frame, self.settings) else None

    def _new_group(self, key: Key, alias: str, statement: Statement, params: Any, frame: FrameType) -> Group | None:
        if len(self.groups) >= self.settings.max_groups:
            self.overflow += 1
            return None
        group = self.groups[key] = Group(key, alias, statement, callsite.site_of(frame), self.queries)
        self._at[id(key[2])] = group
        group.slow_from = self.settings.slow_query_ms_by_alias.get(alias, self.settings.slow_query_ms) / 1000
        if any(name in PREFETCHES for name in group.site.operations):
            group.prefetch = relations.read_prefetch(frame)
            group.parent = lineage.prefetched_from(group, self.groups.values())
        elif not group.site.frames:
            # A serializer or a generic view ran it: what leads up to the line that a person wrote is read now.
            self._read_relation(group, frame)
        group.wildcard = fingerprint.has_leading_wildcard(params)
        if self.keeps_first:
            group.first_params = params
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
