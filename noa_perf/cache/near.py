"""What memory makes of what it is given: values packed, fresh for a while, counted by group of keys."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any, NamedTuple

from noa_perf.cache.codecs import copies
from noa_perf.cache.codecs.codec import Codec, Packed
from noa_perf.cache.exceptions import NotCacheable, Refused
from noa_perf.cache.groups import Groups, group_of
from noa_perf.cache.options import CacheOptions
from noa_perf.cache.tiers.memory import FOREVER, OVERHEAD, Data, Memory, Space, SpaceName
from noa_perf.core.clock import Clock

logger = logging.getLogger("noa_perf.cache")

MISSING: Any = object()
"""What a story returns for a key that is not there."""


class Spot(NamedTuple):
    """Where a key lies: in which space of memory under which name, under which key in Redis, among which others."""

    space: Space
    name: str
    key: str
    pattern: str
    """Matches all keys of the same prefix, as Redis writes patterns."""


class Prepared(NamedTuple):
    """A value ready to be kept: in memory, and as the bytes of an entry where there is a Redis."""

    packed: Packed
    size: int
    payload: bytes


def _still(was: Data) -> Callable[[Data | None], bool]:
    return lambda now: now is was


class Near:
    """The near half of a cache: all that is done in this process, whether there is a Redis behind it or not."""

    def __init__(
        self, alias: str, options: CacheOptions, memory: Memory, codec: Codec, clock: Clock, *, far: bool
    ) -> None:
        """Keep in ``memory``; ``far`` says that a Redis is behind it, and memory but a copy."""
        self.alias = alias
        self.options = options
        self.memory = memory
        self.codec = codec
        self.far = far
        self.clock = clock
        self.now = clock.monotonic
        self.groups = Groups()
        self.refused: dict[str, int] = {}
        """Entries that were of no use, by reason."""
        memory.group = group_of

    def _usable_while_away(self, spot: Spot) -> Packed | None:
        """Return what memory has, fresh or so long past that as ``stale_when_down`` allows."""
        entry = spot.space.get(spot.name)
        if entry is None:
            return None
        value, load, until, expires = entry.data
        now = self.now()
        return Packed(value, load) if expires > now and until + self.options.stale_when_down > now else None

    def _fresh(self, spot: Spot) -> Packed | None:
        entry = spot.space.get(spot.name)
        if entry is None:
            return None
        value, load, until, _ = entry.data
        if until <= self.now():
            return None
        entry.hits += 1
        return Packed(value, load)

    def _near(self, spot: Spot) -> Any:
        found = self._fresh(spot)
        return MISSING if found is None else self._unpacked(spot, found)

    def _unpacked(self, spot: Spot, packed: Packed) -> Any:
        """Return what memory keeps; what pickles without complaint, and cannot be made anew, is as good as missing."""
        try:
            return packed.value()
        except Exception:
            self._refuse("corrupt")
            self.memory.drop(spot.space, spot.name)
            return MISSING

    def _refuse(self, reason: str) -> None:
        if reason not in self.refused:
            message = "noa_perf.cache: an entry of CACHES[%r] is of no use (%s) and counts as a miss; logged once"
            logger.warning(message, self.alias, reason)
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def _missed(self, spot: Spot) -> Any:
        self.groups.of(spot.name).misses += 1
        return MISSING

    def _arrived(self, spot: Spot, payload: bytes | None, left: int, started: float, epoch: tuple[int, int]) -> Any:
        """Return the value of what Redis answered with ``left`` milliseconds to live, and keep it while it is fresh."""
        if payload is None:
            if spot.name in spot.space:
                self.memory.drop(spot.space, spot.name)  # it is gone: not even while Redis is away is it served
            return self._missed(spot)
        try:
            packed = self.codec.decode(spot.key, payload)
            value = self.codec.load(packed)
        except Refused as error:
            self._refuse(error.reason)
            return self._missed(spot)
        self.groups.of(spot.name).far_hits += 1
        if self.options.keeps:
            until = started + self.options.staleness * (1 - random.random() * self.options.jitter)  # noqa: S311
            expires = FOREVER if left < 0 else started + left / 1_000
            kept = packed if self.options.copies else Packed(value, None)
            data = (*kept, min(until, expires), expires)
            self.memory.fill(spot.space, spot.name, data, copies.size_of(kept), epoch)
        return value

    def _prepare(self, spot: Spot, value: Any) -> Prepared:
        """Return a value ready to be kept; raises :class:`NotCacheable` where it cannot be."""
        if self.far:
            encoded = self.codec.encode(spot.key, value)
            packed = encoded.packed if self.options.copies else Packed(value, None)
            return Prepared(packed, copies.size_of(packed) if self.options.keeps else 0, encoded.payload)
        try:
            packed, size = copies.copied(value) if self.options.copies else copies.shared(value)
        except Exception as error:  # pickling runs anybody's code
            raise NotCacheable(
                f"CACHES[{self.alias!r}] cannot copy the value of the key {spot.name!r} (pickle: {error}). "
                'Instead: store plain data, or set OPTIONS["memory"]["isolation"] to "shared".'
            ) from error
        return Prepared(packed, size, b"")

    def _remember(
        self,
        spot: Spot,
        entry: Prepared,
        started: float,
        seconds: float | None,
        only_if: Callable[[Data | None], bool] | None = None,
    ) -> bool:
        data = (*entry.packed, *self._times(started, seconds))
        return self.memory.put(spot.space, spot.name, data, entry.size, only_if)

    def _times(self, started: float, seconds: float | None) -> tuple[float, float]:
        """Return until when what was stored at ``started`` is fresh in memory, and when it expires."""
        expires = FOREVER if seconds is None else started + seconds
        return (min(expires, started + self.options.staleness) if self.far else expires), expires

    def spread(self, seconds: float | None) -> float | None:
        """Return a timeout, shortened at random where ``expiry_jitter`` asks for that."""
        jitter = self.options.expiry_jitter
        return seconds if not jitter or seconds is None else seconds * (1 - random.random() * jitter)  # noqa: S311

    def _retime(self, spot: Spot, seconds: float | None) -> bool:
        """Change when a key in memory expires; tell whether it was there."""
        entry = spot.space.get(spot.name)
        if entry is None:
            return False
        data = entry.data
        expires = FOREVER if seconds is None else self.now() + seconds
        until = min(data[2], expires) if self.far else expires
        size = entry.size - OVERHEAD - len(spot.name)
        return self.memory.put(spot.space, spot.name, (*data[:2], until, expires), size, _still(data))

    def _increase_in_memory(self, spot: Spot, by: Any) -> Any:
        while True:
            entry = spot.space.get(spot.name)
            data = entry.data if entry is not None else None
            if data is None or data[3] <= self.now():
                return MISSING
            value = self._unpacked(spot, Packed(data[0], data[1]))
            if value is MISSING:
                return MISSING
            total = value + by
            prepared = self._prepare(spot, total)
            kept = (*prepared.packed, data[2], data[3])
            if self.memory.put(spot.space, spot.name, kept, prepared.size, _still(data)):
                return total

    def _clear_memory(self, mine: Callable[[SpaceName], bool]) -> None:
        for name, space in self.memory.spaces():
            if mine(name):
                self.memory.clear(space)
