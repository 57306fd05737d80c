"""Redis killed, frozen, slow, empty, full, read-only, cut off: no view sees an error, and nothing older comes back."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import threading
import time
from contextlib import suppress

import pytest
from asgiref.sync import async_to_sync

from noa_perf.cache import budget
from noa_perf.cache.backend import TieredCache
from tests.servers import get
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis, RedisCluster, RedisSentinel
from tests.servers.test_harness import own

pytestmark = pytest.mark.server

GUARD = 20.0
"""Seconds after which something hangs."""
BREAKER = {"failures": 3, "cooldown": 0.05, "max_cooldown": 0.1}
_prefixes = itertools.count()


def until(ready, what="it"):
    deadline = time.monotonic() + GUARD
    while not ready():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.01)


def cache_at(location, prefix=None, **options):
    """A cache with a prefix, and so a process-wide stack, of its own."""
    options = {"breaker": BREAKER, "memory": {"staleness": 0.0}, **options}
    options["max_value_bytes"] = 32 * 2**20 + next(_prefixes)  # no two tests share a stack
    return TieredCache(location, {"KEY_PREFIX": prefix or f"t{next(_prefixes)}", "OPTIONS": options})


class Async:
    """The async twins of a cache, called from sync code."""

    def __init__(self, cache):
        self._cache = cache
        self.stack = cache.stack

    def __getattr__(self, name):
        return async_to_sync(getattr(self._cache, f"a{name}"))


@pytest.fixture(params=["sync", "async"])
def through(request):
    """Calls a cache by its sync methods, or by their async twins."""
    return (lambda cache: cache) if request.param == "sync" else Async


@pytest.fixture
def server():
    return get(Redis)


@pytest.fixture
def proxy(server):
    server.query("primary", "FLUSHALL")
    with Proxy(server.ports["primary"]) as proxy:
        yield proxy


def at(proxy):
    return f"redis://127.0.0.1:{proxy.port}/0"


def everything(cache):
    """Call whatever a view may call; nothing may be raised but what Django's contract says."""
    cache.set("a", 1)
    cache.get("a")
    cache.add("b", [1])
    cache.touch("a", 10)
    cache.get_many(["a", "b", "c"])
    cache.set_many({"x": 1, "y": "text"})
    cache.has_key("x")
    with suppress(ValueError):  # there is no such key: that is Django's contract, whoever serves it
        cache.incr("n", 2)
    cache.get_or_set("z", lambda: "made")
    cache.delete("x")
    cache.delete_many(["y", "z"])
    cache.clear()


def test_no_error_of_a_dead_redis_reaches_a_view(proxy, through, caplog):
    cache = through(cache_at(at(proxy)))
    cache.set("n", 1)
    cache.get("n")
    proxy.refuse()
    caplog.set_level(logging.INFO, "noa_perf.cache")

    for _ in range(20):
        everything(cache)
        assert cache.get_or_set("page", lambda: "made") == "made"

    assert cache.stack.link.failures
    said = [record.getMessage() for record in caplog.records if "fails" in record.getMessage()]
    assert len(said) == 1
    assert str(proxy.port) not in said[0]


def test_a_redis_that_never_was_there_costs_no_error(through):
    with Proxy(1) as gone:
        cache = through(cache_at(at(gone)))
    everything(cache)


def test_memory_answers_while_redis_is_away_for_as_long_as_was_said(proxy):
    cache = cache_at(at(proxy), memory={"staleness": 0.0, "stale_when_down": 30.0})
    impatient = cache_at(at(proxy), memory={"staleness": 0.0, "stale_when_down": 0.0})
    for one in (cache, impatient):
        one.set("k", {"some": "value"}, 300)
    proxy.refuse()

    assert cache.get("k") == {"some": "value"}
    assert cache.get_many(["k"]) == {"k": {"some": "value"}}
    assert cache.has_key("k")
    assert impatient.get("k") is None
    assert cache.stack.groups.of("k").stale == 2


