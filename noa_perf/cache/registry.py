"""The caches of this process: one stack for each location and set of options, shared by threads, tasks and aliases."""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

from django.conf import settings

from noa_perf.cache import options as reading
from noa_perf.cache.codecs.codec import Codec
from noa_perf.cache.exceptions import CacheError
from noa_perf.cache.extras import RedisStack
from noa_perf.cache.options import CacheOptions
from noa_perf.cache.tiers.link import Link
from noa_perf.cache.tiers.memory import Bounds, Memory
from noa_perf.core import conf, redis

BACKEND = "noa_perf.cache.backend.TieredCache"

_lock = threading.RLock()
_stacks: dict[Hashable, RedisStack] = {}
_links: dict[Hashable, Link] = {}
_known: dict[str, tuple[Mapping[str, Any], bool, RedisStack]] = {}
"""By alias: the entry of CACHES as it was read, whether the app was on, and what came of it."""


def entry_of(location: Any, params: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | None]:
    """Return the alias and the entry of CACHES that a backend was made from: Django does not tell it."""
    for alias, entry in settings.CACHES.items():
        rest = len(entry) - sum(name in entry for name in ("BACKEND", "LOCATION"))
        same = rest == len(params) and all(entry.get(name) == value for name, value in params.items())
        if same and entry.get("LOCATION", "") == location:
            return str(alias), entry
    return "default", None


def aliases() -> list[str]:
    """Return the aliases whose backend this is."""
    return [alias for alias, entry in settings.CACHES.items() if entry.get("BACKEND") == BACKEND]


def clients(alias: str = "default") -> redis.Clients:
    """Return the clients of redis-py for the Redis of a cache: ``clients().get().hgetall("k")``; on a loop ``on_loop``.

    They share the cache's connections and its timeouts, and raise what redis-py raises. Raises CacheError where memory
    is all there is.
    """
    entry = settings.CACHES[alias]
    location = entry.get("LOCATION", "")
    if not is_redis(location):
        raise CacheError(f"CACHES[{alias!r}] has no Redis: its LOCATION is no URL.")
    return redis.clients(redis.parse(location, reading.of_redis(entry), setting=f"CACHES[{alias!r}]"))


def stacks() -> list[RedisStack]:
    """Return every stack of this process."""
    with _lock:
        return list(_stacks.values())


def stack(location: Any, params: Mapping[str, Any]) -> tuple[str, RedisStack]:
    """Return the alias and the stack of an entry of CACHES, made when it is first asked for.

    Raises :class:`~noa_perf.core.redis.RedisSettingsError` where LOCATION or OPTIONS cannot be used, and
    :class:`~noa_perf.core.redis.MissingRedis` where redis-py is not installed.
    """
    alias, entry = entry_of(location, params)
    enabled = conf.enabled("CACHE")
    known = _known.get(alias)
    # Each thread and each async request makes backends of its own: what the settings mean is read once.
    if entry is not None and known is not None and known[0] is entry and known[1] == enabled:
        return alias, known[2]
    found = _stack(alias, location, params, enabled)
    if entry is not None:
        _known[alias] = entry, enabled, found
    return alias, found


def _stack(alias: str, location: Any, params: Mapping[str, Any], enabled: bool) -> RedisStack:
    setting = f"CACHES[{alias!r}]"
    own = reading.parse(params, setting)
    if not enabled:
        own = replace(own, staleness=0.0, stale_when_down=0.0)
    target = redis.parse(location, reading.of_redis(params), setting=setting) if is_redis(location) else None
    if target is not None and not redis.ERRORS:
        raise redis.MissingRedis
    identity = (target if target is not None else str(location), own)
    with _lock:
        found = _stacks.get(identity)
        if found is None:
            found = _stacks[identity] = _made(alias, own, target, params)
        return found


def serving() -> list[RedisStack]:
    """Return the stacks of the aliases as CACHES names them now, of those that were used."""
    return [found for alias, (entry, _, found) in list(_known.items()) if settings.CACHES.get(alias) is entry]


def is_redis(location: Any) -> bool:
    """Tell whether a LOCATION means a Redis, and not just a name for a place in memory."""
    first = location[0] if isinstance(location, (list, tuple)) and location else location
    return isinstance(first, str) and "://" in first


def _made(alias: str, own: CacheOptions, target: redis.RedisTarget | None, params: Mapping[str, Any]) -> RedisStack:
    bounds = Bounds(max_entries=own.max_entries, max_bytes=own.max_bytes, evict=own.evict)
    serializer = reading.custom_serializer(own.serializer, reading.options_of(params)) if own.serializer else None
    codec = Codec(
        alias,
        own.codec,
        compress=own.compress,
        compress_from=own.compress_from,
        max_bytes=own.max_value_bytes,
        trust_pickles=own.trust_pickles,
        sign=own.sign,
        custom=serializer,
    )
    return RedisStack(alias, own, Memory(bounds), None if target is None else _link(alias, own, target), codec)


def _link(alias: str, own: CacheOptions, target: redis.RedisTarget) -> Link:
    """Return the one way to a Redis: aliases that lead to the same one learn together that it is away."""
    identity = (target, own.budget, own.breaker)
    found = _links.get(identity)
    if found is None:
        found = _links[identity] = Link(target, limit=own.budget, policy=own.breaker, alias=alias)
    return found


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()  # a thread that the child has not may have held it
    for one in list(_stacks.values()):
        one.forget_counts()


os.register_at_fork(after_in_child=_after_fork)
