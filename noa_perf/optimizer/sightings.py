"""What several scopes saw alike, added up by the collector: shapes of statements, suspicions, routes."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from noa_perf.core.histogram import percentile
from noa_perf.optimizer.groups import Group
from noa_perf.optimizer.lineage import Lineage

MAX_SAMPLES = 5
"""Slow runs that are kept of a statement."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One slow run of a statement."""

    at: float
    """Seconds since 1970 (UTC) at which its scope closed."""
    ms: float
    route: str
    place: str
    """Line of the site's code, and of the template, that ran it."""
    parameters: tuple[str, ...]
    """Type and size of each parameter."""
    values: tuple[str, ...] | None = None
    """What the parameters were, where the settings allow to keep that."""


@dataclass(slots=True)
class Shape:
    """All runs of one fingerprint on one database."""

    alias: str
    sql: str
    folded: str
    """The same without its literals: what may be shown and kept."""
    digest: str
    count: int = 0
    failed: int = 0
    slow: int = 0
    rows: int = 0
    seconds: float = 0.0
    slow_seconds: float = 0.0
    longest: float = 0.0
    wildcard: bool = False
    buckets: Counter[int] = field(default_factory=Counter)
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=MAX_SAMPLES))
    """The latest slow runs."""

    def add(self, group: Group) -> None:
        """Add what one scope saw."""
        self.count += group.count
        self.failed += group.failed
        self.slow += group.slow
        self.rows += group.rows
        self.seconds += group.seconds
        self.slow_seconds += group.slow_seconds
        self.longest = max(self.longest, group.max)
        self.wildcard = self.wildcard or group.wildcard
        self.buckets.update(group.buckets)

    def percentile(self, share: float) -> float:
        """Return about the seconds within which ``share`` (0 to 1) of the runs ended, interpolated in powers of two."""
        return min(percentile(self.buckets, share), self.longest)


@dataclass(slots=True)
class Sighting:
    """One suspicion, seen in one or more scopes of one route."""

    kind: str
    route: str
    view: Any
    group: Group
    lineage: Lineage | None = None
    others: tuple[Group, ...] = ()
    scopes: int = 0
    count: int = 0
    most: int = 0
    seconds: float = 0.0

    def add(self, count: int, seconds: float) -> None:
        """Add what one more scope saw."""
        self.scopes += 1
        self.count += count
        self.most = max(self.most, count)
        self.seconds += seconds


@dataclass(slots=True)
class Route:
    """All requests of one route, all runs of one command."""

    scopes: int = 0
    queries: int = 0
    execute: float = 0.0
    fetch: float = 0.0
