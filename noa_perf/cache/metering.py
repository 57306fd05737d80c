"""Hands what the caches of this process did to the recorder, now and then: hot paths only count in plain ints."""

from __future__ import annotations

from noa_perf.cache import registry
from noa_perf.cache.stack import Stack
from noa_perf.core.health import Health, register
from noa_perf.metrics import recorder, rollup
from noa_perf.metrics.instruments import (
    CACHE_BREAKER_OPEN,
    CACHE_BYTES,
    CACHE_ENTRIES,
    CACHE_EVICTIONS,
    CACHE_HITS,
    CACHE_MISSES,
    CACHE_PENDING,
    CACHE_REDIS_TIME,
    CACHE_REFUSED,
    CACHE_REPLAYED,
    CACHE_STALE,
    CACHE_STALENESS,
    CACHE_UNAVAILABLE,
)
from noa_perf.metrics.recorder import Recorder

KINDS = {"cache": ("alias", "group"), "cache_redis": ("alias",), "cache_state": ("alias",)}
"""Series of the rollup: what was asked of each group of keys; Redis' answers; what each process held, each time that
it told (so that a mean over the tellings is what a process holds), and what was asked since."""


def install() -> None:
    """Tell of every cache from now on."""
    rollup.KINDS.update(KINDS)
    recorder.before_flush(tell)
    register("cache.redis", answering)


def tell() -> None:
    """Hand over what was counted since the last time."""
    to = recorder.current()
    for stack in registry.stacks():
        asked, misses = _tell_keys(to, stack)
        failed = _tell_redis(to, stack)
        _tell_state(to, stack, asked=asked, misses=misses, failed=failed)


def _tell_keys(to: Recorder, stack: Stack) -> tuple[int, int]:
    """Tell of each group of keys; return how many were asked for in all, and how many were not there."""
    alias, all_asked, all_misses = stack.alias, 0, 0
    hits, evictions = stack.memory.collect()
    far = stack.groups.drain()
    for group in hits.keys() | far.keys():
        near, counts = hits.get(group, 0), far.get(group)
        found, misses = (counts.far_hits, counts.misses) if counts else (0, 0)
        stale, writes = (counts.stale, counts.writes) if counts else (0, 0)
        asked = near + found + misses + stale
        all_asked, all_misses = all_asked + asked, all_misses + misses
        to.add("cache", (alias, group), asked, memory=near, redis=found, misses=misses, stale=stale, writes=writes)
        to.count(CACHE_HITS, (alias, "memory"), near + stale)
        to.count(CACHE_HITS, (alias, "redis"), found)
        to.count(CACHE_MISSES, (alias,), misses)
        to.count(CACHE_STALE, (alias,), stale)
    for reason, many in evictions.items():
        to.count(CACHE_EVICTIONS, (alias, reason), many)
    return all_asked, all_misses


def _tell_state(to: Recorder, stack: Stack, **counted: int) -> None:
    alias, memory = stack.alias, stack.memory
    opened = int(stack.link is not None and not stack.link.breaker.closed)
    pending = len(stack.journal)
    held = {"entries": memory.entries, "bytes": memory.bytes, "open": opened, "pending": pending}
    to.add("cache_state", (alias,), 1, 0.0, {}, **held, **counted)
    to.set(CACHE_ENTRIES, (alias,), memory.entries)
    to.set(CACHE_BYTES, (alias,), memory.bytes)
    to.set(CACHE_BREAKER_OPEN, (alias,), opened)
    to.set(CACHE_PENDING, (alias,), pending)
    to.set(CACHE_STALENESS, (alias,), stack.options.staleness if stack.link is not None else 0)


def _tell_redis(to: Recorder, stack: Stack) -> int:
    """Tell of Redis; return how often it was not asked or did not answer."""
    alias, told = stack.alias, stack.told
    refused = told.since("refused", stack.refused)
    for reason, many in refused.items():
        to.count(CACHE_REFUSED, (alias, reason), many)
    replayed = told.since("replayed", {"": stack.journal.replayed}).get("", 0)
    if replayed:
        to.count(CACHE_REPLAYED, (alias,), replayed)
    link = stack.link
    if link is None or link.alias != alias:
        return 0  # several aliases go the same way: one tells of it
    calls, seconds, buckets = link.drain()
    failures = told.since("failures", link.failures)
    to.observe(CACHE_REDIS_TIME, (alias,), calls, seconds, buckets)
    to.add("cache_redis", (alias,), calls, seconds, buckets, failed=sum(failures.values()), **_reasons(failures))
    for reason, many in failures.items():
        to.count(CACHE_UNAVAILABLE, (alias, reason), many)
    return sum(failures.values())


def _reasons(failures: dict[str, int]) -> dict[str, int]:
    return {f"failed_{reason}": many for reason, many in failures.items()}


def answering(deep: bool) -> Health:
    """Ask whether Redis of each cache answers; on a probe's request, only whether it did of late."""
    away = [stack.alias for stack in registry.serving() if stack.link is not None and not stack.reachable(deep)]
    if away:
        names = ", ".join(map(repr, sorted(set(away))))
        cure = "See the log of noa_perf.cache for why; the site serves from memory meanwhile."
        return Health(ok=False, message=f"Redis of CACHES {names} does not answer.", cure=cure)
    return Health(ok=True, message="Redis answers, or no cache has used one yet.")
