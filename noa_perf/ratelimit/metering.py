"""Hands what was limited in this process to the recorder, now and then: hot paths only count in plain ints."""

from __future__ import annotations

from noa_perf.core.health import Health, register
from noa_perf.core.redis import Guard
from noa_perf.core.told import Told
from noa_perf.metrics import recorder, rollup
from noa_perf.metrics.instruments import (
    RATE_LIMIT_ABUSE,
    RATE_LIMIT_BANS,
    RATE_LIMIT_BLOCKED,
    RATE_LIMIT_DEGRADED,
    RATE_LIMIT_REQUESTS,
    RATE_LIMIT_STORAGE_TIME,
    RATE_LIMIT_UNAVAILABLE,
    RATE_LIMIT_VIOLATIONS,
)
from noa_perf.metrics.recorder import Recorder
from noa_perf.ratelimit import abuse, registry
from noa_perf.ratelimit.addresses import mask
from noa_perf.ratelimit.tally import Counts

KINDS = {
    "ratelimit": ("policy",),
    "ratelimit_client": ("policy", "client"),
    "ratelimit_blocked": ("reason",),
    "ratelimit_storage": (),
}
"""Series of the rollup: requests under each policy; who was over a limit, masked; whom bans and lists refused; what
the storage in Redis answered."""

_told = Told()


def install() -> None:
    """Tell of every policy from now on."""
    rollup.KINDS.update(KINDS)
    recorder.before_flush(tell)
    register("ratelimit.storage", answering)


def tell() -> None:
    """Hand over what was counted since the last time."""
    to = recorder.current()
    for name, counts in registry.tallies().collect().items():
        _tell_policy(to, name, counts)
    for reason, many in _told.since("blocked", registry.tallies().blocked).items():
        to.count(RATE_LIMIT_BLOCKED, (reason,), many)
        to.add("ratelimit_blocked", (reason,), many)
    _tell_abuse(to)
    guard = registry.guard()
    if guard is not None:
        _tell_storage(to, guard)


def _tell_policy(to: Recorder, name: str, counts: Counts) -> None:
    asked = sum(counts.outcomes.values())
    if not asked:
        return
    to.add("ratelimit", (name,), asked, 0.0, {}, **counts.outcomes, looks=counts.looks, left=counts.left)
    for outcome, many in counts.outcomes.items():
        if many:
            to.count(RATE_LIMIT_REQUESTS, (name, outcome), many)
    over = counts.outcomes["denied"] + counts.outcomes["shadowed"]
    if over:
        to.count(RATE_LIMIT_VIOLATIONS, (name,), over)
    for client, many in counts.refused.items():
        to.add("ratelimit_client", (name, mask(client)), many)


def _tell_abuse(to: Recorder) -> None:
    own = abuse.current()
    to.set(RATE_LIMIT_BANS, (), len(own.bans.local))
    for rule, tally in own.tallies.items():
        counts = {"matched": tally.matched, "banned": tally.banned, "shadowed": tally.shadowed}
        for outcome, many in _told.since(f"rule {rule}", counts).items():
            to.count(RATE_LIMIT_ABUSE, (rule, outcome), many)


def _tell_storage(to: Recorder, guard: Guard) -> None:
    calls, seconds, buckets = guard.drain()
    failures = guard.told.since("failures", guard.failures)
    to.observe(RATE_LIMIT_STORAGE_TIME, (), calls, seconds, buckets)
    to.set(RATE_LIMIT_DEGRADED, (), int(not guard.breaker.closed))
    named = {f"failed_{reason}": many for reason, many in failures.items()}
    if calls or failures:
        to.add("ratelimit_storage", (), calls, seconds, buckets, failed=sum(failures.values()), **named)
    for reason, many in failures.items():
        to.count(RATE_LIMIT_UNAVAILABLE, (reason,), many)


def answering(deep: bool) -> Health:
    """Tell whether the storage answers: on a terminal whether it does now, else whether it is not left alone."""
    storage = registry.limiter().storage
    if not storage.shared:
        return Health(ok=True, message="Rate limits are counted in the memory of each process.")
    if storage.reachable(deep):
        return Health(ok=True, message="Redis of the rate limits answers, or was not asked yet.")
    cure = "See the log of noa_perf.ratelimit for why; policies decide meanwhile by their on_failure."
    return Health(ok=False, message="Redis of the rate limits does not answer.", cure=cure)
