"""Entries in this process's memory: read without a lock, bounded by number and bytes, hard to flush by a scan.

The eviction is S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023): newcomers stand in
a small queue, and only what is asked for again moves on to the main one; what left the small queue is remembered by
name for a while. A hit changes nothing but the entry's own count, so it needs neither lock nor queue.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from noa_perf.core.clock import SYSTEM, Clock

OVERHEAD = 330
"""Bytes that an entry takes beside its key and value: itself, and its places in space and queue."""
SMALL_SHARE = 50
"""The newcomers' queue takes one part in so many: measured, a tenth (the paper's) keeps less of a Zipf trace."""
PROMOTED_FROM = 1
"""Hits with which a newcomer moves to the main queue."""
MOST_CREDIT = 3
"""Hits that count for an entry when it comes to the end of the main queue."""
STRIPES = 64
MOST_GROUPS = 200
"""Groups that hits are counted for between two tellings; those of further ones are counted for none."""
MOST_SPACES = 1_000
"""Spaces that are made for one prefix and version each; a version that comes later shares one with others."""
AT_ONCE = 500
"""Entries that are looked at under one hold of the lock."""
FORK_WAITS = 1.0
"""Seconds that a fork waits for a writer; after that the child starts empty."""
FOREVER = float("inf")

Load = Callable[[Any], Any]
Data = tuple[Any, Load | None, float, float]
"""Value, what makes a copy of it for a reader, until when it is fresh, when it is gone (seconds of the clock)."""
Space = dict[str, "Entry"]
SpaceName = tuple[Any, ...]
"""Prefix and version; or prefix, None and key function, where names are Redis' keys."""

NOTHING: Data = (None, None, -FOREVER, -FOREVER)


