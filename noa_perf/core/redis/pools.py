"""Pools of connections: bounded, waiting for a bounded time, fork-safe, and never with a reply left unread."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import weakref
from collections.abc import Iterable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from redis import exceptions
from redis.asyncio.connection import ConnectionPool as AsyncConnectionPool
from redis.asyncio.sentinel import SentinelConnectionPool as AsyncSentinelConnectionPool
from redis.connection import ConnectionPool
from redis.sentinel import SentinelConnectionPool

from noa_perf.core.redis.errors import is_astray

if TYPE_CHECKING:
    _Base = ConnectionPool
    _AsyncBase = AsyncConnectionPool
else:
    _Base = _AsyncBase = object


class PoolBusy(getattr(exceptions, "MaxConnectionsError", exceptions.ConnectionError)):  # type: ignore[misc]
    """All connections that the pool may hold stayed in use for as long as a caller may wait."""

    kind = "timeout"

    def __init__(self, limit: int, wait: float | None) -> None:
        """Name the numbers, and the setting."""
        super().__init__(f"All {limit} connections to Redis were in use for {wait} s; raise max_connections.")


class _Bounded(_Base):
    """What our pools do in another way than redis-py's, whose place in the class hierarchy is after this.

    At most ``max_connections`` are in use at a time. redis-py gives a connection back also when an exception (a
    keyboard interrupt, a task's time limit) came between sending and reading; the next user would read the other's
    reply. So a connection that comes back with an exception is closed.
    """

    _room: SimpleQueue[None]

    def __init__(self, *args: Any, wait: float | None, **kwargs: Any) -> None:
        """Add ``wait``, the seconds for which a caller waits for a connection, to the arguments of redis-py's pool."""
        self._wait = wait
        super().__init__(*args, **kwargs)
        _pools.add(self)

    def reset(self) -> None:
        """Begin with no connections."""
        super().reset()
        self._room = SimpleQueue()
        for _ in range(self.max_connections):
            self._room.put(None)

    def take(self) -> Any:
        """Return a connection as it is: perhaps not connected, perhaps closed by the server."""
        try:
            self._room.get_nowait()
        except Empty:
            self._wait_for_room()
        try:
            connection = self._available_connections.pop()
        except IndexError:
            connection = self.make_connection()
        self._in_use_connections.add(connection)
        return connection

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """Return a connection that was open a moment ago, with nothing to read on it."""
        connection = self.take()
        try:
            connection.connect()
            if self._has_something(connection):
                connection.disconnect()
                connection.connect()
        except BaseException:
            self.release(connection)
            raise
        connection.noa_perf_error = id(sys.exception())
        return connection

    def release(self, connection: Any) -> None:
        """Take a connection back; close it where an exception ends its use."""
        error = sys.exception()
        # The caller may be handling an error of its own all the while.
        if error is None or id(error) == getattr(connection, "noa_perf_error", None):
            self.give(connection)
        elif is_astray(error):
            self.leave(connection)
        elif _unread(error):
            self.drop(connection)
        else:
            self.give(connection)

    def leave(self, connection: Any) -> None:
        """Close a connection to a server that is not the one to talk to, and all that are idle."""
        self.drop(connection)
        self.disconnect_free_connections()

    def give(self, connection: Any) -> None:
        """Take a connection back that has no reply to come."""
        if _stale(connection) or not self.owns_connection(connection):
            self.drop(connection)
            return
        try:
            self._in_use_connections.remove(connection)
        except KeyError:  # given back before, or the parent process's
            return
        self._available_connections.append(connection)
        self._room.put(None)

    def drop(self, connection: Any) -> None:
        """Close a connection, and let another one take its place."""
        try:
            self._in_use_connections.remove(connection)
        except KeyError:
            return
        self._room.put(None)
        connection.disconnect()

    def make_connection(self) -> Any:
        """Return a new connection, not yet connected; there is room for it."""
        try:
            return self.connection_class(**self.connection_kwargs)
        except BaseException:
            self._room.put(None)
            raise

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close what is idle, and, with ``inuse_connections``, what others use."""
        self.disconnect_free_connections()
        for connection in self._get_in_use_connections() if inuse_connections else ():
            connection.disconnect()

    def disconnect_free_connections(self, moving_address_src: str | None = None) -> None:
        """Close what is idle; nobody can have taken it meanwhile."""
        for connection in _emptied(self._available_connections):
            connection.disconnect()

    def _get_free_connections(self) -> Any:
        return tuple(self._available_connections)

    def _get_in_use_connections(self) -> Any:
        return tuple(self._in_use_connections)

    def _wait_for_room(self) -> None:
        try:
            self._room.get(timeout=self._wait)
        except Empty:
            raise PoolBusy(self.max_connections, self._wait) from None

    @staticmethod
    def _has_something(connection: Any) -> bool:
        # Something to read before anything was asked is the server's farewell.
        try:
            return bool(connection.can_read())
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError):
            return True

    def _begin_anew(self) -> None:
        # The parent's threads are not here to release what they held.
        self._lock = threading.RLock()
        self._fork_lock: Any = threading.Lock()
        self.reset()


class Pool(_Bounded, ConnectionPool):
    """Connections to one server."""


class SentinelPool(_Bounded, SentinelConnectionPool):
    """Connections to the primary, or to the replicas, that the Sentinels name."""


class _AsyncBounded(_AsyncBase):
    """The same for one event loop."""

    def __init__(self, *args: Any, wait: float | None, **kwargs: Any) -> None:
        """Add ``wait``, the seconds for which a caller waits for a connection, to the arguments of redis-py's pool."""
        super().__init__(*args, **kwargs)
        self._wait = wait
        self._room = asyncio.Semaphore(self.max_connections)

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """Return a connection that was open a moment ago, with nothing to read on it."""
        await self._wait_for_room()
        try:
            connection: Any = self.get_available_connection()  # type: ignore[no-untyped-call]
        except BaseException:
            self._room.release()
            raise
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        connection.noa_perf_error = id(sys.exception())
        return connection

    async def release(self, connection: Any) -> None:
        """Take a connection back; close it where an exception ends its use."""
        if connection not in self._in_use_connections:
            return
        error = sys.exception()
        if id(error) == getattr(connection, "noa_perf_error", None):
            error = None
        self._in_use_connections.discard(connection)
        try:
            if (error is not None and (_unread(error) or is_astray(error))) or _stale(connection):
                await connection.disconnect(nowait=True)
            if is_astray(error):
                await self.leave()
            self._available_connections.append(connection)
        finally:
            self._room.release()

    async def leave(self) -> None:
        """Close all connections that are idle: they lead to a server that is not the one to talk to."""
        for connection in list(self._available_connections):
            await connection.disconnect(nowait=True)

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close what is idle, and, with ``inuse_connections``, what others use."""
        connections = _emptied(self._available_connections)
        if inuse_connections:
            connections = [*connections, *self._in_use_connections]
        for connection in connections:
            await connection.disconnect()

    async def _wait_for_room(self) -> None:
        if not self._room.locked():
            await self._room.acquire()
            return
        try:
            async with asyncio.timeout(self._wait):
                await self._room.acquire()
        except TimeoutError:
            raise PoolBusy(self.max_connections, self._wait) from None


class AsyncPool(_AsyncBounded, AsyncConnectionPool):
    """Connections of one event loop to one server."""


class AsyncSentinelPool(_AsyncBounded, AsyncSentinelConnectionPool):
    """Connections of one event loop to the primary, or to the replicas, that the Sentinels name."""


def _unread(error: BaseException) -> bool:
    """Tell whether a reply may be to come: what the server itself said is a reply that was read."""
    return not isinstance(error, exceptions.ResponseError)


def _stale(connection: Any) -> bool:
    """Tell whether redis-py wants the connection made anew; its older versions never do."""
    should_reconnect = getattr(connection, "should_reconnect", None)
    return should_reconnect is not None and bool(should_reconnect())


def _emptied(connections: list[Any]) -> Iterable[Any]:
    taken = []
    while connections:
        try:
            taken.append(connections.pop())
        except IndexError:
            break
    return taken


_pools: weakref.WeakSet[_Bounded] = weakref.WeakSet()


def _after_fork() -> None:
    for pool in list(_pools):
        pool._begin_anew()


os.register_at_fork(after_in_child=_after_fork)
