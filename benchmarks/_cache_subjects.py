"""The caches that are measured, each set up as its own documentation says, as objects with get and set."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

Get = Callable[[str], Any]
Set = Callable[[str, Any], Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """One cache under test."""

    name: str
    package: str
    make: Callable[[str], tuple[Get, Set]]
    """Given a Redis' URL (or nothing), returns what reads a key and what writes one."""
    redis: bool = False
    """Whether it reads from Redis."""
    memory: bool = False
    """Whether a hit is answered from this process's memory."""

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name} {version(self.package)}"

    @property
    def installed(self) -> bool:
        """Whether its package is here."""
        try:
            version(self.package)
        except PackageNotFoundError:
            return False
        return True


def django_cache(backend: str, location: str, options: dict[str, Any] | None = None) -> Any:
    """Return ``caches["default"]`` of a Django set up with this backend."""
    import django
    from django.conf import settings

    entry: dict[str, Any] = {"BACKEND": backend, "LOCATION": location, "TIMEOUT": 3_600}
    if options:
        entry["OPTIONS"] = options
    settings.configure(SECRET_KEY="benchmark", CACHES={"default": entry}, INSTALLED_APPS=[])
    django.setup()
    from django.core.cache import caches

    return caches["default"]


def _django(backend: str, options: dict[str, Any] | None = None) -> Callable[[str], tuple[Get, Set]]:
    def make(url: str) -> tuple[Get, Set]:
        cache = django_cache(backend, url, options)
        return cache.get, cache.set

    return make


def _redis_py(url: str) -> tuple[Get, Set]:
    import redis

    client = redis.Redis.from_url(url)
    return client.get, client.set


def _cashews(url: str) -> tuple[Get, Set]:
    from cashews import cache

    loop = asyncio.new_event_loop()
    cache.setup(url or "mem://", **({} if url else {"size": 200_000}))
    run = loop.run_until_complete

    def get(key: str) -> Any:
        return run(cache.get(key))

    # An event loop's own cost is no cache's: the worker measures many calls in one coroutine.
    get.many = lambda keys: run(_all(cache.get, keys))  # type: ignore[attr-defined]
    return get, lambda key, value: run(cache.set(key, value, expire=3_600))


async def _all(get: Callable[[str], Any], keys: list[str]) -> None:
    for key in keys:
        await get(key)


def _diskcache(url: str) -> tuple[Get, Set]:
    import diskcache

    cache = diskcache.Cache(tempfile.mkdtemp(prefix="noa-perf-benchmark-"))
    return cache.get, cache.set


def _cachebox(url: str) -> tuple[Get, Set]:
    import cachebox

    cache = cachebox.LFUCache(200_000)
    return cache.get, cache.__setitem__


def _theine(url: str) -> tuple[Get, Set]:
    import theine

    cache = theine.Cache(200_000)
    return lambda key: cache.get(key)[0], cache.set


OURS = "noa_perf.cache.backend.TieredCache"
ROOMY = {"max_entries": 200_000, "max_bytes": "1GiB"}

SUBJECTS = (
    Subject("noa_perf", "noa_perf", _django(OURS, {"memory": {**ROOMY, "staleness": 3_600.0}}), memory=True),
    Subject(
        "noa_perf, shared",
        "noa_perf",
        _django(OURS, {"memory": {**ROOMY, "staleness": 3_600.0, "isolation": "shared"}}),
        memory=True,
    ),
    Subject("noa_perf, Redis read", "noa_perf", _django(OURS, {"memory": None}), redis=True),
    Subject(
        "Django LocMemCache",
        "Django",
        _django("django.core.cache.backends.locmem.LocMemCache", {"MAX_ENTRIES": 200_000}),
        memory=True,
    ),
    Subject("cachebox LFUCache", "cachebox", _cachebox, memory=True),
    Subject("theine", "theine", _theine, memory=True),
    Subject("cashews, memory", "cashews", lambda url: _cashews(""), memory=True),
    Subject("diskcache", "diskcache", _diskcache, memory=True),
    Subject("redis-py, bare", "redis", _redis_py, redis=True),
    Subject("Django RedisCache", "Django", _django("django.core.cache.backends.redis.RedisCache"), redis=True),
    Subject("django-redis", "django-redis", _django("django_redis.cache.RedisCache"), redis=True),
    Subject("django-valkey", "django-valkey", _django("django_valkey.cache.ValkeyCache"), redis=True),
    Subject("cashews, Redis", "cashews", _cashews, redis=True),
)
