"""What each operation of a cache does, top to bottom: memory, then Redis; and what when Redis is not to be had.

Each is a story (see :mod:`noa_perf.cache.tiers.link`), told once for sync and async. The bound that holds: what another
process wrote is seen ``staleness`` seconds later at most, for so long memory may answer without asking Redis; while
Redis is away memory answers for ``stale_when_down`` seconds more, and what this process wrote or deleted meanwhile is
never undone by what Redis still held.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from noa_perf.cache.codecs.codec import Codec
from noa_perf.cache.journal import Journal
from noa_perf.cache.near import MISSING, Near, Prepared, Spot
from noa_perf.cache.options import CacheOptions
from noa_perf.cache.tiers.link import Link
from noa_perf.cache.tiers.locks import LocalLocks
from noa_perf.cache.tiers.memory import Data, Memory, SpaceName
from noa_perf.cache.tiers.wishes import SCANNED, Batch, Command, Get, GetMany, Lua, Scan, Story
from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.core.redis import Script, Unavailable
from noa_perf.core.told import Told
from noa_perf.metrics import recorder

T = TypeVar("T")

_READ = Script("return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}")
_READ_MANY = Script(
    """
    local told = {}
    for number, key in ipairs(KEYS) do
      local value = redis.pcall('GET', key)
      if type(value) == 'table' then value = false end
      told[2 * number - 1] = value
      told[2 * number] = redis.call('PTTL', key)
    end
    return told
    """
)
_ADD_TO = Script(
    """
    local held = redis.call('GET', KEYS[1])
    if not held and ARGV[2] == '0' then return {'missing'} end
    local sum = redis.pcall('INCRBY', KEYS[1], ARGV[1])
    if type(sum) == 'table' then return {'other', held} end
    return {'sum', redis.call('GET', KEYS[1])}
    """
)
# The sum is read again: as a number of Lua's it would be a double, and wrong beyond 2**53.


class Sent(NamedTuple):
    """What was known when a write was sent: who comes after that is newer, whatever arrives first."""

    at: float
    epoch: tuple[int, int]
    noted: int


def run_alone(story: Story[T]) -> T:
    """Return what a story comes to that asks nothing of Redis."""
    try:
        next(story)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("a story asked for Redis where there is none")


def _keep(values: dict[Any, Any], name: Any, value: Any) -> None:
    if value is not MISSING:
        values[name] = value


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


class Stack(Near):
    """The tiers of one location, as one cache; every method but :meth:`run` and :meth:`arun` returns a story."""

    def __init__(
        self, alias: str, options: CacheOptions, memory: Memory, link: Link | None, codec: Codec, clock: Clock = SYSTEM
    ) -> None:
        """Put the tiers together; without a ``link`` memory is all there is."""
        super().__init__(alias, options, memory, codec, clock, far=link is not None)
        self.link = link
        self.told = Told()
        self.journal = Journal(self._replay)
        self.locks = LocalLocks(clock)

    def run(self, story: Story[T]) -> T:
        """Return what a story comes to."""
        recorder.current().begin()
        return run_alone(story) if self.link is None else self.link.run(story)

    async def arun(self, story: Story[T]) -> T:
        """Return what a story comes to, waiting for Redis on the running loop."""
        recorder.current().begin()
        return run_alone(story) if self.link is None else await self.link.arun(story)

    def forget_counts(self) -> None:
        """Begin to count anew: what was counted before a fork its parent tells of."""
        self.groups.drain()
        self.told.since("refused", self.refused)
        self.told.since("replayed", {"": self.journal.replayed})
        if self.link is not None:
            self.link.drain()
            self.told.since("failures", self.link.failures)

    def reachable(self, ask: bool) -> bool:
        """Tell whether Redis answers; unless to ``ask`` it, whether it is not left alone."""
        if self.link is None:
            return True
        return self.run(self._ping()) if ask else self.link.breaker.closed

    def _ping(self) -> Story[bool]:
        try:
            yield Command(("EXISTS", "noa_perf"))
        except Unavailable:
            return False
        return True

    # Reading

    def read(self, spot: Spot) -> Story[Any]:
        """Return the value, or :data:`MISSING`."""
        found = self._near(spot)
        if found is not MISSING:
            return found
        if self.link is None:
            return self._missed(spot)
        # The epoch first: whoever notes a deletion changes it afterwards, so what is read without knowing of the note
        # is not kept.
        epoch, started = self.memory.epoch(spot.name), self.now()
        if self.journal.holds(spot.key):
            return self._stale(spot)
        try:
            payload, left = (yield from self._ask([spot]))[0]
        except Unavailable:
            return self._stale(spot)
        return self._arrived(spot, payload, left, started, epoch)

    def _ask(self, spots: list[Spot]) -> Story[list[tuple[bytes | None, int]]]:
        """Return bytes and milliseconds left (-1: for ever) of each; the time only where memory is to keep them."""
        keys = tuple(spot.key for spot in spots)
        if not self.options.keeps:
            if len(keys) == 1:
                return [((yield Get(keys[0])), -1)]
            return [(payload, -1) for payload in (yield GetMany(keys))]
        if len(keys) == 1:
            payload, left = yield Lua(_READ, keys, again=True)
            return [(payload, left)]
        if self.link is not None and self.link.target.mode == "cluster":  # a script's keys have to lie in one slot
            replies = yield Batch([(command, key) for key in keys for command in ("GET", "PTTL")])
        else:
            replies = yield Lua(_READ_MANY, keys, again=True)
        told: list[Any] = [None if isinstance(reply, Exception) else reply for reply in replies]
        return [(told[at], told[at + 1] or 0) for at in range(0, len(told), 2)]

    def read_many(self, spots: Mapping[Any, Spot]) -> Story[dict[Any, Any]]:
        """Return the values of those that are there."""
        values: dict[Any, Any] = {}
        asked: dict[Any, tuple[Spot, tuple[int, int]]] = {}
        for name, spot in spots.items():
            epoch = self.memory.epoch(spot.name)
            found = self._near(spot)
            if found is not MISSING:
                values[name] = found
            elif self.link is None:
                self._missed(spot)
            elif self.journal.holds(spot.key):
                _keep(values, name, self._stale(spot))
            else:
                asked[name] = spot, epoch
        if asked:
            started = self.now()
            try:
                told = yield from self._ask([spot for spot, _ in asked.values()])
            except Unavailable:
                for name, (spot, _) in asked.items():
                    _keep(values, name, self._stale(spot))
            else:
                for (name, (spot, epoch)), (payload, left) in zip(asked.items(), told, strict=True):
                    _keep(values, name, self._arrived(spot, payload, left, started, epoch))
        return values

    def has(self, spot: Spot) -> Story[bool]:
        """Tell whether a key is there."""
        if self._fresh(spot) is not None:
            return True
        if self.link is None:
            return False
        if not self.journal.holds(spot.key):
            try:
                return bool((yield Command(("EXISTS", spot.key))))
            except Unavailable:
                pass
        return self._usable_while_away(spot) is not None

    # Writing

    @staticmethod
    def setting(key: str, payload: bytes, seconds: float | None) -> tuple[str | bytes | int, ...]:
        """Return the command that stores an entry."""
        return ("SET", key, payload) if seconds is None else ("SET", key, payload, "PX", _milliseconds(seconds))

    def write(self, spot: Spot, value: Any, seconds: float | None) -> Story[None]:
        """Store a value for ``seconds`` (None: for ever; none left: it is deleted)."""
        entry = self._prepare(spot, value)
        if seconds is not None and seconds <= 0:
            yield from self.delete(spot)
            return
        self.groups.of(spot.name).writes += 1
        if self.link is None:
            self._remember(spot, entry, self.now(), seconds)
            return
        sent = self._sending(spot)
        try:
            yield Command(self.setting(spot.key, entry.payload, seconds))
        except Unavailable:
            self._remember_alone(spot, entry, seconds)
        else:
            self._arrived_there(spot, entry, sent, seconds)

    def write_many(self, items: Mapping[Any, tuple[Spot, Any]], seconds: float | None) -> Story[list[Any]]:
        """Store several values; returns the names of those that did not arrive in Redis."""
        entries = {name: (spot, self._prepare(spot, value)) for name, (spot, value) in items.items()}
        if seconds is not None and seconds <= 0:
            yield from self.delete_many([spot for spot, _ in entries.values()])
            return []
        for spot, _ in entries.values():
            self.groups.of(spot.name).writes += 1
        started = self.now()
        if self.link is None:
            for spot, entry in entries.values():
                self._remember(spot, entry, started, seconds)
            return []
        sendings = [self._sending(spot) for spot, _ in entries.values()]
        replies: list[Any]
        try:
            replies = yield Batch([self.setting(spot.key, entry.payload, seconds) for spot, entry in entries.values()])
        except Unavailable as error:
            replies = [error] * len(entries)
        failed = []
        for (name, (spot, entry)), sent, reply in zip(entries.items(), sendings, replies, strict=True):
            if isinstance(reply, Exception):
                failed.append(name)
                self._remember_alone(spot, entry, seconds)
            else:
                self._arrived_there(spot, entry, sent, seconds)
        return failed

    def add(self, spot: Spot, value: Any, seconds: float | None) -> Story[bool]:
        """Store a value unless the key is there; tell whether it was stored."""
        entry = self._prepare(spot, value)
        if seconds is not None and seconds <= 0:
            return not (yield from self.has(spot))
        return (yield from self._write_if(spot, entry, seconds, "NX", lambda there: there is None))

    def _write_if(
        self, spot: Spot, entry: Prepared, seconds: float | None, condition: str, fits: Callable[[Any], bool]
    ) -> Story[bool]:
        """Store what is prepared if Redis' ``condition`` holds, or memory's data (or None) ``fits``; tell if it was."""
        self.groups.of(spot.name).writes += 1
        if self.link is None:
            return self._remember(spot, entry, self.now(), seconds, only_if=fits)
        sent = self._sending(spot)
        if not self.journal.holds(spot.key):
            try:
                stored = bool((yield Command((*self.setting(spot.key, entry.payload, seconds), condition))))
            except Unavailable:
                pass
            else:
                if stored:
                    self._arrived_there(spot, entry, sent, seconds)
                return stored
        if not fits(self._usable_while_away(spot)):
            return False
        return self._remember_alone(spot, entry, seconds, only_if=fits)

    def delete(self, spot: Spot) -> Story[bool]:
        """Delete a key; tell whether it was there."""
        noted = self.journal.serial
        there = self.memory.drop(spot.space, spot.name)
        if self.link is None:
            return there
        try:
            many = yield Command(("UNLINK", spot.key))
        except Unavailable:
            self._note([spot])
            self.memory.drop(spot.space, spot.name)  # somebody may have read it from Redis before that was noted
            return there
        self.memory.drop(spot.space, spot.name)  # somebody may have read it just before it went
        self.journal.written(spot.key, noted)
        return bool(many)

    def delete_many(self, spots: Iterable[Spot]) -> Story[int]:
        """Delete several keys; returns how many were there."""
        spots = list(spots)
        there = sum(self.memory.drop(spot.space, spot.name) for spot in spots)
        if self.link is None or not spots:
            return there
        try:
            replies = yield Batch([("UNLINK", spot.key) for spot in spots])
        except Unavailable:
            self._note(spots)
            for spot in spots:
                self.memory.drop(spot.space, spot.name)
            return there
        failed = [spot for spot, reply in zip(spots, replies, strict=True) if isinstance(reply, Exception)]
        if failed:
            self._note(failed)
        for spot in spots:
            self.memory.drop(spot.space, spot.name)
        return sum(reply for reply in replies if not isinstance(reply, Exception))

    def touch(self, spot: Spot, seconds: float | None) -> Story[bool]:
        """Give a key ``seconds`` more from now; tell whether it was there."""
        if seconds is not None and seconds <= 0:
            return (yield from self.delete(spot))
        if self.link is None:
            return self._retime(spot, seconds)
        wish = ("PERSIST", spot.key) if seconds is None else ("PEXPIRE", spot.key, _milliseconds(seconds))
        if not self.journal.holds(spot.key):
            try:
                done, there = yield Batch([wish, ("EXISTS", spot.key)])
            except Unavailable:
                pass
            else:
                if not isinstance(done, Exception) and not isinstance(there, Exception):
                    self.memory.drop(spot.space, spot.name)
                    return bool(there)
        if self._usable_while_away(spot) is None:
            return False
        self._note([spot])  # Redis would keep it for as long as was said before
        return self._retime(spot, seconds)

    def increase(self, spot: Spot, by: Any, *, make: bool = False) -> Story[Any]:
        """Add ``by`` to a number and return the sum; where there is none, :data:`MISSING`, or ``make`` it.

        In one step where it is an integer of 64 bits; else it is read, added to and written, as Django's own does.
        """
        if self.link is None:
            return self._increase_in_memory(spot, by)
        if self.journal.holds(spot.key):
            return self._increase_while_away(spot, by, make)
        try:
            if type(by) is int:
                told, *rest = yield Lua(_ADD_TO, (spot.key,), (by, int(make)))
                if told == b"missing":
                    return MISSING
                if told == b"sum":
                    self.memory.drop(spot.space, spot.name)
                    return int(rest[0])
            return (yield from self._increase_other(spot, by))
        except Unavailable:
            return self._increase_while_away(spot, by, make)

    def _increase_other(self, spot: Spot, by: Any) -> Story[Any]:
        payload = yield Get(spot.key)
        value = self._arrived(spot, payload, 0, self.now(), self.memory.epoch(spot.name))
        if value is MISSING:
            return MISSING
        entry = self._prepare(spot, value + by)
        yield Command(("SET", spot.key, entry.payload, "KEEPTTL", "XX"))
        self.memory.drop(spot.space, spot.name)
        return value + by

    def clear(self, mine: Callable[[SpaceName], bool], pattern: str) -> Story[None]:
        """Forget everything in the spaces that are ``mine``, and every key in Redis that matches ``pattern``."""
        self._clear_memory(mine)
        if self.link is None:
            return
        try:
            yield from self._delete_matching(pattern)
        except Unavailable:
            self.journal.note_clear(pattern)
        self._clear_memory(mine)

    def _delete_matching(self, pattern: str, batch: int = SCANNED) -> Story[int]:
        many = 0
        place: tuple[int, int] | None = (0, 0)
        while place is not None:
            keys, place = yield Scan(pattern, place, batch)
            if keys:
                replies = yield Batch([("UNLINK", key) for key in keys])
                many += sum(reply for reply in replies if not isinstance(reply, Exception))
                failed = [reply for reply in replies if isinstance(reply, Exception)]
                if failed:
                    raise Unavailable("refused")
        return many

    # Redis is away

    def _replay(self, journal: Journal) -> bool:
        return self.run(self._replaying(journal))

    def _replaying(self, journal: Journal) -> Story[bool]:
        try:
            while len(journal):
                keys, clears = journal.pending()
                for pattern, serial in clears:
                    yield from self._delete_matching(pattern)
                    journal.done(clears=[(pattern, serial)])
                if keys:
                    replies = yield Batch([("UNLINK", key) for key, _ in keys])
                    arrived = [pair for pair, reply in zip(keys, replies, strict=True) if isinstance(reply, int)]
                    journal.done(arrived)
                    if len(arrived) < len(keys):
                        return False
        except Unavailable:
            return False
        return True

    def _note(self, spots: Iterable[Spot]) -> None:
        for pattern, alike in itertools.groupby(spots, lambda spot: spot.pattern):
            self.journal.note([spot.key for spot in alike], pattern)

    def _stale(self, spot: Spot) -> Any:
        found = self._usable_while_away(spot)
        value = MISSING if found is None else self._unpacked(spot, found)
        if value is MISSING:
            return self._missed(spot)
        self.groups.of(spot.name).stale += 1
        return value

    def _remember_alone(
        self, spot: Spot, entry: Prepared, seconds: float | None, only_if: Callable[[Data | None], bool] | None = None
    ) -> bool:
        """Keep in memory what did not arrive in Redis, which may hold something older."""
        self._note([spot])
        return not self.options.keeps or self._remember(spot, entry, self.now(), seconds, only_if=only_if)

    def _increase_while_away(self, spot: Spot, by: Any, make: bool) -> Any:
        # A counter that nobody can read now counts from nothing: the view that adds to it is not to fail.
        if self._usable_while_away(spot) is None:
            if make:
                self._remember_alone(spot, self._prepare(spot, by), None)
            return by
        self._note([spot])
        return self._increase_in_memory(spot, by)

    def _sending(self, spot: Spot) -> Sent:
        return Sent(self.now(), self.memory.epoch(spot.name), self.journal.serial)

    def _arrived_there(self, spot: Spot, entry: Prepared, sent: Sent, seconds: float | None) -> None:
        """Keep in memory what Redis has taken, unless somebody wrote the key meanwhile: who was first is not known."""
        data = (*entry.packed, *self._times(sent.at, seconds))
        if not (self.options.keeps and self.memory.fill(spot.space, spot.name, data, entry.size, sent.epoch)):
            self.memory.drop(spot.space, spot.name)
        self.journal.written(spot.key, sent.noted)