def test_what_has_expired_is_not_served_even_then(proxy):
    cache = cache_at(at(proxy))
    cache.set("k", "value", 0.05)
    proxy.refuse()
    until(lambda: cache.get("k") is None, "expiry")


def test_nothing_older_is_served_after_a_delete_that_redis_missed(proxy, server, through):
    cache = through(cache_at(at(proxy), prefix="p"))
    for number in range(20):
        key = f"k{number}"
        cache.set(key, "older")
        proxy.refuse()
        cache.delete(key)
        assert cache.get(key) is None
        proxy.accept()
        assert cache.get(key) is None
        until(lambda: not len(cache.stack.journal), "the replay")
        assert cache.get(key) is None
        assert server.query("primary", "EXISTS", f"p:1:{key}") == 0


def test_no_thread_ever_reads_what_was_deleted(proxy):
    """Readers hammer while Redis goes, a key is deleted, and Redis comes back: 30 times, the older value never."""
    cache = cache_at(at(proxy))
    state = {"key": "none", "deleted": False}
    seen, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            key, deleted = state["key"], state["deleted"]
            value = cache.get(key)
            if deleted and key == state["key"] and value is not None:
                seen.append((key, value))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    try:
        for number in range(30):
            key = f"k{number}"
            state.update(deleted=False, key=key)
            cache.set(key, "older")
            proxy.refuse()
            cache.delete(key)
            state["deleted"] = True
            proxy.accept()
            until(lambda: not len(cache.stack.journal), "the replay")
    finally:
        stop.set()
        for reader in readers:
            reader.join()

    assert seen == []


def test_what_was_written_meanwhile_is_not_undone(proxy, server, through):
    cache = through(cache_at(at(proxy), prefix="p"))
    cache.set("k", "older")
    proxy.refuse()
    cache.set("k", "newer")
    assert cache.get("k") == "newer"
    proxy.accept()
    assert cache.get("k") in ("newer", None)
    until(lambda: not len(cache.stack.journal), "the replay")
    assert cache.get("k") is None
    assert server.query("primary", "EXISTS", "p:1:k") == 0


def test_what_is_written_again_after_it_came_back_stays(proxy):
    cache = cache_at(at(proxy))
    cache.set("k", "older")
    proxy.refuse()
    cache.delete("k")
    proxy.accept()
    until(lambda: not len(cache.stack.journal), "the replay")
    cache.set("k", "newest")
    assert cache.get("k") == "newest"


def test_a_clear_that_redis_missed_is_made_up_for_and_spares_other_prefixes(proxy, server):
    cache, other = cache_at(at(proxy), prefix="mine"), cache_at(at(proxy), prefix="other")
    for one in (cache, other):
        one.set_many({"a": 1, "b": 2})
    proxy.refuse()
    cache.clear()
    proxy.accept()
    assert cache.get_many(["a", "b"]) == {}
    until(lambda: not len(cache.stack.journal), "the replay")
    assert sorted(server.query("primary", "KEYS", "*")) == ["other:1:a", "other:1:b"]


def test_more_deletions_than_can_be_noted_clear_the_prefix(proxy, server):
    cache, other = cache_at(at(proxy), prefix="mine"), cache_at(at(proxy), prefix="other")
    cache.stack.journal._most = 10
    cache.set_many({f"k{number}": number for number in range(30)})
    other.set("k", 1)
    proxy.refuse()
    for number in range(20):
        cache.delete(f"k{number}")
    assert len(cache.stack.journal) <= 11
    proxy.accept()
    assert cache.get("k1") is None
    until(lambda: not len(cache.stack.journal), "the replay")
    assert server.query("primary", "KEYS", "*") == ["other:1:k"]


