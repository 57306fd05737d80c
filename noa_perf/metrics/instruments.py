"""Every metric as data: name, kind, unit, help, labels and buckets; nothing here counts or exports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PREFIX = "noa_perf_"

TIME_BUCKETS = tuple(range(8, 26))
"""Powers of two, in microseconds, at which times are told apart: 256 µs, 512 µs … 33.6 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One metric."""

    name: str
    """Without the prefix. A counter's name ends in ``_total``, any other's in its unit."""
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    """One sentence."""
    unit: str = ""
    """A base unit (``seconds``, ``bytes``), or nothing for plain counts."""
    labels: tuple[str, ...] = ()
    """Names of labels, each with few values: an alias, a kind; never a key, a path or a user."""
    buckets: tuple[int, ...] = ()
    """A histogram's upper bounds: ``n`` is ``2**n`` microseconds."""
    multiprocess_mode: str = ""
    """A gauge's: how the values of several processes become one (``livesum``, ``max`` …)."""

    @property
    def full_name(self) -> str:
        """The name as exported."""
        return PREFIX + self.name

    @property
    def bounds(self) -> tuple[float, ...]:
        """The buckets' upper bounds in seconds."""
        return tuple((1 << index) / 1_000_000 for index in self.buckets)


QUERY_TIME = Instrument(
    name="query_execution_time_seconds",
    kind="histogram",
    unit="seconds",
    help="Time of a query, execute and fetch, of the requests watched in detail.",
    labels=("alias", "kind"),
    buckets=TIME_BUCKETS,
)
QUERIES = Instrument(
    name="queries_total",
    kind="counter",
    help="Queries of all watched requests, commands and blocks.",
    labels=("outcome",),
)
SLOW_QUERIES = Instrument(
    name="slow_queries_total",
    kind="counter",
    help="Queries that took at least SLOW_QUERY_MS.",
    labels=("alias",),
)
N_PLUS_ONE = Instrument(
    name="n_plus_one_total",
    kind="counter",
    help="N+1 seen: one for each place in each request, however many queries it ran.",
    labels=("alias",),
)
SCOPES = Instrument(
    name="scopes_total",
    kind="counter",
    help="Requests, commands, tasks and blocks watched.",
    labels=("kind",),
)
ROLLUP_FAILURES = Instrument(
    name="rollup_failures_total",
    kind="counter",
    help="Writes of the rollup that failed; they are tried again.",
)
ROLLUP_LOST = Instrument(
    name="rollup_lost_total",
    kind="counter",
    help="Buckets of ten seconds given up because the rollup's database stayed away.",
)
CACHE_HITS = Instrument(
    name="cache_hits_total",
    kind="counter",
    help="Keys that a cache had, by the tier that answered.",
    labels=("alias", "tier"),
)
CACHE_MISSES = Instrument(
    name="cache_misses_total",
    kind="counter",
    help="Keys that a cache had not.",
    labels=("alias",),
)
CACHE_STALE = Instrument(
    name="cache_stale_served_total",
    kind="counter",
    help="Values served from memory past their time because Redis was away.",
    labels=("alias",),
)
CACHE_EVICTIONS = Instrument(
    name="cache_evictions_total",
    kind="counter",
    help="Entries that left memory: for want of room (size), or because their time was over (expired).",
    labels=("alias", "reason"),
)
CACHE_REFUSED = Instrument(
    name="cache_entries_refused_total",
    kind="counter",
    help="Entries in Redis that were of no use: another format or schema, tampered, unsigned, too large, corrupt.",
    labels=("alias", "reason"),
)
CACHE_UNAVAILABLE = Instrument(
    name="cache_unavailable_total",
    kind="counter",
    help="What Redis was not asked or did not do, by why: down, timeout, open, budget, readonly, oom, refused, fault.",
    labels=("alias", "reason"),
)
CACHE_REPLAYED = Instrument(
    name="cache_replayed_total",
    kind="counter",
    help="Deletions that Redis missed while it was away and that were replayed.",
    labels=("alias",),
)
CACHE_REDIS_TIME = Instrument(
    name="cache_redis_seconds",
    kind="histogram",
    unit="seconds",
    help="Time of what a cache asked of Redis and got an answer to.",
    labels=("alias",),
    buckets=TIME_BUCKETS,
)
CACHE_ENTRIES = Instrument(
    name="cache_entries",
    kind="gauge",
    help="Entries in memory.",
    labels=("alias",),
    multiprocess_mode="livesum",
)
CACHE_BYTES = Instrument(
    name="cache_size_bytes",
    kind="gauge",
    unit="bytes",
    help="What the entries in memory take, with what keeping them takes.",
    labels=("alias",),
    multiprocess_mode="livesum",
)
CACHE_BREAKER_OPEN = Instrument(
    name="cache_breaker_open",
    kind="gauge",
    help="1 while Redis is left alone; of several processes, how many do so.",
    labels=("alias",),
    multiprocess_mode="livesum",
)
CACHE_PENDING = Instrument(
    name="cache_pending_deletions",
    kind="gauge",
    help="Deletions that wait for Redis to come back.",
    labels=("alias",),
    multiprocess_mode="livesum",
)
CACHE_STALENESS = Instrument(
    name="cache_staleness_bound_seconds",
    kind="gauge",
    unit="seconds",
    help="For how long memory answers without asking Redis.",
    labels=("alias",),
    multiprocess_mode="livemax",
)
RATE_LIMIT_REQUESTS = Instrument(
    name="rate_limit_requests_total",
    kind="counter",
    help="Requests under a policy, by what became of them: allowed, denied, shadowed, uncharged, opened, closed.",
    labels=("policy", "outcome"),
)
RATE_LIMIT_VIOLATIONS = Instrument(
    name="rate_limit_violations_total",
    kind="counter",
    help="Requests over a limit of a policy, shadow mode included.",
    labels=("policy",),
)
RATE_LIMIT_BLOCKED = Instrument(
    name="rate_limit_blocked_total",
    kind="counter",
    help="Requests refused by a ban or a deny list.",
    labels=("reason",),
)
RATE_LIMIT_ABUSE = Instrument(
    name="rate_limit_abuse_total",
    kind="counter",
    help="What abuse rules saw: matched, banned, shadowed (would have been banned).",
    labels=("rule", "outcome"),
)
RATE_LIMIT_BANS = Instrument(
    name="rate_limit_bans_active",
    kind="gauge",
    help="Bans in force, as far as the process knows.",
    multiprocess_mode="livemax",
)
RATE_LIMIT_STORAGE_TIME = Instrument(
    name="rate_limit_storage_seconds",
    kind="histogram",
    unit="seconds",
    help="Time of what was asked of the storage in Redis and got an answer.",
    buckets=TIME_BUCKETS,
)
RATE_LIMIT_UNAVAILABLE = Instrument(
    name="rate_limit_unavailable_total",
    kind="counter",
    help="What the storage was not asked or did not do, by why: down, timeout, open, readonly, oom, refused, data.",
    labels=("reason",),
)
RATE_LIMIT_DEGRADED = Instrument(
    name="rate_limit_degraded",
    kind="gauge",
    help="1 while the storage is left alone and policies decide without it; of several processes, how many do so.",
    multiprocess_mode="livesum",
)

