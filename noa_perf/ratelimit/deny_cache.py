"""The bans that one process knows: looked up in a microsecond, and nobody is asked."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable
from typing import NamedTuple

from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.ratelimit.addresses import Address
from noa_perf.ratelimit.clients import Client

LIMIT = 100_000
"""Bans that a process knows at most, and Redis too; of more, those that end first are forgotten."""


class Ban(NamedTuple):
    """One that is in force."""

    client: str
    """``ip:203.0.113.7``, ``ip:203.0.113.0/24``, ``user:17``, ``key:<hash>``."""
    rule: str
    """The name of the rule, ``manual`` for one that a person made."""
    tier: int
    """How many there have been of late, this one included."""
    ends: float
    """Seconds on the process's monotonic clock."""


class DenyCache:
    """Bans by client, and by network for those of addresses. Readers take no lock."""

    def __init__(self, clock: Clock = SYSTEM, limit: int = LIMIT) -> None:
        """Know of nobody."""
        self._clock = clock
        self._limit = limit
        self._bans: dict[str, Ban] = {}
        self._tables: dict[int, dict[int, dict[int, Ban]]] = {4: {}, 6: {}}
        self._kinds = {"network": 0, "user": 0, "key": 0}
        self._unlock()
        _all.add(self)

    def __len__(self) -> int:
        return len(self._bans)

    def knows(self, kind: str) -> bool:
        """Tell whether anybody of this kind is banned: whether it is worth while to find out who is there."""
        return self._kinds[kind] > 0

    def of_address(self, address: Address) -> Ban | None:
        """Return the ban of an address, or of a network in which it lies."""
        tables = self._tables[address.version]
        if not tables:
            return None
        number = int(address)
        now = self._clock.monotonic()
        for shift, table in tuple(tables.items()):
            ban = table.get(number >> shift)
            if ban is not None and ban.ends > now:
                return ban
        return None

    def of(self, client: str) -> Ban | None:
        """Return the ban of exactly this client."""
        ban = self._bans.get(client)
        return ban if ban is not None and ban.ends > self._clock.monotonic() else None

    def put(self, bans: Iterable[Ban]) -> None:
        """Know of these, whatever was known of the same clients."""
        with self._lock:
            for ban in bans:
                self._take(ban.client)
                self._add(ban)
            if len(self._bans) > self._limit:
                # A tenth more, so that not each further one sorts them all.
                spare = len(self._bans) - self._limit + self._limit // 10
                for ban in sorted(self._bans.values(), key=lambda one: one.ends)[:spare]:
                    self._take(ban.client)

    def drop(self, clients: Iterable[str]) -> None:
        """Forget these."""
        with self._lock:
            for client in clients:
                self._take(client)

    def keep(self, clients: Iterable[str]) -> None:
        """Forget all but these."""
        self.drop(set(self._bans) - set(clients))

    def tidy(self) -> None:
        """Forget those that are over."""
        now = self._clock.monotonic()
        self.drop([ban.client for ban in tuple(self._bans.values()) if ban.ends <= now])

    def bans(self) -> list[Ban]:
        """Return those in force, the last to end first."""
        now = self._clock.monotonic()
        return sorted((ban for ban in tuple(self._bans.values()) if ban.ends > now), key=lambda ban: -ban.ends)

    def _add(self, ban: Ban) -> None:
        client = Client.parse(ban.client)
        if network := client.network:
            address, bits = network
            shift = address.max_prefixlen - bits
            self._tables[address.version].setdefault(shift, {})[int(address) >> shift] = ban
        self._bans[ban.client] = ban
        self._kinds[client.kind] += 1

    def _take(self, text: str) -> None:
        if self._bans.pop(text, None) is None:
            return
        client = Client.parse(text)
        self._kinds[client.kind] -= 1
        if network := client.network:
            address, bits = network
            shift = address.max_prefixlen - bits
            table = self._tables[address.version][shift]
            table.pop(int(address) >> shift, None)
            if not table:
                del self._tables[address.version][shift]

    def _unlock(self) -> None:
        self._lock = threading.Lock()


_all: weakref.WeakSet[DenyCache] = weakref.WeakSet()


def _after_fork() -> None:
    for one in _all:
        one._unlock()


os.register_at_fork(after_in_child=_after_fork)