def test_a_slow_redis_takes_no_more_of_a_request_than_its_budget(proxy, through):
    cache = through(cache_at(at(proxy), budget=0.8, breaker={"failures": 1_000}))
    cache.set("k", "value")
    proxy.delay = 0.5
    budget.begin()
    try:
        for _ in range(30):
            assert cache.get("k") in ("value", None)
            cache.set("k", "value")
        spent = budget.current.get()
        assert spent.spent <= 0.8
        assert spent.refused > 20
    finally:
        budget.end()


def test_replies_cut_off_in_the_middle_are_nobodys_value(proxy):
    cache = cache_at(at(proxy), breaker={"failures": 10_000})
    values = {f"k{number}": f"value of k{number} " * 50 for number in range(20)}
    cache.set_many(values)
    for turn in range(15):
        proxy.fault = "cut" if turn % 3 == 0 else ""
        for key, value in values.items():
            assert cache.get(key) in (value, None)
    proxy.fault = ""
    assert cache.get_many(values) == {} or all(values[key] == value for key, value in cache.get_many(values).items())


def test_a_server_that_swallows_what_it_is_asked_is_left_alone_after_a_while(proxy):
    cache = cache_at(at(proxy), SOCKET_TIMEOUT=0.05)
    cache.set("k", "value")
    proxy.fault = "swallow"
    for _ in range(5):
        assert cache.get("k") == "value"
    assert not cache.stack.link.breaker.closed
    proxy.fault = ""
    proxy.sever()
    until(lambda: cache.get("k") is not None and cache.stack.link.breaker.closed, "recovery")


def test_a_redis_that_is_full_refuses_writes_and_serves_nothing_older(server, through):
    cache = through(cache_at(server.urls()["primary"], prefix="full"))
    cache.set("k", "older")
    cache.set("gone", "older")
    before = server.config("primary", "maxmemory", "1")
    try:
        cache.set("k", "newer")
        # Deleting needs no room: the older value may be gone by now, and Redis be believed again, which has nothing.
        assert cache.get("k") in ("newer", None)
        assert cache.stack.link.failures.get("oom", 0) >= 1
        assert cache.stack.link.breaker.closed
        assert cache.delete("gone")
        assert cache.get("gone") is None
    finally:
        server.config("primary", "maxmemory", before)
    until(lambda: not len(cache.stack.journal), "the replay")
    assert cache.get("k") is None


def test_a_replica_refuses_writes_and_nothing_older_is_served(server, through):
    cache = through(cache_at(server.urls()["primary"], prefix="readonly"))
    cache.set("k", "older")
    server.config("primary", "replica-serve-stale-data", "yes")
    server.query("primary", "REPLICAOF", "127.0.0.1", "1")
    try:
        cache.delete("k")
        assert cache.get("k") is None
        cache.set("k", "newer")
        assert cache.get("k") == "newer"
        assert cache.stack.link.failures.get("readonly", 0) >= 1
    finally:
        server.query("primary", "REPLICAOF", "NO", "ONE")
    until(lambda: not len(cache.stack.journal), "the replay")
    assert cache.get("k") is None


def test_a_key_that_holds_something_else_is_a_miss_and_can_be_written(server, through):
    cache = through(cache_at(server.urls()["primary"], prefix="list"))
    server.query("primary", "DEL", "list:1:k")
    server.query("primary", "RPUSH", "list:1:k", "x")

    assert cache.get("k") is None
    assert cache.get_many(["k"]) == {}
    assert cache.incr("k") == 1
    cache.set("k", "value")
    assert cache.get("k") == "value"


def test_a_wrong_password_costs_no_error(server):
    with_password = server.urls()["primary"].replace("redis://", "redis://somebody:wrong@")
    cache = cache_at(with_password)
    everything(cache)
    assert cache.get_or_set("k", lambda: "made") == "made"


