"""What the settings say, made once: the storage, the limiter and the policies of this process."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.urls import get_resolver

from noa_perf.core.breaker import BreakerPolicy
from noa_perf.core.exceptions import NoaPerfError
from noa_perf.core.redis import Guard, parse
from noa_perf.ratelimit.conf import RateLimitSettings, settings
from noa_perf.ratelimit.exceptions import BadPolicy, UnknownPolicy
from noa_perf.ratelimit.limiter import Limiter
from noa_perf.ratelimit.policy import Policy
from noa_perf.ratelimit.storages.base import Storage
from noa_perf.ratelimit.storages.memory import MemoryStorage
from noa_perf.ratelimit.storages.redis import RedisStorage
from noa_perf.ratelimit.tally import Tallies

logger = logging.getLogger("noa_perf.ratelimit")

SETTING = 'NOA_PERF["RATELIMIT"]'
BREAKER = BreakerPolicy(failures=5, cooldown=0.5, max_cooldown=10.0)
"""A Redis that fails is asked again within ten seconds at most. It is slow beyond the timeout of the settings."""

_limiters: dict[tuple[Any, ...], Limiter] = {}
_read: tuple[RateLimitSettings, dict[str, Policy]] | None = None
_declared: dict[str, Policy] = {}
_tallies = Tallies()


def limiter() -> Limiter:
    """Return the limiter that the settings describe; equal settings share one, and what it counts."""
    own = settings()
    key = own.storage, repr(own.storage_options), own.timeout, own.key_prefix, own.max_keys
    found = _limiters.get(key)
    if found is None:
        found = _limiters.setdefault(key, Limiter(_storage(own), _tallies))
    return found


def policies() -> Mapping[str, Policy]:
    """Return what the middleware holds, by name; one that cannot be used is left out, and the system check tells."""
    global _read
    own = settings()
    if _read is None or _read[0] is not own:
        _read = own, dict(_usable(own.policies))
    return _read[1]


def problems() -> list[str]:
    """Return what is wrong with the policies of the settings."""
    found = []
    for name, written in settings().policies.items():
        try:
            Policy.parse(name, written)
        except BadPolicy as error:
            found.append(str(error))
    return found


def declare(policy: Policy) -> None:
    """Have a policy of a decorator listed with the others."""
    _declared.setdefault(policy.name, policy)


def known() -> Mapping[str, Policy]:
    """Return all policies by name: of the settings, and of the decorators that were imported."""
    return {**_declared, **policies()}


def import_views() -> None:
    """Import the views that the URLconf leads to, whose decorators declare their policies."""
    _ = get_resolver().url_patterns


def policy(name: str) -> Policy:
    """Return a policy; raises :class:`~noa_perf.ratelimit.exceptions.UnknownPolicy`."""
    found = known().get(name)
    if found is None:
        names = ", ".join(sorted(known())) or "none"
        raise UnknownPolicy(f"There is no rate limit policy {name!r}. Known: {names}.")
    return found


def guard() -> Guard | None:
    """Return the way to the Redis of the settings, None where counts are in memory."""
    storage = limiter().storage
    return storage.guard if isinstance(storage, RedisStorage) else None


def tallies() -> Tallies:
    """Return what was decided in this process."""
    return _tallies


def _usable(written: Mapping[str, Any]) -> list[tuple[str, Policy]]:
    found = []
    for name, one in written.items():
        try:
            found.append((name, Policy.parse(name, one)))
        except BadPolicy as error:
            logger.error("noa_perf.ratelimit: a policy is left out. %s", error)
    return found


def _storage(own: RateLimitSettings) -> Storage:
    if not own.storage:
        return MemoryStorage(own.max_keys)
    try:
        target = parse(own.storage, own.storage_options, setting=f'{SETTING}["STORAGE"]').waiting(own.timeout)
    except NoaPerfError as error:
        # The system check stops a site that has this; a process that runs all the same counts for itself.
        logger.error("noa_perf.ratelimit: counts are kept in memory. %s", error)
        return MemoryStorage(own.max_keys)
    made = Guard(
        target,
        # An answer that the site was ready to wait for is a verdict: to let all pass instead would be a way in.
        breaker=replace(BREAKER, slow_seconds=max(BREAKER.slow_seconds, own.timeout)),
        logger=logger,
        what="Redis of the rate limits",
        setting=f'{SETTING}["STORAGE"]',
        consequence='Requests pass under policies with on_failure "open", others are refused.',
    )
    return RedisStorage(made, own.key_prefix)
