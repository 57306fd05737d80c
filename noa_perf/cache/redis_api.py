"""What django-redis adds to Django's cache API, on :class:`~noa_perf.cache.backend.TieredCache`; with async twins.

All of it works in memory alone too, and none of it raises because Redis is away: each method says what it returns then.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, default_key_func, get_key_func

from noa_perf.cache.extras import Area, Place, RedisStack, Room
from noa_perf.cache.locks import AsyncLock, Lock
from noa_perf.cache.patterns import escaped
from noa_perf.cache.tiers.wishes import SCANNED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django.core.cache.backends.base import BaseCache

    from noa_perf.cache.near import Spot

    Base = BaseCache
else:
    Base = object

Seconds = float | dt.timedelta | None
START: Place = (0, 0)


def reverse_key_function(params: Mapping[str, Any]) -> Callable[[str], str] | None:
    """Return REVERSE_KEY_FUNCTION, which stands beside KEY_FUNCTION or in OPTIONS. Raises ImportError."""
    options = params.get("OPTIONS") or {}
    named = params.get("REVERSE_KEY_FUNCTION") or options.get("REVERSE_KEY_FUNCTION")
    return get_key_func(named) if named else None


class RedisMethods(Base):
    """The methods; their host has Django's own, a stack, and knows where a key lies."""

    stack: RedisStack
    _reverse: Callable[[str], str] | None

    if TYPE_CHECKING:

        def _spot(self, key: Any, version: int | None) -> Spot: ...

    # Time to live

    def ttl(self, key: Any, version: int | None = None) -> int | None:
        """Return a key's seconds to live, as Redis rounds them: None for ever, 0 where there is no such key.

        While Redis is away that is what memory knows; of a value that was read from Redis it knows no end.
        """
        return _seconds(self.pttl(key, version))

    def pttl(self, key: Any, version: int | None = None) -> int | None:
        """Return the same in milliseconds."""
        return self.stack.run(self.stack.time_left(self._spot(key, version)))

    def persist(self, key: Any, version: int | None = None) -> bool:
        """Let a key live for ever; tell whether it had an end before (while Redis is away, in memory)."""
        return self.stack.run(self.stack.persist(self._spot(key, version)))

    def expire(self, key: Any, timeout: Seconds = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Let a key live ``timeout`` seconds from now; tell whether it was there (while Redis is away, in memory)."""
        return self.stack.run(self.stack.touch(self._spot(key, version), self._lasting(timeout)))

    def pexpire(self, key: Any, timeout: Seconds = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Do the same in milliseconds."""
        return self.stack.run(self.stack.touch(self._spot(key, version), self._lasting(timeout, 1000)))

    def expire_at(self, key: Any, when: float | dt.datetime, version: int | None = None) -> bool:
        """Let a key live until ``when``, a moment or seconds since 1970; tell whether it was there, likewise."""
        return self.stack.run(self.stack.expire_at(self._spot(key, version), _moment(when)))

    def pexpire_at(self, key: Any, when: float | dt.datetime, version: int | None = None) -> bool:
        """Do the same in milliseconds."""
        return self.stack.run(self.stack.expire_at(self._spot(key, version), _moment(when, 1000)))

    # Patterns

    def keys(self, search: str, version: int | None = None) -> list[Any]:
        """Return the keys that match a pattern (``*``, ``?``, ``[a-z]``); the server is asked step by step.

        While Redis is away, those in memory.
        """
        return list(dict.fromkeys(self.iter_keys(search, version=version)))

    def iter_keys(self, search: str, itersize: int | None = None, version: int | None = None) -> Iterator[Any]:
        """Yield the keys that match, looking at ``itersize`` at a time; one may come twice, as SCAN has it.

        While Redis is away, those in memory.
        """
        area, place = self._area(search, version), START
        while place is not None:
            names, place = self.stack.run(self.stack.names(area, place, itersize or SCANNED))
            yield from names

    def delete_pattern(
        self, pattern: str, version: int | None = None, prefix: str | None = None, itersize: int | None = None
    ) -> int:
        """Delete the keys that match; returns how many.

        While Redis is away they are deleted later, before anything older is believed, and memory's are counted.
        """
        area = self._area(pattern, version, prefix)
        return self.stack.run(self.stack.delete_matching(area, itersize or SCANNED))

    # Locks

    def lock(
        self,
        key: Any,
        version: int | None = None,
        timeout: float | None = None,
        sleep: float = 0.1,
        blocking: bool = True,
        blocking_timeout: float | None = None,
        thread_local: bool = True,
    ) -> Lock:
        """Return a lock, not yet taken; ``with`` takes it, and raises LockNotTaken where that is not done in time.

        Give it a ``timeout`` in seconds: without one, a process that dies with the lock holds it for ever.
        While Redis is away it holds among the threads and tasks of this process: that is counted, and logged once.
        """
        return Lock(
            self.stack,
            self.make_key(key, version),
            timeout=timeout,
            sleep=sleep,
            blocking=blocking,
            blocking_timeout=blocking_timeout,
            thread_local=thread_local,
        )

    get_lock = lock
    """As django-valkey calls it."""

    def alock(
        self,
        key: Any,
        version: int | None = None,
        timeout: float | None = None,
        sleep: float = 0.1,
        blocking: bool = True,
        blocking_timeout: float | None = None,
        thread_local: bool = True,
    ) -> AsyncLock:
        """Return the same for ``async with``; this itself is not awaited."""
        return AsyncLock(
            self.stack,
            self.make_key(key, version),
            timeout=timeout,
            sleep=sleep,
            blocking=blocking,
            blocking_timeout=blocking_timeout,
            thread_local=thread_local,
        )

    # Async

    async def attl(self, key: Any, version: int | None = None) -> int | None:
        """Do as :meth:`ttl` does."""
        return _seconds(await self.apttl(key, version))

    async def apttl(self, key: Any, version: int | None = None) -> int | None:
        """Do as :meth:`pttl` does."""
        return await self.stack.arun(self.stack.time_left(self._spot(key, version)))

    async def apersist(self, key: Any, version: int | None = None) -> bool:
        """Do as :meth:`persist` does."""
        return await self.stack.arun(self.stack.persist(self._spot(key, version)))

    async def aexpire(self, key: Any, timeout: Seconds = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Do as :meth:`expire` does."""
        return await self.stack.arun(self.stack.touch(self._spot(key, version), self._lasting(timeout)))

    async def apexpire(self, key: Any, timeout: Seconds = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Do as :meth:`pexpire` does."""
        return await self.stack.arun(self.stack.touch(self._spot(key, version), self._lasting(timeout, 1000)))

    async def aexpire_at(self, key: Any, when: float | dt.datetime, version: int | None = None) -> bool:
        """Do as :meth:`expire_at` does."""
        return await self.stack.arun(self.stack.expire_at(self._spot(key, version), _moment(when)))

    async def apexpire_at(self, key: Any, when: float | dt.datetime, version: int | None = None) -> bool:
        """Do as :meth:`pexpire_at` does."""
        return await self.stack.arun(self.stack.expire_at(self._spot(key, version), _moment(when, 1000)))

    async def akeys(self, search: str, version: int | None = None) -> list[Any]:
        """Do as :meth:`keys` does."""
        return list(dict.fromkeys([name async for name in self.aiter_keys(search, version=version)]))

    async def aiter_keys(
        self, search: str, itersize: int | None = None, version: int | None = None
    ) -> AsyncIterator[Any]:
        """Do as :meth:`iter_keys` does."""
        area, place = self._area(search, version), START
        while place is not None:
            names, place = await self.stack.arun(self.stack.names(area, place, itersize or SCANNED))
            for name in names:
                yield name

    async def adelete_pattern(
        self, pattern: str, version: int | None = None, prefix: str | None = None, itersize: int | None = None
    ) -> int:
        """Do as :meth:`delete_pattern` does."""
        area = self._area(pattern, version, prefix)
        return await self.stack.arun(self.stack.delete_matching(area, itersize or SCANNED))

    # What they are made of

    def _lasting(self, timeout: Any, per_second: int = 1) -> float | None:
        if timeout is DEFAULT_TIMEOUT:
            return self.get_backend_timeout()
        if isinstance(timeout, dt.timedelta):
            return timeout.total_seconds()
        return None if timeout is None else timeout / per_second

    def _area(self, search: str, version: int | None, prefix: str | None = None) -> Area:
        prefix = self.key_prefix if prefix is None else prefix
        version = self.version if version is None else version
        make = self.key_func
        rooms = (
            Room(self.stack.memory.space((prefix, str(version))), lambda name: str(make(name, prefix, version))),
            Room(self.stack.memory.space((prefix, None, make)), lambda name: name),
        )
        return Area(rooms, str(make(search, escaped(prefix), escaped(str(version)))), self._shown(prefix))

    def _shown(self, prefix: str) -> Callable[[str], str]:
        if self._reverse is not None:
            return self._reverse
        start = len(prefix) + 1 if self.key_func is default_key_func else 0

        def shown(key: str) -> str:
            # Django's keys are prefix:version:key; a KEY_FUNCTION of the site's own may say otherwise.
            parts = key[start:].split(":", 1 if start else 2)
            return parts[-1] if len(parts) == (2 if start else 3) else key

        return shown


def _seconds(milliseconds: int | None) -> int | None:
    return None if milliseconds is None else (milliseconds + 500) // 1000


def _moment(when: float | dt.datetime, per_second: int = 1) -> float:
    return when.timestamp() if isinstance(when, dt.datetime) else when / per_second
