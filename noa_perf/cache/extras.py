"""What django-redis adds to Django's cache API, as stories: times to live, patterns of keys, further ways to write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from noa_perf.cache.near import MISSING, Spot
from noa_perf.cache.patterns import matcher
from noa_perf.cache.stack import Stack
from noa_perf.cache.tiers.memory import FOREVER, Entry, Space
from noa_perf.cache.tiers.wishes import Command, Scan, Story
from noa_perf.core.redis import Unavailable

Place = tuple[int, int] | None


class Room(NamedTuple):
    """A part of memory, and how a name in it becomes Redis' key."""

    space: Space
    key_of: Callable[[str], str]


class Area(NamedTuple):
    """The keys that match a pattern, wherever they lie; ``shown`` makes of Redis' key what the site calls it."""

    rooms: tuple[Room, ...]
    pattern: str
    shown: Callable[[str], str]


class RedisStack(Stack):
    """The stack with these stories too."""

    def time_left(self, spot: Spot) -> Story[int | None]:
        """Return a key's milliseconds to live: None for ever, 0 where there is no such key.

        While Redis is away that is what memory knows: of a value that was read from Redis, no end.
        """
        if self.link is not None and not self.journal.holds(spot.key):
            try:
                left = yield Command(("PTTL", spot.key))
            except Unavailable:
                pass
            else:
                return None if left == -1 else max(0, left)
        entry = self._held(spot.space, spot.name)
        if entry is None:
            return 0
        expires = entry.data[3]
        return None if expires == FOREVER else max(1, round((expires - self.now()) * 1000))

    def persist(self, spot: Spot) -> Story[bool]:
        """Let a key live for ever; tell whether that changed anything."""
        if self.link is not None and not self.journal.holds(spot.key):
            try:
                changed = yield Command(("PERSIST", spot.key))
            except Unavailable:
                pass
            else:
                self.memory.drop(spot.space, spot.name)
                return bool(changed)
        entry = self._held(spot.space, spot.name)
        return entry is not None and entry.data[3] != FOREVER and self._retime(spot, None)

    def expire_at(self, spot: Spot, when: float) -> Story[bool]:
        """Let a key live until ``when`` (seconds since 1970, by Redis' clock); tell whether it was there."""
        left = when - self.clock.time()
        if self.link is not None and not self.journal.holds(spot.key):
            try:
                there = yield Command(("PEXPIREAT", spot.key, round(when * 1000)))
            except Unavailable:
                pass
            else:
                self.memory.drop(spot.space, spot.name)
                return bool(there)
        if self._held(spot.space, spot.name) is None:
            return False
        if left <= 0:
            return (yield from self.delete(spot))
        return self._retime(spot, left)

    def replace(self, spot: Spot, value: Any, seconds: float | None) -> Story[bool]:
        """Store a value if the key is there; tell whether it was stored."""
        entry = self._prepare(spot, value)
        if seconds is not None and seconds <= 0:
            return (yield from self.delete(spot))
        return (yield from self._write_if(spot, entry, seconds, "XX", lambda there: there is not None))

    def count(self, spot: Spot, by: Any) -> Story[Any]:
        """Add to a number, which is 0 and lives for ever where there is none."""
        found = yield from self.increase(spot, by, make=True)
        if found is MISSING:
            stored = yield from self.add(spot, by, None)
            found = by if stored else (yield from self.increase(spot, by, make=True))
        return by if found is MISSING else found

    def names(self, area: Area, place: Place, batch: int) -> Story[tuple[list[str], Place]]:
        """Return some keys, and the place to go on from; while Redis is away, those in memory, and that was all."""
        if self.link is None:
            return [area.shown(key) for _, _, key in self._near_matching(area)], None
        try:
            found, after = yield Scan(area.pattern, place, batch)
        except Unavailable:
            return [area.shown(key) for _, _, key in self._near_matching(area)], None
        keys = (one.decode(errors="replace") if isinstance(one, bytes) else str(one) for one in found)
        names = [area.shown(key) for key in keys if not self.journal.holds(key)]
        if after is None and len(self.journal):
            # Written while Redis was away, and not gone from it yet.
            names += [area.shown(key) for _, _, key in self._near_matching(area) if self.journal.holds(key)]
        return names, after

    def delete_matching(self, area: Area, batch: int) -> Story[int]:
        """Delete every key of an area; returns how many, of those that are to be deleted later what memory had."""
        many = self._drop_matching(area)
        if self.link is None:
            return many
        try:
            many = yield from self._delete_matching(area.pattern, batch)
        except Unavailable:
            self.journal.note_clear(area.pattern)
        self.memory.begin_epoch()  # somebody may have read one of them just before it went
        self._drop_matching(area)
        return many

    def _drop_matching(self, area: Area) -> int:
        return sum(self.memory.drop(space, name) for space, name, _ in self._near_matching(area))

    def _near_matching(self, area: Area) -> Iterator[tuple[Space, str, str]]:
        matches = matcher(area.pattern)
        for space, key_of in area.rooms:
            for name in list(space):
                key = key_of(name)
                if matches(key) and self._held(space, name) is not None:
                    yield space, name, key

    def _held(self, space: Space, name: str) -> Entry | None:
        """Return an entry of memory, if it may be served while Redis is away."""
        entry = space.get(name)
        if entry is None:
            return None
        _, _, until, expires = entry.data
        now, grace = self.now(), 0.0 if self.link is None else self.options.stale_when_down
        return entry if expires > now and until + grace > now else None
