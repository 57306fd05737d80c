"""Tells a query that runs once for each row from batches, pages, seeding and chance repetition.

The same shape from the same place is only a suspicion. Three more questions decide, and none is asked of a query
that runs once: what varies between the runs (an equality: a loop; an IN list, a page, a range: batches), what ran
it (``get_or_create`` and prefetches of many rows are no fault), and is it the whole stack that repeats, not only its
nearest frames (a helper called from two places is no loop)?
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from types import FrameType

from noa_perf.optimizer import callsite
from noa_perf.optimizer.conf import OptimizerSettings
from noa_perf.optimizer.fingerprint import Kind, Statement
from noa_perf.optimizer.groups import Group, Verdict
from noa_perf.optimizer.relations import RelationKind

MAX_STACKS = 12
"""Whole stacks compared before a shape that always comes another way counts as recursion."""


class Variation(Enum):
    """What differs between two runs of one shape."""

    NOTHING = "nothing"
    ROWS = "rows"
    BATCH = "batch"
    PAGE = "page"


EXEMPT_READS = frozenset({"get_or_create", "update_or_create", "in_bulk", "bulk_update", "bulk_create"})
EXEMPT_WRITES = frozenset({"get_or_create", "update_or_create", "bulk_create", "bulk_update"})
KEPT_BY_THE_PROCESS = ("ContentTypeManager.get_", "SiteManager.get_current", "SiteManager._get_site_")
"""What Django asks for once in the life of a process, however many requests it answers."""
ONCE_PER_INSTANCE = frozenset(
    {RelationKind.FORWARD, RelationKind.REVERSE_ONE, RelationKind.GENERIC_FOREIGN_KEY, RelationKind.DEFERRED}
)
"""Kept on the instance after the first access: a second query at one place is always for another instance."""


def examine(
    group: Group, statement: Statement, values: tuple[int, ...], frame: FrameType, settings: OptimizerSettings
) -> bool:
    """Judge a repeated ``group`` in the light of its newest run; True when it has just become an N+1 or write loop."""
    if group.verdict is not Verdict.NONE or statement.kind is Kind.OTHER:
        return False
    if _exempt(group, statement):
        group.verdict = Verdict.EXEMPT
        return False
    varied = variation(group, statement, values)
    if varied is Variation.NOTHING and _once_per_instance(group):
        varied = Variation.ROWS
    if varied is not Variation.ROWS:
        return False
    if not _repeats_whole_stack(group, frame, settings.n_plus_one_threshold):
        return False
    group.verdict = Verdict.WRITE_LOOP if statement.writes else Verdict.N_PLUS_ONE
    return True


def _exempt(group: Group, statement: Statement) -> bool:
    operations = {name.rpartition(".")[2] for name in group.site.operations}
    if statement.writes:
        return bool(operations & EXEMPT_WRITES) or ("Collector.delete" in group.site.operations and statement.batched)
    if any(name.startswith(KEPT_BY_THE_PROCESS) for name in group.site.operations):
        return True
    # Prefetches that a queryset brings along repeat because it does; the collector lays them to it.
    return bool(operations & EXEMPT_READS) or "_prefetch_related_objects" in operations


def _once_per_instance(group: Group) -> bool:
    return group.relation is not None and group.relation.kind in ONCE_PER_INSTANCE


def _repeats_whole_stack(group: Group, frame: FrameType, threshold: int) -> bool:
    if threshold == 2:
        return True
    if group.stacks is None:
        group.stacks = {}
    stack = callsite.stack_of(frame)
    runs = group.stacks[stack] = group.stacks.get(stack, 0) + 1
    # The first run's stack was not taken (most groups run once), hence one less.
    if runs >= threshold - 1 or len(group.stacks) >= MAX_STACKS:
        group.stacks = None
        return True
    return False


def variation(group: Group, statement: Statement, now: tuple[int, ...]) -> Variation:
    """Tell what differs between the first run of ``group`` and this one."""
    first = group.statement
    if statement.sql != first.sql:
        return _literal_variation(first, statement, same_params=now == group.first_hashes)
    if now == group.first_hashes:
        return Variation.NOTHING
    roles = roles_of(statement.sql)
    if len(now) != len(group.first_hashes) or len(now) != len(roles):
        return Variation.ROWS
    differing = {role for role, old, new in zip(roles, group.first_hashes, now, strict=True) if old != new}
    if differing <= {"in"}:
        return Variation.BATCH
    if differing <= {"range"} and statement.limit > 1:
        return Variation.PAGE
    return Variation.ROWS


def _literal_variation(first: Statement, statement: Statement, *, same_params: bool) -> Variation:
    # Equal when folded, different as written: the length of an IN list, an offset, or a literal in raw SQL.
    if first.batched or statement.batched:
        return Variation.BATCH
    if same_params and (first.limit, first.offset) != (statement.limit, statement.offset):
        return Variation.PAGE
    return Variation.ROWS


_PLACEHOLDER = re.compile(
    r"""
    "(?:[^"]|"")*" | '(?:[^']|'')*'
  | (?P<list>\bIN\s*\(\s*%s(?:\s*,\s*%s)+\s*\))
  | (?P<range>(?:<=|>=|<|>)\s*%s | \bBETWEEN\s+%s\s+AND\s+%s)
  | (?P<one>%s)
    """,
    re.VERBOSE | re.IGNORECASE,
)


@lru_cache(maxsize=1_024)
def roles_of(sql: str) -> tuple[str, ...]:
    """Return, for each ``%s`` of ``sql``, ``in`` (one of an IN list), ``range`` (behind < or >) or ``one``."""
    roles: list[str] = []
    for match in _PLACEHOLDER.finditer(sql):
        if match["list"]:
            roles.extend(["in"] * match["list"].count("%s"))
        elif match["range"]:
            roles.extend(["range"] * match["range"].count("%s"))
        elif match["one"]:
            roles.append("one")
    return tuple(roles)
