"""Finds the same SQL with the same parameters run again in one scope, though nothing was written in between."""

from __future__ import annotations

from noa_perf.optimizer.fingerprint import Kind, Statement
from noa_perf.optimizer.groups import Group

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

    @property
    def groups(self) -> tuple[Group, ...]:
        """All places that ran it, the first one first."""
        return (self.first, *self.again.values())


class Duplicates:
    """What one scope has read so far, as hashes: no value is kept."""

    __slots__ = ("found", "seen")

    def __init__(self) -> None:
        """Start from nothing."""
        self.seen: dict[int, Group] = {}
        self.found: dict[int, Duplicate] = {}

    def note(self, group: Group, statement: Statement, values: tuple[int, ...]) -> None:
        """Compare one query of ``group``, with the hashes of its values, with those before it."""
        if statement.kind is not Kind.SELECT:
            if statement.writes:
                self.seen.clear()  # what is read again after a write may have changed
            return
        group.last_seen = values
        if statement.volatile:
            return
        identity = hash((group.alias, statement.sql, values))
        first = self.seen.get(identity)
        if first is not None:
            self._again(identity, first, group)
        elif len(self.seen) < MAX_SEEN:
            self.seen[identity] = group

    def _again(self, identity: int, first: Group, group: Group) -> None:
        known = self.found.get(identity)
        if known is None:
            if len(self.found) >= MAX_DUPLICATES:
                return
            known = self.found[identity] = Duplicate(first)
        known.count += 1
        known.again[id(group)] = group
