"""One client per Redis, role and process, and per event loop: made when first asked for, and closed with its loop."""

from __future__ import annotations

import asyncio
import os
import random
import weakref
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any, Literal

from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.core.redis.discovery import Discovery
from noa_perf.core.redis.errors import MissingRedis
from noa_perf.core.redis.target import RedisTarget

Role = Literal["primary", "replica"]

_ON_LOOP = "_noa_perf_redis"


class Clients:
    """The clients of one Redis in this process. Keep this, not what it returns: a forked child has others."""

    _sync: dict[int, Any]

    def __init__(self, target: RedisTarget, clock: Clock = SYSTEM) -> None:
        """Make none yet."""
        self.target = target
        self._clock = clock
        self._begin_anew()
        _all.add(self)

    def get(self, role: Role = "primary") -> Any:
        """Return the client of redis-py for this role; with several replicas, one of them by chance.

        Raises :class:`~noa_perf.core.redis.MissingRedis`; a Cluster, and it alone, is asked for its nodes here, and
        may raise what :data:`~noa_perf.core.redis.ERRORS` lists, within twice the target's ``longest_call``.
        """
        index = self._index(role)
        client = self._sync.get(index)
        if client is None:
            make = _makers().sync_client
            client = self._discovery.run(lambda: self._sync.get(index) or self._kept(index, make(self.target, index)))
        return client

    def on_loop(self, role: Role = "primary") -> Any:
        """Return the asyncio client for this role and the running event loop, which closes it when it shuts down."""
        index = self._index(role)
        found = _clients_of(asyncio.get_running_loop())
        client = found.get((self.target, index))
        if client is None:
            client = found[self.target, index] = _makers().async_client(self.target, index)
        return client

    def connection(self, role: Role = "primary", **changes: Any) -> Any:
        """Return a connection of redis-py outside every pool, not yet connected, for who listens on it.

        ``changes`` are its keyword arguments where they differ: ``protocol=3``, ``socket_timeout=None``. A Cluster
        has :meth:`connections`.
        """
        return _lone_connection(self.get(role).connection_pool, changes)

    def connections(self, **changes: Any) -> dict[str, Any]:
        """Return such a connection for each primary, by its ``host:port``."""
        if self.target.mode != "cluster":
            return {"": self.connection(**changes)}
        client = self.get()
        nodes = client.get_primaries()
        return {
            node.name: _lone_connection(client.get_redis_connection(node).connection_pool, changes) for node in nodes
        }

    def close(self) -> None:
        """Close this process's connections, those in use too; the next call makes new clients."""
        closing, self._sync = self._sync, {}
        for client in closing.values():
            _makers().close(client)

    def _index(self, role: Role) -> int:
        """Return 0 for the primary, and else which replica."""
        if role == "primary" or self.target.mode == "cluster":
            return 0
        if self.target.mode == "sentinel":
            return 1
        replicas = len(self.target.addresses) - 1
        return random.randint(1, replicas) if replicas > 1 else replicas  # noqa: S311 -- spreads load

    def _kept(self, index: int, client: Any) -> Any:
        self._sync[index] = client
        return client

    def _begin_anew(self) -> None:
        self._discovery = Discovery(self.target.longest_exchange, self._clock)
        self._sync = {}


def clients(target: RedisTarget) -> Clients:
    """Return the clients of this Redis; equal targets share them."""
    found = _registry.get(target)
    # Of two threads that come here at once, one's is kept; none has opened anything yet.
    return found if found is not None else _registry.setdefault(target, Clients(target))


def close_all() -> None:
    """Close the connections of this process, those of event loops aside."""
    for one in list(_registry.values()):
        one.close()


def _lone_connection(pool: Any, changes: Mapping[str, Any]) -> Any:
    return pool.connection_class(**{**pool.connection_kwargs, **changes})


def _clients_of(loop: asyncio.AbstractEventLoop) -> dict[Any, Any]:
    """Return the clients of a loop, which are kept on the loop itself: what is gone with it keeps nothing alive."""
    found: dict[Any, Any] | None = getattr(loop, _ON_LOOP, None)
    if found is None:
        found = {}
        closing = _closing(loop, found)
        # The first step, up to its yield, is what makes the loop know the generator: it ends the generators that it
        # knows when it shuts down, as asyncio.run and async_to_sync let it.
        step = closing.__anext__()
        with suppress(StopIteration):
            step.send(None)
        found[_closing] = closing
        setattr(loop, _ON_LOOP, found)
    return found


async def _closing(loop: asyncio.AbstractEventLoop, found: dict[Any, Any]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        if getattr(loop, _ON_LOOP, None) is found:
            delattr(loop, _ON_LOOP)
        found.pop(_closing, None)
        for client in list(found.values()):
            await _makers().aclose(client)
        found.clear()


def _makers() -> Any:
    try:
        from noa_perf.core.redis import making
    except ImportError as error:
        if (error.name or "").partition(".")[0] == "redis":
            raise MissingRedis from error
        raise
    return making


_registry: dict[RedisTarget, Clients] = {}
_all: weakref.WeakSet[Clients] = weakref.WeakSet()


def _after_fork() -> None:
    for one in list(_all):
        one._begin_anew()


os.register_at_fork(after_in_child=_after_fork)
