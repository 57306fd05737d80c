"""Who is banned just now: one process's view, told to the others and told by them."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from typing import Any, NamedTuple

from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.ratelimit import signals
from noa_perf.ratelimit.clients import within
from noa_perf.ratelimit.conf import RateLimitSettings
from noa_perf.ratelimit.deny_cache import LIMIT, Ban, DenyCache
from noa_perf.ratelimit.exceptions import StorageDown
from noa_perf.ratelimit.storages.bans import Made, MemoryBans, Mode, RedisBans, Terms, Wider

__all__ = ["Ban", "Bans", "Entry", "Terms"]

WAITING = 10_000
"""Bans that wait at most: for Redis to come back, and for the audit to be written."""


class Entry(NamedTuple):
    """A ban that the audit does not know yet. Seconds since 1970."""

    ban: Ban
    begun: float
    until: float


class Bans:
    """Bans and releases; knows at once of its own, and of the others' after :meth:`refresh`."""

    def __init__(
        self, settings: RateLimitSettings, shared: RedisBans | None, clock: Clock = SYSTEM, limit: int = LIMIT
    ) -> None:
        """Share bans through Redis, or keep them to this process."""
        self.shared = shared
        self.local = DenyCache(clock, limit)
        self.unwritten: deque[Entry] = deque(maxlen=WAITING)
        """For the housekeeper, which writes the audit."""
        self._clock = clock
        self._settings = settings
        self._own = MemoryBans(clock, limit)
        self._untold: deque[Ban] = deque(maxlen=WAITING)
        self._unlock()
        _all.add(self)

    def ban(self, client: str, terms: Terms) -> Ban:
        """Ban a client; return the ban, which may have been there. Where Redis is away, this process alone does."""
        wider = self._wider(client)
        if self.shared is None:
            return self._learn(self._ban_here(client, terms, wider))
        try:
            return self._learn(self.shared.ban(client, terms, "once", wider))
        except StorageDown:
            return self._learn(self._ban_here(client, terms, wider), told=False)

    async def aban(self, client: str, terms: Terms) -> Ban:
        """Do the same on an event loop."""
        wider = self._wider(client)
        if self.shared is None:
            return self._learn(self._ban_here(client, terms, wider))
        try:
            return self._learn(await self.shared.aban(client, terms, "once", wider))
        except StorageDown:
            return self._learn(self._ban_here(client, terms, wider), told=False)

    def impose(self, client: str, terms: Terms) -> Ban:
        """Ban a client whatever there was: the word of a person, who writes the audit. Raises ``StorageDown``."""
        made = (
            self._ban_here(client, terms, None, "set") if self.shared is None else self.shared.ban(client, terms, "set")
        )
        return self._learn(made, audited=True)

    def release(self, client: str, *, erase: bool = False) -> bool:
        """End a client's ban everywhere; tell whether there was one. Raises ``StorageDown``, and then it stands.

        ``erase`` leaves nothing in Redis that names the client.
        """
        was = self.local.of(client) is not None
        if self.shared is not None:
            was = self.shared.release(client, self._around(client), erase=erase) or was
        self.forget([client])
        signals.released.send_robust(Bans, client=client)
        return was

    def forget(self, clients: Collection[str]) -> None:
        """End bans in this process alone, and leave out what was still to be told and written of them."""
        ended = set(clients)
        with self._lock:
            for client in ended:
                self._own.release(client, self._around(client))
        _strike(self._untold, [ban for ban in tuple(self._untold) if ban.client in ended])
        _strike(self.unwritten, [entry for entry in tuple(self.unwritten) if entry.ban.client in ended])
        self.local.drop(ended)

    def refresh(self) -> None:
        """Tell Redis what it has not heard of, and learn what others have done. Raises ``StorageDown``."""
        self.local.tidy()
        if self.shared is None:
            return
        self._tell(self.shared)
        news = self.shared.news()
        if news.complete:
            self.local.keep(ban.client for ban in news.bans)
        self.local.put(news.bans)
        self.forget(news.released)
        if news.lost:
            self._remind(self.shared, {ban.client for ban in news.bans})

    def _remind(self, shared: RedisBans, known: Collection[str]) -> None:
        """Tell Redis at once of bans that it has lost: processes that begin later know of no others."""
        # Of too many those that end first are left out: what stands last stays.
        self._untold.extend(ban for ban in reversed(self.local.bans()) if ban.client not in known)
        self._tell(shared)

    def _tell(self, shared: RedisBans) -> None:
        while self._untold:
            ban = self._untold[0]
            left = ban.ends - self._clock.monotonic()
            if left > 0:
                shared.ban(ban.client, Terms(ban.rule, left, 1.0, left), "longest")
            _strike(self._untold, [ban])

    def _ban_here(self, client: str, terms: Terms, wider: Wider | None, mode: Mode = "once") -> list[Made]:
        with self._lock:
            return self._own.ban(client, terms, mode, wider)

    def _wider(self, client: str) -> Wider | None:
        own = self._settings
        if not own.escalate_after:
            return None
        network = self._around(client)
        return Wider(network, own.escalate_after, own.escalate_within) if network else None

    def _around(self, client: str) -> str:
        return within(client, self._settings.escalate_ipv4_prefix, self._settings.escalate_ipv6_prefix)

    def _learn(self, made: list[Made], *, told: bool = True, audited: bool = False) -> Ban:
        """Know of what was made; return the ban of the client itself."""
        self.local.put(one.ban for one in made)
        for ban in (one.ban for one in made if one.is_new):
            if not told:
                self._untold.append(ban)
            if not audited:
                now = self._clock.time()
                self.unwritten.append(Entry(ban, now, now + ban.ends - self._clock.monotonic()))
            signals.banned.send_robust(Bans, ban=ban)
        return made[0].ban

    def _unlock(self) -> None:
        self._lock = threading.Lock()

    def _begin_anew(self) -> None:
        """In a child: its parent tells of its own bans, and writes them down."""
        self._unlock()
        self._untold.clear()
        self.unwritten.clear()


def _strike(waiting: deque[Any], struck: list[Any]) -> None:
    for one in struck:
        with suppress(ValueError, IndexError):  # it was told, or written, meanwhile
            waiting.remove(one)


_all: weakref.WeakSet[Bans] = weakref.WeakSet()


def _after_fork() -> None:
    for one in _all:
        one._begin_anew()


os.register_at_fork(after_in_child=_after_fork)