POOL_ACTIVE = Instrument(
    name="pool_connections_active",
    kind="gauge",
    help="Connections of a pool that are held by somebody; of several processes, all together.",
    labels=("pool",),
    multiprocess_mode="livesum",
)
POOL_IDLE = Instrument(
    name="pool_connections_idle",
    kind="gauge",
    help="Connections of a pool that are open and wait for somebody.",
    labels=("pool",),
    multiprocess_mode="livesum",
)
POOL_MAX = Instrument(
    name="pool_connections_max",
    kind="gauge",
    help="Connections that a pool may have.",
    labels=("pool",),
    multiprocess_mode="livesum",
)
POOL_WAITERS = Instrument(
    name="pool_waiters",
    kind="gauge",
    help="Who waits for a connection of a pool.",
    labels=("pool",),
    multiprocess_mode="livesum",
)
POOL_ACQUISITION_TIME = Instrument(
    name="pool_acquisition_time_seconds",
    kind="histogram",
    unit="seconds",
    help="Time until a connection was given out, or refused; who found one idle is in the first bucket.",
    labels=("pool",),
    buckets=TIME_BUCKETS,
)
POOL_CHECKOUT_TIME = Instrument(
    name="pool_checkout_seconds",
    kind="histogram",
    unit="seconds",
    help="Time for which a connection was held.",
    labels=("pool",),
    buckets=TIME_BUCKETS,
)
POOL_LEAKS = Instrument(
    name="pool_connection_leaks_total",
    kind="counter",
    help="Connections that were held for longer than leak_threshold, each checkout once.",
    labels=("pool",),
)
POOL_RECYCLED = Instrument(
    name="pool_recycled_total",
    kind="counter",
    help="Connections that were closed, by why: lifetime, idle, dead, silent, drained, resized, untidy, interrupted, "
    "closed.",
    labels=("pool", "cause"),
)
POOL_CLEANED = Instrument(
    name="pool_cleaned_total",
    kind="counter",
    help="What was found on connections that came back, and put right: transaction, session, cursor, attributes.",
    labels=("pool", "what"),
)
POOL_TIMEOUTS = Instrument(
    name="pool_timeouts_total",
    kind="counter",
    help="Who waited for a connection for as long as the pool's timeout, and got none.",
    labels=("pool",),
)
POOL_REFUSED = Instrument(
    name="pool_refused_total",
    kind="counter",
    help="Who was turned away at once, since max_waiting waited already.",
    labels=("pool",),
)
POOL_OPEN_FAILURES = Instrument(
    name="pool_open_failures_total",
    kind="counter",
    help="Connections that could not be opened, by the class of the error; most were tried again.",
    labels=("pool", "error"),
)
POOL_ORPHANS = Instrument(
    name="pool_orphans_total",
    kind="counter",
    help="Connections that were taken back from threads that ended without giving them back.",
    labels=("pool",),
)

