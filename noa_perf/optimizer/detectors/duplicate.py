"""Finds the same SQL with the same parameters run again in one scope, though nothing was written in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from noa_perf.optimizer.fingerprint import Kind, Statement, hashes

if TYPE_CHECKING:
    from noa_perf.optimizer.scopes import Group, Scope

MAX_SEEN = 5_000
"""Distinct statement-and-parameter pairs that a scope remembers."""
MAX_DUPLICATES = 200


class Duplicate:
    """One statement with one set of parameters, run more than once."""

    __slots__ = ("again", "count", "first")

    def __init__(self, first: Group) -> None:
        """Note that what ``first`` read was read again."""
        self.first = first
        self.count = 1
        self.again: dict[int, Group] = {}


def note(scope: Scope, group: Group, statement: Statement, params: Any) -> None:
    """Compare one query with those before it in ``scope``."""
    if statement.kind is not Kind.SELECT:
        if statement.writes:
            scope.seen.clear()  # what is read again after a write may have changed
        return
    group.last_hashes = hashes(params)
    identity = hash((group.alias, statement.sql, group.last_hashes))
    first = scope.seen.get(identity)
    if first is None:
        if len(scope.seen) < MAX_SEEN:
            scope.seen[identity] = group
        return
    known = scope.duplicates.get(identity)
    if known is None:
        if len(scope.duplicates) >= MAX_DUPLICATES:
            return
        known = scope.duplicates[identity] = Duplicate(first)
    known.count += 1
    known.again[id(group)] = group
