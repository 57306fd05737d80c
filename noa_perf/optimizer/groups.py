"""One row of a scope's table: all queries of one shape from one place, and what they turned out to be."""

from __future__ import annotations

from enum import Enum
from typing import Any

from noa_perf.optimizer.callsite import Key, Site
from noa_perf.optimizer.fingerprint import Statement, hashes
from noa_perf.optimizer.relations import Relation


class Verdict(Enum):
    """What a repeated query turned out to be."""

    NONE = "none"
    N_PLUS_ONE = "n_plus_one"
    WRITE_LOOP = "write_loop"
    EXEMPT = "exempt"


class Group:
    """All queries of one shape from one place in one scope."""

    __slots__ = (
        "alias",
        "buckets",
        "count",
        "failed",
        "first_hashes",
        "first_params",
        "key",
        "last",
        "last_params",
        "last_seen",
        "max",
        "order",
        "parent",
        "prefetch",
        "relation",
        "relation_read",
        "rows",
        "seconds",
        "site",
        "slow",
        "slow_from",
        "slow_run",
        "slow_seconds",
        "stacks",
        "statement",
        "verdict",
        "wide",
        "wildcard",
    )

    def __init__(self, key: Key, alias: str, statement: Statement, site: Site, order: int) -> None:
        """Start counting ``statement`` on ``alias`` from ``site``, the ``order``-th query of its scope."""
        self.key = key
        self.alias = alias
        self.statement = statement
        self.site = site
        self.order = self.last = order
        self.count = self.failed = self.rows = self.slow = 0
        self.seconds = self.max = self.slow_seconds = 0.0
        self.slow_from = 0.1  # seconds
        self.slow_run: Any = None  # the longest slow one, with its values, until the scope closes
        self.buckets: dict[int, int] = {}
        self.first_hashes: tuple[int, ...] = ()
        self.first_params: Any = None  # where a test asks for plans
        self.last_seen: tuple[int, ...] = ()
        self.last_params: Any = None  # of an N+1, until the scope closes
        self.verdict = Verdict.NONE
        self.relation: Relation | None = None
        self.relation_read = False
        self.stacks: dict[int, int] | None = None
        self.parent: Group | None = None
        self.prefetch: tuple[str, str] | None = None
        self.wide: dict[int, int] | None = None
        self.wildcard = False

    @property
    def last_hashes(self) -> tuple[int, ...]:
        """Hashes of the parameters of its latest query."""
        return hashes(self.last_params) if self.last_params is not None else self.last_seen

    def forget_values(self) -> None:
        """Keep hashes alone, and let go of the run that was kept for its values."""
        self.last_seen, self.last_params, self.slow_run = self.last_hashes, None, None