INSTRUMENTS: tuple[Instrument, ...] = (
    QUERY_TIME,
    QUERIES,
    SLOW_QUERIES,
    N_PLUS_ONE,
    SCOPES,
    ROLLUP_FAILURES,
    ROLLUP_LOST,
    CACHE_HITS,
    CACHE_MISSES,
    CACHE_STALE,
    CACHE_EVICTIONS,
    CACHE_REFUSED,
    CACHE_UNAVAILABLE,
    CACHE_REPLAYED,
    CACHE_REDIS_TIME,
    CACHE_ENTRIES,
    CACHE_BYTES,
    CACHE_BREAKER_OPEN,
    CACHE_PENDING,
    CACHE_STALENESS,
    RATE_LIMIT_REQUESTS,
    RATE_LIMIT_VIOLATIONS,
    RATE_LIMIT_BLOCKED,
    RATE_LIMIT_ABUSE,
    RATE_LIMIT_BANS,
    RATE_LIMIT_STORAGE_TIME,
    RATE_LIMIT_UNAVAILABLE,
    RATE_LIMIT_DEGRADED,
    POOL_ACTIVE,
    POOL_IDLE,
    POOL_MAX,
    POOL_WAITERS,
    POOL_ACQUISITION_TIME,
    POOL_CHECKOUT_TIME,
    POOL_LEAKS,
    POOL_RECYCLED,
    POOL_CLEANED,
    POOL_TIMEOUTS,
    POOL_REFUSED,
    POOL_OPEN_FAILURES,
    POOL_ORPHANS,
)
"""All of them. Each app's come with the app."""
