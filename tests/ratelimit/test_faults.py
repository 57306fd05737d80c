"""Redis killed, frozen, emptied, moved, failed over: no request errs or hangs, and no bucket lets more through."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import override_settings

from noa_perf.ratelimit import registry
from noa_perf.ratelimit.limiter import Limiter
from noa_perf.ratelimit.policy import Policy
from noa_perf.ratelimit.storages.redis import RedisStorage
from tests.ratelimit.places import guard_to
from tests.servers import get
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis, RedisCluster, RedisSentinel
from tests.servers.test_harness import own

pytestmark = pytest.mark.server

GUARD = 20.0
"""Seconds after which something hangs."""
LIMIT = 40
SHAPES: dict[str, Any] = {
    "gcra": {"limits": f"{LIMIT}/w"},
    "log": {"limits": f"{LIMIT}/w", "algorithm": "sliding_log"},
    "fixed": {"limits": f"{LIMIT}/w", "algorithm": "fixed_window"},
    "several": {"limits": [f"{LIMIT}/w", {"rate": f"{LIMIT}/w", "algorithm": "sliding_counter"}]},
}
_names = itertools.count()


def until(ready, what="it"):
    deadline = time.monotonic() + GUARD
    while not ready():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.01)


class Traffic:
    """Asks for units all the time, under every shape; what a view would have seen."""

    def __init__(self, location, through="sync", timeout=0.1, **more):
        self.storage = RedisStorage(guard_to(location, timeout=timeout), f"f{next(_names)}")
        self.limiter = Limiter(self.storage)
        self.policies = [Policy.parse(f"{name}{next(_names)}", {**shape, **more}) for name, shape in SHAPES.items()]
        self._hit = self.limiter.hit if through == "sync" else async_to_sync(self.limiter.ahit)
        self.had = dict.fromkeys(self.policies, 0)
        self.decisions = []
        self.longest = 0.0

    def ask(self, times=1):
        for _ in range(times):
            for policy in self.policies:
                begun = time.monotonic()
                decision = self._hit(policy, "everybody")
                self.longest = max(self.longest, time.monotonic() - begun)
                self.decisions.append(decision)
                self.had[policy] += decision.allowed and not decision.degraded

    def answers(self):
        self.ask()
        return not self.decisions[-1].degraded

    @property
    def degraded(self):
        return [one for one in self.decisions if one.degraded]

    @property
    def patience(self):
        """Ten times what a call may take at worst."""
        return 10 * self.storage.guard.target.longest_call

    def outcomes(self):
        found = [self.limiter.tallies.of(policy.name).collect().outcomes for policy in self.policies]
        return {name: sum(one[name] for one in found) for name in found[0]}


@pytest.fixture(params=["sync", "async"])
def through(request):
    return request.param


@pytest.fixture
def proxy():
    with Proxy(get(Redis).ports["primary"]) as proxy:
        yield proxy


def at(proxy):
    return f"redis://127.0.0.1:{proxy.port}/0"


@pytest.mark.parametrize("on_failure", ["open", "closed"])
def test_a_redis_that_refuses_leaves_it_to_the_policy(proxy, through, on_failure, caplog):
    caplog.set_level(logging.INFO, "noa_perf.ratelimit")
    traffic = Traffic(at(proxy), through, on_failure=on_failure)
    traffic.ask(LIMIT // 2)
    proxy.refuse()
    traffic.ask(10)
    assert all(one.allowed == (on_failure == "open") for one in traffic.degraded)
    assert len(traffic.degraded) == 10 * len(SHAPES)
    if on_failure == "closed":
        assert {one.reason for one in traffic.degraded} == {"unavailable"}
        assert all(one.retry_after > 0 for one in traffic.degraded)
    assert traffic.outcomes()["opened" if on_failure == "open" else "closed"] == 10 * len(SHAPES)
    assert traffic.longest < traffic.patience
    warnings = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert len(warnings) == 2  # why, and that it is left alone
    proxy.accept()
    until(traffic.answers)
    assert any("answers again" in one.getMessage() for one in caplog.records)
    traffic.ask(LIMIT)
    assert set(traffic.had.values()) == {LIMIT}


def test_a_redis_that_stands_still_costs_its_timeouts_and_then_nothing(through):
    with own(Redis) as server:
        traffic = Traffic(server.urls()["primary"], through)
        traffic.ask(10)
        server.freeze("primary")
        begun = time.monotonic()
        traffic.ask(100)
        elapsed = time.monotonic() - begun
        server.thaw("primary")
        until(traffic.answers)
        traffic.ask(LIMIT)
    assert traffic.degraded
    assert traffic.longest < traffic.patience
    # The breaker lets a few pass before it opens, and then a probe now and then: not 400 timeouts.
    assert elapsed < 20 * traffic.patience
    # What timed out was charged, perhaps, and passed as degraded: never more than the limit is had.
    assert all(had <= LIMIT for had in traffic.had.values())


def test_a_redis_that_is_killed_and_comes_back_empty_costs_one_quota(through):
    with own(Redis) as server:
        traffic = Traffic(server.urls()["primary"], through)
        traffic.ask(LIMIT + 5)
        server.kill("primary")
        traffic.ask(20)
        server.restart("primary")
        until(traffic.answers)
        traffic.ask(2 * LIMIT)
    assert traffic.degraded
    assert traffic.longest < traffic.patience
    assert set(traffic.had.values()) == {2 * LIMIT}


def test_slow_answers_that_the_site_is_ready_to_wait_for_open_nothing(proxy):
    own = {"STORAGE": at(proxy), "TIMEOUT": 5.0, "KEY_PREFIX": f"f{next(_names)}"}
    with override_settings(NOA_PERF={"RATELIMIT": own}):
        limiter, policy = registry.limiter(), Policy.parse(f"slow{next(_names)}", f"{LIMIT // 4}/w")
        proxy.delay = 0.11
        decisions = [limiter.hit(policy, "everybody") for _ in range(25)]
        proxy.delay = 0.0
    assert not any(one.degraded for one in decisions)
    assert sum(one.allowed for one in decisions) == LIMIT // 4


def test_a_timeout_that_the_site_has_made_longer_is_as_long(proxy, through):
    own = {"STORAGE": at(proxy), "TIMEOUT": 5.0, "KEY_PREFIX": f"f{next(_names)}"}
    with override_settings(NOA_PERF={"RATELIMIT": own}):
        limiter, policy = registry.limiter(), Policy.parse(f"patient{next(_names)}", "5/w")
        proxy.delay = 0.4
        hit = limiter.hit if through == "sync" else async_to_sync(limiter.ahit)
        decision = hit(policy, "everybody")
        proxy.delay = 0.0
    assert (decision.degraded, decision.remaining) == ("", 4)


def test_connections_cut_again_and_again_admit_no_more(proxy, through):
    traffic = Traffic(at(proxy), through)
    for _ in range(LIMIT):
        traffic.ask(2)
        proxy.sever()
    assert all(had <= LIMIT for had in traffic.had.values())
    assert traffic.longest < traffic.patience


def test_flushed_scripts_are_sent_anew(through):
    server = get(Redis)
    traffic = Traffic(server.urls()["primary"], through)
    for _ in range(LIMIT):
        traffic.ask(2)
        server.query("primary", "SCRIPT", "FLUSH")
    assert not traffic.degraded
    assert set(traffic.had.values()) == {LIMIT}


def test_a_full_or_read_only_redis_leaves_it_to_the_policy(through):
    server = get(Redis)
    traffic = Traffic(server.urls()["primary"], through)
    traffic.ask(2)
    before = server.config("primary", "maxmemory", 1)
    try:
        traffic.ask(3)
        assert {one.degraded for one in traffic.degraded} == {"oom"}
    finally:
        server.config("primary", "maxmemory", before)
    traffic.ask(2 * LIMIT)
    assert all(had <= LIMIT for had in traffic.had.values())


def test_another_programs_value_under_a_key_is_no_error(through):
    server = get(Redis)
    traffic = Traffic(server.urls()["primary"], through)
    gcra, log = traffic.policies[:2]
    prefix = traffic.storage.prefix
    server.query("primary", "SET", f"{prefix}:{{everybody}}:{gcra.parts[0]}", "no bucket")
    server.query("primary", "SET", f"{prefix}:{{everybody}}:{log.parts[0]}", "no list")
    traffic.ask(3)
    assert {one.degraded for one in traffic.decisions} == {"", "data"}
    assert traffic.had[gcra] == 3


def test_a_slot_that_moves_in_mid_run_lets_no_more_through(through):
    server = get(RedisCluster)
    traffic = Traffic(server.urls()["cluster"], through, timeout=0.5)
    slot = int(server.query("node1", "CLUSTER", "KEYSLOT", "{everybody}"))
    source = server.owner("{everybody}")
    target = next(node for node in server.roles if node != source)
    stop = threading.Event()

    def run():
        while not stop.is_set():
            traffic.ask()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        for there, back in [(source, target), (target, source)]:
            server.begin_move(slot, there, back)
            traffic_seen = len(traffic.decisions)
            until(lambda seen=traffic_seen: len(traffic.decisions) > seen + 8, "traffic")
            server.move_keys(slot, there, back)
            server.end_move(slot, there, back)
    finally:
        stop.set()
        thread.join(GUARD)
    until(traffic.answers)
    traffic.ask(LIMIT)
    assert traffic.longest < traffic.patience
    assert all(had <= LIMIT for had in traffic.had.values())
    assert len(traffic.degraded) < len(traffic.decisions)


def test_a_failover_by_sentinel_costs_one_quota_at_most(through):
    with own(RedisSentinel) as server:
        traffic = Traffic(server.urls()["sentinel"], through, timeout=0.5)
        traffic.ask(LIMIT // 2)
        old = server.primary()
        server.kill(old)
        until(lambda: (traffic.ask(), server.failed_over(old))[1], "the failover")
        until(traffic.answers, "an answer of the new primary")
        traffic.ask(2 * LIMIT)
    assert traffic.longest < traffic.patience
    assert all(LIMIT <= had <= 2 * LIMIT for had in traffic.had.values())


def test_tasks_that_are_cancelled_leave_no_reply_for_the_next(proxy):
    limiter = Limiter(RedisStorage(guard_to(at(proxy), timeout=1.0), f"f{next(_names)}"))
    policies = [Policy.parse(f"c{next(_names)}", f"{limit}/w") for limit in range(100, 110)]

    async def work():
        proxy.delay = 0.02
        for turn in range(30):
            task = asyncio.create_task(limiter.ahit(policies[turn % 10], "a"))
            await asyncio.sleep(0.005 * (turn % 5))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        proxy.delay = 0.0
        for policy in policies:
            decision = await limiter.ahit(policy, "b")
            assert decision.remaining == policy.limits[0].rate.limit - 1

    asyncio.run(work())