class Entry:
    """What is kept under one key. ``data`` is changed as a whole, so that a reader without a lock sees no mixture."""

    __slots__ = ("data", "hits", "key", "live", "seen", "size", "small", "space", "told")

    def __init__(self, space: Space, key: str, data: Data, size: int, *, small: bool) -> None:
        """Hold ``data``, which takes ``size`` bytes with all that belongs to it."""
        self.data = data
        self.hits = 0
        """How often it was served; the one thing that readers change."""
        self.seen = 0
        """How many of the hits the queues have given credit for."""
        self.told = 0
        """How many of the hits were counted by :meth:`Memory.collect`."""
        self.live = True
        self.small = small
        self.size = size
        self.key = key
        self.space = space


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much a memory tier may hold."""

    max_entries: int = 10_000
    max_bytes: int = 64 * 1024 * 1024
    evict: int = 1
    """Entries that go when it is full; 0: all (as Django's ``CULL_FREQUENCY`` has it)."""


class Memory:
    """The entries of one location, in spaces of their own for each prefix and version."""

    def __init__(self, bounds: Bounds | None = None, clock: Clock = SYSTEM) -> None:
        """Start empty."""
        self.bounds = bounds or Bounds()
        self.now = clock.monotonic
        self.group: Callable[[str], str] = lambda _key: ""
        """Names the group that a key's hits are counted for."""
        self._lock = threading.Lock()
        self._spaces: dict[SpaceName, Space] = {}
        self.epochs = [0] * STRIPES
        self._start_over()
        _all.add(self)

    def _start_over(self) -> None:
        for space in self._spaces.values():
            space.clear()
        self.entries = self.bytes = self._small_bytes = self._dead = 0
        self._small: deque[Entry] = deque()
        self._main: deque[Entry] = deque()
        self._ghosts: OrderedDict[int, None] = OrderedDict()
        self._hits: dict[str, int] = {}
        self._evictions: dict[str, int] = {}

    def space(self, name: SpaceName) -> Space:
        """Return the space called ``name``: to read from; this class alone writes to it."""
        found = self._spaces.get(name)
        return found if found is not None else self._spaces.setdefault(name, {})

    def own_space(self, name: SpaceName) -> Space | None:
        """Return the same, or None where there are too many already: whoever counts versions up makes ever more."""
        found = self._spaces.get(name)
        if found is None and len(self._spaces) < MOST_SPACES:
            found = self._spaces.setdefault(name, {})
        return found

    def epoch(self, key: str) -> tuple[int, int]:
        """Return what changes with each write of ``key`` (and some others): who fills asks before it reads."""
        stripe = hash(key) % STRIPES
        return stripe, self.epochs[stripe]

    def put(
        self, space: Space, key: str, data: Data, size: int, only_if: Callable[[Data | None], bool] | None = None
    ) -> bool:
        """Keep ``data`` (whose value takes ``size`` bytes) under ``key``; tell whether that was done.

        It is not where ``only_if`` says no to the unexpired data that it would replace (or None), asked under the
        lock so that nobody comes between; nor where it takes more than all the room there is.
        """
        size += OVERHEAD + len(key)
        with self._lock:
            entry = space.get(key)
            if only_if is not None and not only_if(self._unexpired(entry)):
                return False
            self.epochs[hash(key) % STRIPES] += 1
            if size > self.bounds.max_bytes:
                self._drop(entry)
                self._evicted("size")
                return False
            if entry is None:
                self._make_room(size)
                self._enter(space, key, data, size)
            else:
                self._resize(entry, size - entry.size)
                entry.data = data
                while self.bytes > self.bounds.max_bytes:
                    self._evict_one()
            return entry is None or entry.live

    def fill(self, space: Space, key: str, data: Data, size: int, epoch: tuple[int, int]) -> bool:
        """Keep what was read elsewhere, unless the key was written since ``epoch``; tell whether that was done."""
        stripe, number = epoch
        return self.put(space, key, data, size, lambda _data: self.epochs[stripe] == number)

    def drop(self, space: Space, key: str) -> bool:
        """Forget a key; tell whether it was there, unexpired."""
        with self._lock:
            self.epochs[hash(key) % STRIPES] += 1
            entry = space.get(key)
            there = self._unexpired(entry) is not None
            self._drop(entry)
            return there

    def begin_epoch(self) -> None:
        """Let nothing be kept that was asked for elsewhere before now, whatever its key."""
        with self._lock:
            self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.epochs = [number + 1 for number in self.epochs]

    def clear(self, space: Space) -> None:
        """Forget all of a space."""
        with self._lock:
            self._begin_epoch()
            for entry in list(space.values()):
                self._drop(entry)

    def clear_all(self) -> None:
        """Forget everything."""
        with self._lock:
            self._clear_all()

    def spaces(self) -> list[tuple[SpaceName, Space]]:
        """Return every space with its name."""
        return list(self._spaces.items())

    def collect(self) -> tuple[dict[str, int], dict[str, int]]:
        """Forget what has expired; return hits by group and evictions by reason since the last time."""
        with self._lock:
            entries = [entry for space in self._spaces.values() for entry in space.values()]
        for start in range(0, len(entries), AT_ONCE):
            with self._lock:  # a little at a time: writers wait for it
                self._tidy(entries[start : start + AT_ONCE])
        with self._lock:
            hits, self._hits = self._hits, {}
            evictions, self._evictions = self._evictions, {}
            return hits, evictions

    def _tidy(self, entries: list[Entry]) -> None:
        now = self.now()
        for entry in entries:
            if entry.live and entry.data[3] <= now:
                self._drop(entry)
                self._evicted("expired")
            elif entry.live:
                self._tell(entry)

    def _unexpired(self, entry: Entry | None) -> Data | None:
        if entry is None:
            return None
        data = entry.data
        return data if data[3] > self.now() else None

    def _tell(self, entry: Entry) -> None:
        many = entry.hits - entry.told
        if many:
            entry.told += many
            group = self.group(entry.key)
            if group not in self._hits and len(self._hits) >= MOST_GROUPS:
                group = ""
            self._hits[group] = self._hits.get(group, 0) + many

    def _enter(self, space: Space, key: str, data: Data, size: int) -> None:
        known = self._ghosts.pop(hash((id(space), key)), False) is None
        entry = Entry(space, key, data, size, small=not known)
        self.entries += 1
        self.bytes += size
        if entry.small:
            self._small_bytes += size
        (self._main if known else self._small).append(entry)
        space[key] = entry

    def _resize(self, entry: Entry, by: int) -> None:
        entry.size += by
        self.bytes += by
        if entry.small:
            self._small_bytes += by

    def _drop(self, entry: Entry | None) -> None:
        """Forget an entry; its place in the queue stays until it comes to its end or too many are empty."""
        if entry is None:
            return
        self._forget(entry)
        self._dead += 1
        if self._dead > self.entries + STRIPES:
            self._small = deque(one for one in self._small if one.live)
            self._main = deque(one for one in self._main if one.live)
            self._dead = 0

    def _forget(self, entry: Entry) -> None:
        self._tell(entry)
        del entry.space[entry.key]
        self._resize(entry, -entry.size)
        self.entries -= 1
        entry.live = False
        entry.data = NOTHING  # whoever found it just before sees that it is gone, and its value is let go

    def _make_room(self, size: int) -> None:
        if self.entries >= self.bounds.max_entries:
            if self.bounds.evict == 0:
                self._clear_all()
            for _ in range(min(self.bounds.evict, self.entries)):
                self._evict_one()
        while self.bytes + size > self.bounds.max_bytes:
            self._evict_one()

    def _clear_all(self) -> None:
        self._begin_epoch()
        for space in self._spaces.values():
            for entry in list(space.values()):
                self._forget(entry)
        self._small.clear()
        self._main.clear()
        self._dead = 0

    def _evict_one(self) -> None:
        """Let one entry go: the first that comes to the end of its queue and has expired or was not asked for."""
        now = self.now()
        while self.entries:
            small = bool(self._small) and (self._small_bytes * SMALL_SHARE >= self.bytes or not self._main)
            entry = (self._small if small else self._main).popleft()
            if not entry.live:
                self._dead -= 1
            elif entry.data[3] <= now:
                self._forget(entry)
                self._evicted("expired")
                return
            elif not (self._promoted(entry) if small else self._kept(entry)):
                if small:
                    self._remember(entry)
                self._forget(entry)
                self._evicted("size")
                return

    def _promoted(self, entry: Entry) -> bool:
        if entry.hits - entry.seen < PROMOTED_FROM:
            return False
        entry.small = False
        entry.seen = entry.hits
        self._small_bytes -= entry.size
        self._main.append(entry)
        return True

    def _kept(self, entry: Entry) -> bool:
        credit = min(entry.hits - entry.seen, MOST_CREDIT)
        if credit <= 0:
            return False
        entry.seen = entry.hits - (credit - 1)
        self._main.append(entry)
        return True

    def _remember(self, entry: Entry) -> None:
        self._ghosts[hash((id(entry.space), entry.key))] = None
        while len(self._ghosts) > self.entries:
            self._ghosts.popitem(last=False)

    def _evicted(self, reason: str) -> None:
        self._evictions[reason] = self._evictions.get(reason, 0) + 1


_all: weakref.WeakSet[Memory] = weakref.WeakSet()
_held: list[Memory] = []


def _before_fork() -> None:
    # Nobody may be writing while the process is copied: the child would find things half done, and locked for ever.
    _held.extend(one for one in list(_all) if one._lock.acquire(timeout=FORK_WAITS))


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop()._lock.release()


def _after_fork_in_child() -> None:
    held = set(map(id, _held))
    _after_fork_in_parent()
    for one in list(_all):
        one._hits, one._evictions = {}, {}  # the parent tells of its own
        if id(one) not in held:
            one._lock = threading.Lock()
            one._start_over()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
