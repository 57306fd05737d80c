"""Storages for tests: each on a real server."""

from __future__ import annotations

import itertools
import logging

from noa_perf.core.breaker import BreakerPolicy
from noa_perf.core.redis import Guard, parse
from noa_perf.ratelimit.storages.redis import RedisStorage

BREAKER = BreakerPolicy(failures=3, cooldown=0.05, max_cooldown=0.1, slow_seconds=float("inf"))
_prefixes = itertools.count()


def guard_to(location, timeout=0.25, **options):
    """Return a guard of what a LOCATION leads to."""
    target = parse(location, options, setting="STORAGE").waiting(timeout)
    return Guard(
        target,
        breaker=BREAKER,
        logger=logging.getLogger("noa_perf.ratelimit"),
        what="Redis of the rate limits",
        setting="STORAGE",
        consequence="Policies decide.",
    )


def guard_of(server, **more):
    """Return a guard of a running server."""
    location = server.location if hasattr(server, "location") else server.urls()["primary"]
    return guard_to(location, **more)


def storage_of(server, prefix=None, **more):
    """Return a storage with keys of its own."""
    return RedisStorage(guard_of(server, **more), prefix or f"t{next(_prefixes)}")
