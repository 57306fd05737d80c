"""Every metric's name, unit and labels."""

from __future__ import annotations

import re

import pytest

from noa_perf.metrics.instruments import INSTRUMENTS, PREFIX, TIME_BUCKETS

EXPECTED = {
    "noa_perf_query_execution_time_seconds": ("histogram", "seconds", ("alias", "kind")),
    "noa_perf_queries_total": ("counter", "", ("outcome",)),
    "noa_perf_slow_queries_total": ("counter", "", ("alias",)),
    "noa_perf_n_plus_one_total": ("counter", "", ("alias",)),
    "noa_perf_scopes_total": ("counter", "", ("kind",)),
    "noa_perf_rollup_failures_total": ("counter", "", ()),
    "noa_perf_rollup_lost_total": ("counter", "", ()),
    "noa_perf_cache_hits_total": ("counter", "", ("alias", "tier")),
    "noa_perf_cache_misses_total": ("counter", "", ("alias",)),
    "noa_perf_cache_stale_served_total": ("counter", "", ("alias",)),
    "noa_perf_cache_evictions_total": ("counter", "", ("alias", "reason")),
    "noa_perf_cache_entries_refused_total": ("counter", "", ("alias", "reason")),
    "noa_perf_cache_unavailable_total": ("counter", "", ("alias", "reason")),
    "noa_perf_cache_replayed_total": ("counter", "", ("alias",)),
    "noa_perf_cache_redis_seconds": ("histogram", "seconds", ("alias",)),
    "noa_perf_cache_entries": ("gauge", "", ("alias",)),
    "noa_perf_cache_size_bytes": ("gauge", "bytes", ("alias",)),
    "noa_perf_cache_breaker_open": ("gauge", "", ("alias",)),
    "noa_perf_cache_pending_deletions": ("gauge", "", ("alias",)),
    "noa_perf_cache_staleness_bound_seconds": ("gauge", "seconds", ("alias",)),
    "noa_perf_rate_limit_requests_total": ("counter", "", ("policy", "outcome")),
    "noa_perf_rate_limit_violations_total": ("counter", "", ("policy",)),
    "noa_perf_rate_limit_blocked_total": ("counter", "", ("reason",)),
    "noa_perf_rate_limit_abuse_total": ("counter", "", ("rule", "outcome")),
    "noa_perf_rate_limit_bans_active": ("gauge", "", ()),
    "noa_perf_rate_limit_storage_seconds": ("histogram", "seconds", ()),
    "noa_perf_rate_limit_unavailable_total": ("counter", "", ("reason",)),
    "noa_perf_rate_limit_degraded": ("gauge", "", ()),
    "noa_perf_pool_connections_active": ("gauge", "", ("pool",)),
    "noa_perf_pool_connections_idle": ("gauge", "", ("pool",)),
    "noa_perf_pool_connections_max": ("gauge", "", ("pool",)),
    "noa_perf_pool_waiters": ("gauge", "", ("pool",)),
    "noa_perf_pool_acquisition_time_seconds": ("histogram", "seconds", ("pool",)),
    "noa_perf_pool_checkout_seconds": ("histogram", "seconds", ("pool",)),
    "noa_perf_pool_connection_leaks_total": ("counter", "", ("pool",)),
    "noa_perf_pool_recycled_total": ("counter", "", ("pool", "cause")),
    "noa_perf_pool_cleaned_total": ("counter", "", ("pool", "what")),
    "noa_perf_pool_timeouts_total": ("counter", "", ("pool",)),
    "noa_perf_pool_refused_total": ("counter", "", ("pool",)),
    "noa_perf_pool_open_failures_total": ("counter", "", ("pool", "error")),
    "noa_perf_pool_orphans_total": ("counter", "", ("pool",)),
}

POOL = {"pool", "cause", "what", "error"}
"""An alias; and words of ours, but for the class of an error."""


def test_the_metrics_are_these():
    assert {one.full_name: (one.kind, one.unit, one.labels) for one in INSTRUMENTS} == EXPECTED


@pytest.mark.parametrize("one", INSTRUMENTS, ids=lambda one: one.name)
def test_each_metric_keeps_the_rules(one):
    assert re.fullmatch(r"[a-z][a-z0-9_]*", one.name)
    assert one.full_name == PREFIX + one.name
    assert one.name.endswith("_total") == (one.kind == "counter")
    assert one.unit in ("", "seconds", "bytes")
    assert one.unit in one.name
    assert one.help.endswith(".")
    assert bool(one.buckets) == (one.kind == "histogram")
    assert bool(one.multiprocess_mode) == (one.kind == "gauge")
    assert set(one.labels) <= {"alias", "kind", "outcome", "tier", "rule", "policy", "provider", "reason"} | POOL


def test_buckets_of_time_are_powers_of_two_in_microseconds():
    bounds = next(one for one in INSTRUMENTS if one.buckets).bounds

    assert list(TIME_BUCKETS) == sorted(TIME_BUCKETS)
    assert bounds[0] == 0.000256
    assert bounds[-1] == 33.554432