def test_killed_frozen_and_started_again_empty(through):
    with own(Redis) as server:
        cache = through(cache_at(server.urls()["primary"], SOCKET_TIMEOUT=0.05))
        cache.set("k", "value")
        server.freeze("primary")
        for _ in range(10):
            everything(cache)
        server.thaw("primary")
        until(lambda: not len(cache.stack.journal), "the replay")
        server.kill("primary")
        for _ in range(10):
            everything(cache)
        server.restart("primary")
        until(lambda: not len(cache.stack.journal), "the replay")
        cache.set("k", "after")
        until(lambda: cache.stack.link.breaker.closed, "recovery")
        assert cache.get("k") == "after"


def test_a_failover_by_sentinel_costs_no_error():
    with own(RedisSentinel) as server:
        cache = cache_at(server.urls()["sentinel"], SOCKET_TIMEOUT=0.1)
        cache.set("k", "value")
        errors, stop = [], threading.Event()

        def use():
            try:
                while not stop.is_set():
                    everything(cache)
            except Exception as error:  # noqa: BLE001  (whatever it is, the test fails with it)
                errors.append(error)

        user = threading.Thread(target=use)
        user.start()
        old = server.primary()
        server.kill(old)
        until(lambda: server.failed_over(old), "the failover")
        stop.set()
        user.join()
        assert errors == []

        def works():
            cache.set("after", "value")
            return cache.stack.link.breaker.closed and not len(cache.stack.journal) and cache.get("after") == "value"

        until(works, "writing to the new primary")


def test_a_cluster_without_one_node_serves_the_others_keys():
    with own(RedisCluster) as server:
        server.config("node1", "cluster-require-full-coverage", "no")
        server.config("node2", "cluster-require-full-coverage", "no")
        server.config("node3", "cluster-require-full-coverage", "no")
        cache = cache_at(server.urls()["cluster"], prefix="c", breaker={"failures": 10_000}, memory=None)
        keys = [f"k{number}" for number in range(60)]
        cache.set_many(dict.fromkeys(keys, "value"))
        assert cache.get_many(keys) == dict.fromkeys(keys, "value")
        server.kill("node3")
        lost = [key for key in keys if server.owner(f"c:1:{key}") == "node3"]
        for key in keys:
            assert cache.get(key) == "value" or key in lost
        everything(cache)


def test_a_slot_that_moves_in_mid_run_loses_nothing():
    server = get(RedisCluster)
    cache = cache_at(server.urls()["cluster"], prefix="m")
    keys = [f"k{number}" for number in range(40)]
    cache.set_many({key: f"value of {key}" for key in keys})
    slot = int(server.query("node1", "CLUSTER", "KEYSLOT", "m:1:k0"))
    source = server.owner("m:1:k0")
    target = next(node for node in ("node1", "node2", "node3") if node != source)
    try:
        server.move_slot(slot, source, target)
        assert cache.get_many(keys) == {key: f"value of {key}" for key in keys}
        assert cache.get("k0") == "value of k0"
    finally:
        server.move_slot(slot, target, source)


def test_a_child_does_not_believe_redis_before_the_replay_either(proxy):
    cache = cache_at(at(proxy))
    cache.set("k", "older")
    proxy.refuse()
    cache.delete("k")
    child = os.fork()
    if child == 0:
        os._exit(0 if cache.get("k") is None and len(cache.stack.journal) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    proxy.accept()
    until(lambda: not len(cache.stack.journal), "the replay")


def test_a_cancelled_task_leaves_no_reply_for_the_next(proxy):
    cache = cache_at(at(proxy), breaker={"failures": 10_000})
    values = {f"k{number}": f"value of k{number}" for number in range(10)}
    cache.set_many(values)

    async def work():
        proxy.delay = 0.05
        for turn in range(20):
            task = asyncio.create_task(cache.aget(f"k{turn % 10}"))
            await asyncio.sleep(0.01 * (turn % 4))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        proxy.delay = 0.0
        return [(key, await cache.aget(key)) for key in values]

    for key, value in asyncio.run(work()):
        assert value in (values[key], None)
