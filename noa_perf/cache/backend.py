"""``TieredCache``: Django's cache API, sync and async, over memory and Redis."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache, default_key_func
from django.core.exceptions import SynchronousOnlyOperation

from noa_perf.cache import options as reading
from noa_perf.cache import registry
from noa_perf.cache.exceptions import CacheError, NotCacheable
from noa_perf.cache.near import MISSING, Spot
from noa_perf.cache.redis_api import RedisMethods, reverse_key_function
from noa_perf.cache.tiers.memory import FOREVER, Space
from noa_perf.cache.tiers.wishes import Story
from noa_perf.core.clock import SYSTEM

T = TypeVar("T")

_UNREMARKABLE = re.compile(r"[^\x00-\x20\x7f]{1,250}\Z")
"""Keys of which Django's own check has nothing to say, found out at once."""
_NO_SPACE: Space = {}


class TieredCache(RedisMethods, BaseCache):
    """``CACHES = {"default": {"BACKEND": "noa_perf.cache.backend.TieredCache", "LOCATION": "redis://..."}}``.

    Without a LOCATION, or with a name that is no URL, memory is all there is. An error of Redis never leaves this
    class; a value that cannot be kept raises :class:`~noa_perf.cache.exceptions.NotCacheable`.
    """

    def __init__(self, location: Any, params: dict[str, Any]) -> None:
        """Read an entry of CACHES; opens no connection.

        What cannot be used raises when the cache is: Django makes every cache for its checks, and these are to tell.
        """
        try:
            self.alias, self.stack = registry.stack(location, params)
            self._reverse = reverse_key_function(params)
        except Exception as error:  # importing what is named runs the site's own code
            self.__dict__.pop("stack", None)
            self._unusable = error
        self._now = SYSTEM.monotonic
        self._identity: tuple[str, Any, Any] = ("", 1, default_key_func)
        super().__init__(params)

    def __getattr__(self, name: str) -> Any:
        """Raise what was wrong with the settings, where that left no stack."""
        if name == "stack":
            raise self._unusable
        raise AttributeError(name)

    # What keys are made of may be changed at any time: then all that follows from it is found out anew.

    @property
    def key_prefix(self) -> str:
        """What each key begins with."""
        return self._identity[0]

    @key_prefix.setter
    def key_prefix(self, value: str) -> None:
        self._identify(value, *self._identity[1:])

    @property
    def version(self) -> Any:
        """The version where none is named."""
        return self._identity[1]

    @version.setter
    def version(self, value: Any) -> None:
        self._identify(self._identity[0], value, self._identity[2])

    @property
    def key_func(self) -> Any:
        """What makes Redis' key out of ours."""
        return self._identity[2]

    @key_func.setter
    def key_func(self, value: Any) -> None:
        self._identify(*self._identity[:2], value)

    def _identify(self, prefix: str, version: Any, key_func: Any) -> None:
        self._identity = prefix, version, key_func
        self._pattern = reading.pattern(prefix, key_func, str(version))
        self._by_name = key_func is default_key_func and type(self).validate_key is BaseCache.validate_key
        near = self._by_name and "stack" in self.__dict__
        self._near = self.stack.memory.space((prefix, str(version))) if near else _NO_SPACE
        """Where :meth:`get` looks first, by the key as it was given."""

    def _spot(self, key: Any, version: int | None) -> Spot:
        """Return where a key lies. By the name that it was given only where that cannot be ambiguous."""
        made = self.make_key(key, version)
        prefix, _, key_func = self._identity
        space = self._space_of(prefix, version) if self._by_name and _UNREMARKABLE.match(made) else None
        if space is not None:
            return Spot(space, key if type(key) is str else str(key), made, self._pattern)
        if not (self._by_name and _UNREMARKABLE.match(made)):
            self.validate_key(made)
        return Spot(self.stack.memory.space((prefix, None, key_func)), made, made, self._pattern)

    def _space_of(self, prefix: str, version: int | None) -> Space | None:
        return self._near if version is None else self.stack.memory.own_space((prefix, str(version)))

    def _spots(self, keys: Iterable[Any], version: int | None) -> dict[Any, Spot]:
        return {key: self._spot(key, version) for key in keys}

    def get_backend_timeout(self, timeout: Any = DEFAULT_TIMEOUT) -> float | None:
        """Return a timeout in seconds, 0 where it is over, None where there is none."""
        if timeout is DEFAULT_TIMEOUT:
            timeout = self.default_timeout
        return None if timeout is None or timeout == FOREVER else max(0, timeout)

    def _seconds(self, timeout: Any) -> float | None:
        return self.stack.spread(self.get_backend_timeout(timeout))

    # Sync

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Return the value of a key, or ``default``."""
        # What most calls come to: no key is made, no lock taken, and the hit counted on the entry itself. What is no
        # plain text may be equal to one, and yet make another key.
        if version is None and type(key) is str:
            entry = self._near.get(key)
            if entry is not None:
                value, load, until, _ = entry.data
                if until > self._now():
                    entry.hits += 1
                    try:
                        return value if load is None else load(value)
                    except Exception:  # a class of the site's that cannot be unpickled
                        entry.hits -= 1  # the story below finds that out too, and tells of it
        found = self.stack.run(self.stack.read(self._spot(key, version)))
        return default if found is MISSING else found

    def set(  # type: ignore[override]
        self,
        key: Any,
        value: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        nx: bool = False,
        xx: bool = False,
    ) -> bool:
        """Store a value for ``timeout`` seconds: with ``nx`` only where the key is not there, with ``xx`` where it is.

        Tells whether it was stored; while Redis is away, whether in memory.
        """
        return self.stack.run(self._setting(self._spot(key, version), value, timeout, nx=nx, xx=xx))

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Store a value unless the key is there; tell whether it was stored."""
        return self.stack.run(self.stack.add(self._spot(key, version), value, self._seconds(timeout)))

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Give a key ``timeout`` seconds from now; tell whether it was there."""
        return self.stack.run(self.stack.touch(self._spot(key, version), self._seconds(timeout)))

    def delete(self, key: Any, version: int | None = None) -> bool:
        """Delete a key; tell whether it was there."""
        return self.stack.run(self.stack.delete(self._spot(key, version)))

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """Return the values of those keys that are there."""
        return self.stack.run(self.stack.read_many(self._spots(keys, version)))

    def set_many(
        self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[Any]:
        """Store several values; returns the keys that did not arrive in Redis (memory has them for a while)."""
        return self.stack.run(self.stack.write_many(self._items(data, version), self._seconds(timeout)))

    def delete_many(self, keys: Iterable[Any], version: int | None = None) -> int | None:  # type: ignore[override]
        """Delete several keys; returns how many were there, or None where none was named (as Django has it)."""
        spots = self._spots(keys, version)
        return self.stack.run(self.stack.delete_many(spots.values())) if spots else None

    def has_key(self, key: Any, version: int | None = None) -> bool:
        """Tell whether a key is there."""
        return self.stack.run(self.stack.has(self._spot(key, version)))

    def incr(self, key: Any, delta: Any = 1, version: int | None = None, ignore_key_check: bool = False) -> Any:
        """Add to a number, and return the sum.

        Raises ValueError where there is no such key; with ``ignore_key_check`` it is made of 0, and lives for ever.
        """
        return self._sum(key, self.stack.run(self._adding(self._spot(key, version), delta, ignore_key_check)))

    def clear(self) -> None:
        """Forget every key with this KEY_PREFIX, of any version, and none of anybody else's."""
        self.stack.run(self._clearing())

    # Async

    async def aget(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Return the value of a key, or ``default``."""
        if version is None and type(key) is str:
            entry = self._near.get(key)
            if entry is not None:
                value, load, until, _ = entry.data
                if until > self._now():
                    entry.hits += 1
                    try:
                        return value if load is None else load(value)
                    except Exception:  # a class of the site's that cannot be unpickled
                        entry.hits -= 1  # the story below finds that out too, and tells of it
        found = await self.stack.arun(self.stack.read(self._spot(key, version)))
        return default if found is MISSING else found

    async def aset(  # type: ignore[override]
        self,
        key: Any,
        value: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        *,
        nx: bool = False,
        xx: bool = False,
    ) -> bool:
        """Do as :meth:`set` does."""
        return await self._storing(lambda: self._setting(self._spot(key, version), value, timeout, nx=nx, xx=xx), value)

    async def aadd(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Store a value unless the key is there; tell whether it was stored."""
        return await self._storing(
            lambda: self.stack.add(self._spot(key, version), value, self._seconds(timeout)), value
        )

    async def atouch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Give a key ``timeout`` seconds from now; tell whether it was there."""
        return await self.stack.arun(self.stack.touch(self._spot(key, version), self._seconds(timeout)))

    async def adelete(self, key: Any, version: int | None = None) -> bool:
        """Delete a key; tell whether it was there."""
        return await self.stack.arun(self.stack.delete(self._spot(key, version)))

    async def aget_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """Return the values of those keys that are there."""
        return await self.stack.arun(self.stack.read_many(self._spots(keys, version)))

    async def aset_many(
        self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[Any]:
        """Store several values; returns the keys that did not arrive in Redis (memory has them for a while)."""
        return await self._storing(
            lambda: self.stack.write_many(self._items(data, version), self._seconds(timeout)), list(data.values())
        )

    async def adelete_many(  # type: ignore[override]
        self, keys: Iterable[Any], version: int | None = None
    ) -> int | None:
        """Delete several keys; returns how many were there, or None where none was named (as Django has it)."""
        spots = self._spots(keys, version)
        return await self.stack.arun(self.stack.delete_many(spots.values())) if spots else None

    async def ahas_key(self, key: Any, version: int | None = None) -> bool:
        """Tell whether a key is there."""
        return await self.stack.arun(self.stack.has(self._spot(key, version)))

    async def aincr(self, key: Any, delta: Any = 1, version: int | None = None, ignore_key_check: bool = False) -> Any:
        """Do as :meth:`incr` does."""
        return self._sum(key, await self.stack.arun(self._adding(self._spot(key, version), delta, ignore_key_check)))

    async def aclear(self) -> None:
        """Forget every key with this KEY_PREFIX, of any version, and none of anybody else's."""
        await self.stack.arun(self._clearing())

    async def aclose(self, **kwargs: Any) -> None:
        """Close nothing, as :meth:`close`: connections are kept for the next request, and go with process or loop."""

    async def _storing(self, begin: Callable[[], Story[T]], value: Any) -> T:
        """Run a story that stores ``value``; where querysets in it are still to be fetched, once more with their rows.

        Pickling fetches them, which an event loop does not allow; a thread does.
        """
        try:
            return await self.stack.arun(begin())
        except NotCacheable as error:
            if not isinstance(error.__cause__, SynchronousOnlyOperation):
                raise
        await sync_to_async(pickle.dumps)(value)
        return await self.stack.arun(begin())

    # What they are made of

    def _items(self, data: Mapping[Any, Any], version: int | None) -> dict[Any, tuple[Spot, Any]]:
        return {key: (self._spot(key, version), value) for key, value in data.items()}

    def _setting(self, spot: Spot, value: Any, timeout: Any, *, nx: bool, xx: bool) -> Story[bool]:
        seconds = self._seconds(timeout)
        if nx:
            return False if xx else (yield from self.stack.add(spot, value, seconds))
        if xx:
            return (yield from self.stack.replace(spot, value, seconds))
        yield from self.stack.write(spot, value, seconds)
        return True

    def _adding(self, spot: Spot, delta: Any, ignore_key_check: bool) -> Story[Any]:
        return self.stack.count(spot, delta) if ignore_key_check else self.stack.increase(spot, delta)

    def _clearing(self) -> Any:
        prefix = self.key_prefix
        if self.stack.link is not None and not self._pattern:
            raise CacheError(
                f"CACHES[{self.alias!r}] cannot tell which keys of Redis are its own: its KEY_FUNCTION leaves no trace "
                "of KEY_PREFIX in them. Use Django's own KEY_FUNCTION, or change VERSION instead of clearing."
            )
        return self.stack.clear(lambda name: name[0] == prefix, self._pattern)

    @staticmethod
    def _sum(key: Any, found: Any) -> Any:
        if found is MISSING:
            raise ValueError(f"Key '{key}' not found")
        return found
