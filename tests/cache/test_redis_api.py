from __future__ import annotations

import asyncio
import datetime as dt
import logging
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.cache.backends.base import default_key_func
from redis.exceptions import LockError

from noa_perf.cache.backend import TieredCache
from noa_perf.cache.exceptions import LockNotTaken
from noa_perf.cache.locks import AsyncLock
from noa_perf.cache.tiers.locks import LocalLocks
from noa_perf.core.clock import ManualClock
from tests.cache import sites
from tests.cache.sites import bare, made
from tests.servers import get
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis, RedisCluster, RedisSentinel, RedisServer

SERVERS: dict[type[RedisServer], str] = {Redis: "primary", RedisCluster: "cluster", RedisSentinel: "sentinel"}
SETUPS = [
    f"{where}, {how}" for where in ("memory", "redis", "redis_cluster", "redis_sentinel") for how in ("sync", "async")
]


class Held:
    """An async lock, driven by a loop of its own for each call."""

    def __init__(self, lock: AsyncLock) -> None:
        self.lock = lock

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.lock, name)
        if not asyncio.iscoroutinefunction(found):
            return found
        return async_to_sync(found)

    def __enter__(self) -> Held:
        async_to_sync(self.lock.__aenter__)()
        return self

    def __exit__(self, *error: Any) -> None:
        async_to_sync(self.lock.__aexit__)(*error)


class Twins:
    """A cache whose every call is done by its async twin."""

    def __init__(self, cache: TieredCache) -> None:
        self.cache = cache

    def __getattr__(self, name: str) -> Any:
        if name == "lock":
            return lambda key, **kwargs: Held(self.cache.alock(key, **{**kwargs, "thread_local": False}))
        if name == "iter_keys":
            return self._iter_keys
        twin = getattr(self.cache, f"a{name}", None)
        return async_to_sync(twin) if asyncio.iscoroutinefunction(twin) else getattr(self.cache, name)

    def _iter_keys(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        async def collect() -> list[Any]:
            return [name async for name in self.cache.aiter_keys(*args, **kwargs)]

        return iter(async_to_sync(collect)())


def location(name: str) -> str:
    for cls, role in SERVERS.items():
        if cls.name == name:
            return get(cls).urls()[role]
    return ""


@pytest.fixture
def url() -> Iterator[str]:
    yield location("redis")
    sites.forget()


@pytest.fixture(params=[pytest.param(one, marks=() if "memory" in one else pytest.mark.server) for one in SETUPS])
def cache(request) -> Iterator[Any]:
    where, _, how = request.param.partition(", ")
    found = made(location(where), memory={"staleness": 0.2})
    yield found if how == "sync" else Twins(found)
    sites.forget()


@pytest.fixture(params=["sync", "async"])
def away(request) -> Iterator[Any]:
    """A cache whose Redis was never there."""
    with Proxy(1) as gone:
        port = gone.port
    found = made(f"redis://127.0.0.1:{port}")
    yield found if request.param == "sync" else Twins(found)
    sites.forget()


# Time to live


def test_time_to_live(cache):
    cache.set("k", "v", 10)
    assert cache.ttl("k") == 10
    assert 9_000 < cache.pttl("k") <= 10_000
    cache.set("ever", "v", None)
    assert cache.ttl("ever") is None
    assert cache.pttl("ever") is None
    assert cache.ttl("missing") == 0
    assert cache.pttl("missing") == 0
    assert cache.ttl("k", version=2) == 0


def test_persist(cache):
    cache.set("k", "v", 10)
    assert cache.persist("k") is True
    assert cache.ttl("k") is None
    assert cache.get("k") == "v"
    assert cache.persist("k") is False
    assert cache.persist("missing") is False


def test_expire(cache):
    cache.set("k", "v", 10)
    assert cache.expire("k", 100) is True
    assert cache.ttl("k") == 100
    assert cache.expire("k", dt.timedelta(minutes=1)) is True
    assert cache.ttl("k") == 60
    assert cache.expire("k") is True
    assert cache.ttl("k") == 300
    assert cache.expire("k", None) is True
    assert cache.ttl("k") is None
    assert cache.expire("k", 0) is True
    assert cache.get("k") is None
    assert cache.expire("missing", 10) is False


def test_expire_in_milliseconds(cache):
    cache.set("k", "v", 10)
    assert cache.pexpire("k", 2500) is True
    assert 2000 < cache.pttl("k") <= 2500
    assert cache.pexpire("k", 30) is True
    time.sleep(0.05)
    assert cache.get("k") is None
    assert cache.pexpire("missing", 10) is False


def test_expire_at_a_moment(cache):
    cache.set("k", "v", 10)
    assert cache.expire_at("k", time.time() + 50) is True
    assert 48 <= cache.ttl("k") <= 50
    assert cache.expire_at("k", dt.datetime.now(dt.UTC) + dt.timedelta(seconds=90)) is True
    assert 88 <= cache.ttl("k") <= 90
    assert cache.pexpire_at("k", int((time.time() + 20) * 1000)) is True
    assert 18 <= cache.ttl("k") <= 20
    assert cache.get("k") == "v"
    assert cache.expire_at("k", time.time() - 5) is True
    assert cache.get("k") is None
    assert cache.expire_at("missing", time.time() + 5) is False


@pytest.mark.server
def test_what_was_prolonged_elsewhere_is_prolonged_here(url):
    one = made(url)
    other = TieredCache(url, {"KEY_PREFIX": one.key_prefix, "OPTIONS": {"memory": {"max_entries": 7}}})
    one.set("k", "v", 0.2)
    assert other.persist("k")
    time.sleep(0.25)
    assert one.get("k") == "v"


# Patterns


NAMES = {f"product:{n}": n for n in range(30)} | {"menu": 1, "menu:de": 2, "a*b": 3, "axb": 4, "ü:1": 5}


def test_keys(cache):
    cache.set_many(NAMES)
    cache.set("product:other", 1, version=2)
    assert sorted(cache.keys("*")) == sorted(NAMES)
    assert sorted(cache.keys("menu*")) == ["menu", "menu:de"]
    assert sorted(cache.keys("product:1?")) == [f"product:{n}" for n in range(10, 20)]
    assert sorted(cache.keys("product:[12]")) == ["product:1", "product:2"]
    assert cache.keys("ü:*") == ["ü:1"]
    assert cache.keys("*", version=2) == ["product:other"]
    assert cache.keys("nothing*") == []
    assert cache.keys("a\\*b") == ["a*b"]


def test_iter_keys(cache):
    cache.set_many(NAMES)
    found = cache.iter_keys("product:*", itersize=3)
    assert next(found).startswith("product:")
    assert {*cache.iter_keys("product:*", itersize=3)} == {name for name in NAMES if name.startswith("product:")}


def test_delete_pattern(cache):
    cache.set_many(NAMES)
    cache.set("product:1", 1, version=2)
    assert cache.delete_pattern("product:*") == 30
    assert sorted(cache.keys("*")) == ["a*b", "axb", "menu", "menu:de", "ü:1"]
    assert cache.get("product:1") is None
    assert cache.get("product:1", version=2) == 1
    assert cache.delete_pattern("a*b", itersize=10) == 2
    assert cache.delete_pattern("nothing") == 0


def test_other_prefixes_are_left_alone(cache):
    inner = cache.cache if isinstance(cache, Twins) else cache
    inner.key_prefix = "p[1]*"
    cache.set("k", "mine")
    inner.key_prefix = "p1xxx"
    cache.set("k", "other's")
    inner.key_prefix = "p[1]*"
    assert cache.keys("*") == ["k"]
    assert cache.delete_pattern("*") == 1
    inner.key_prefix = "p1xxx"
    assert cache.get("k") == "other's"
    assert cache.delete_pattern("*", prefix="nobody's") == 0
    inner.key_prefix = "x"
    assert cache.delete_pattern("*", prefix="p1xxx") == 1


def backwards(key: str, prefix: str, version: int) -> str:
    return f"{key}/{version}/{prefix}"


def forwards(key: str) -> str:
    return key.split("/", maxsplit=1)[0]


@pytest.mark.parametrize("where", ["memory", pytest.param("redis", marks=pytest.mark.server)])
def test_a_key_function_and_its_reverse(where):
    params = {"KEY_FUNCTION": backwards, "REVERSE_KEY_FUNCTION": f"{__name__}.forwards"}
    cache = made(location(where), **params)
    cache.set_many({"a:1": 1, "a:2": 2, "b:1": 3})
    assert sorted(cache.keys("a:*")) == ["a:1", "a:2"]
    assert cache.delete_pattern("a:*") == 2
    assert cache.keys("*") == ["b:1"]
    in_options = made(location(where), KEY_FUNCTION=backwards)
    in_options._reverse = None
    in_options.set("a", 1)
    assert in_options.keys("*") == [in_options.make_key("a")]


@pytest.mark.filterwarnings("ignore::django.core.cache.CacheKeyWarning")
def test_a_prefix_with_colons_is_taken_off_whole():
    cache = made(KEY_PREFIX="shop:de")
    cache.set_many({"a:1": 1, "with space": 2})
    assert sorted(cache.keys("*")) == ["a:1", "with space"]
    assert default_key_func("a:1", "shop:de", 1) == "shop:de:1:a:1"


# Writing


def test_set_only_where_it_is_not_there(cache):
    assert cache.set("k", 1, nx=True) is True
    assert cache.set("k", 2, nx=True) is False
    assert cache.get("k") == 1
    assert cache.set("k", 3) is True
    assert cache.set("short", 1, 0.05, nx=True) is True
    time.sleep(0.07)
    assert cache.set("short", 2, nx=True) is True


def test_set_only_where_it_is_there(cache):
    assert cache.set("k", 1, xx=True) is False
    assert cache.get("k") is None
    cache.set("k", 1, 10)
    assert cache.set("k", [2], 100, xx=True) is True
    assert cache.get("k") == [2]
    assert cache.ttl("k") == 100
    assert cache.set("k", 3, nx=True, xx=True) is False
    assert cache.set("k", 3, 0, xx=True) is True
    assert cache.get("k") is None


def test_incr_that_makes_its_key(cache):
    with pytest.raises(ValueError, match="not found"):
        cache.incr("n")
    assert cache.incr("n", 5, ignore_key_check=True) == 5
    assert cache.incr("n", ignore_key_check=True) == 6
    assert cache.incr("n") == 7
    assert cache.ttl("n") is None
    assert cache.incr("f", 1.5, ignore_key_check=True) == 1.5
    assert cache.incr("f", 1.5, ignore_key_check=True) == 3.0
    cache.set("n", 2**63 - 1, 50)
    assert cache.incr("n", ignore_key_check=True) == 2**63
    assert 48 <= cache.ttl("n") <= 50


def test_the_rest_of_what_django_redis_returns(cache):
    cache.set_many({"a": 1, "b": 2, "c": 3})
    assert cache.delete_many(["a", "b", "missing"]) == 2
    assert cache.touch("c", 50) is True
    assert cache.ttl("c") == 50
    assert cache.get_or_set("c", lambda: 5) == 3
    assert cache.get_or_set("d", lambda: 5, 10) == 5
    assert cache.delete("d") is True
    cache.close()
    assert cache.get("c") == 3


# Locks


def test_a_lock_is_held_once(cache):
    one, other = cache.lock("job", timeout=10), cache.lock("job", timeout=10)
    assert one.acquire() is True
    assert one.locked() is True
    assert one.owned() is True
    assert other.owned() is False
    assert other.acquire(blocking=False) is False
    started = time.monotonic()
    assert other.acquire(blocking_timeout=0.15, sleep=0.05) is False
    assert time.monotonic() - started < 0.5
    assert one.release() is True
    assert one.locked() is False
    assert other.acquire(blocking=False) is True
    assert other.release() is True


def test_a_lock_as_a_context(cache):
    with cache.lock("job", timeout=10), cache.lock("other job"):
        with pytest.raises(LockNotTaken, match="job"), cache.lock("job", blocking_timeout=0.05, sleep=0.02):
            pytest.fail("two hold it")
        with pytest.raises(LockError), cache.lock("job", blocking=False):
            pytest.fail("two hold it")
    with pytest.raises(RuntimeError), cache.lock("job"):
        raise RuntimeError
    with cache.lock("job", version=2), cache.lock("job"):
        pass


def test_who_does_not_hold_it_cannot_give_it_back(cache):
    lock, other = cache.lock("job"), cache.lock("job")
    lock.acquire()
    for call in (other.release, lambda: other.extend(5)):
        with pytest.raises(LockNotTaken):
            call()
    assert lock.release() is True
    with pytest.raises(LockNotTaken):
        lock.release()


def test_a_lock_that_was_over_is_not_taken_from_the_next(cache, caplog):
    lock, other = cache.lock("job", timeout=0.05), cache.lock("job", timeout=10)
    lock.acquire()
    time.sleep(0.08)
    assert other.acquire(blocking=False) is True
    assert lock.owned() is False
    assert lock.extend(5) is False
    assert lock.release() is False
    assert other.owned() is True
    other.release()
    with caplog.at_level(logging.WARNING, "noa_perf.cache"), cache.lock("job", timeout=0.02):
        time.sleep(0.05)
    assert "was over before" in caplog.text


def test_a_lock_is_extended(cache):
    lock = cache.lock("job", timeout=0.2)
    lock.acquire()
    assert lock.extend(10) is True
    time.sleep(0.25)
    assert lock.owned() is True
    assert lock.reacquire() is True
    time.sleep(0.25)
    assert lock.owned() is False
    without = cache.lock("other job")
    without.acquire()
    assert without.extend(1) is False
    assert without.reacquire() is False
    assert without.extend(0.02, replace_ttl=True) is True
    time.sleep(0.05)
    assert without.owned() is False


def test_threads_take_turns(cache):
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(5):
            with cache.lock("turn", timeout=10, sleep=0.001):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == [1] * 30


@pytest.mark.server
async def test_tasks_take_turns(url):
    cache, inside, most = made(url), [], []

    async def work() -> None:
        for _ in range(5):
            async with cache.alock("turn", timeout=10, sleep=0.001):
                inside.append(1)
                most.append(len(inside))
                await asyncio.sleep(0.001)
                inside.pop()

    await asyncio.gather(*(work() for _ in range(6)))
    assert most == [1] * 30


def test_a_token_belongs_to_its_thread():
    lock, shared = made().lock("a"), made().lock("b", thread_local=False)
    tokens: list[Any] = []
    for one in (lock, shared):
        one.acquire()
        thread = threading.Thread(target=lambda one=one: tokens.append(one.token))
        thread.start()
        thread.join()
    assert tokens == ["", shared.token]


@pytest.mark.server
def test_locks_of_redis_py_and_ours_exclude_each_other(url):
    cache = made(url)
    theirs = bare(cache).lock(cache.make_key("job"), timeout=10)
    assert theirs.acquire(blocking=False)
    assert not cache.lock("job").acquire(blocking=False)
    theirs.release()
    lock = cache.lock("job", timeout=10)
    assert lock.acquire(blocking=False)
    assert not theirs.acquire(blocking=False)
    assert bare(cache).pttl(lock.name) > 9000
    assert cache.delete("job")  # how an operator breaks a lock
    assert theirs.acquire(blocking=False)
    assert lock.release() is False
    assert theirs.owned()


# Redis is away


def test_nothing_raises_while_redis_is_away(away):
    assert away.ttl("k") == 0
    assert away.pttl("k") == 0
    assert away.persist("k") is False
    assert away.expire("k", 5) is False
    assert away.pexpire("k", 5) is False
    assert away.expire_at("k", time.time() + 5) is False
    assert away.pexpire_at("k", (time.time() + 5) * 1000) is False
    assert away.set("k", 1, xx=True) is False
    assert away.set("k", 1, 60, nx=True) is True
    assert away.set("k", 2, 60, nx=True) is False
    assert away.set("k", 2, 60, xx=True) is True
    assert away.ttl("k") == 60
    assert away.persist("k") is True
    assert away.ttl("k") is None
    assert away.expire("k", 5) is True
    assert away.expire_at("k", time.time() + 50) is True
    assert 48 <= away.ttl("k") <= 50
    assert away.keys("*") == ["k"]
    assert list(away.iter_keys("k*")) == ["k"]
    assert away.incr("n", ignore_key_check=True) == 1
    assert away.incr("n", ignore_key_check=True) == 2
    assert away.delete_pattern("k*") == 1
    assert away.get("k") is None


def test_locks_hold_within_the_process_while_redis_is_away(away, caplog):
    inner = away.cache if isinstance(away, Twins) else away
    with caplog.at_level(logging.WARNING, "noa_perf.cache"):
        for _ in range(3):
            with away.lock("job"):
                started = time.monotonic()
                assert away.lock("job").acquire(blocking_timeout=0.05, sleep=0.02) is False
                assert time.monotonic() - started < 1
                assert away.lock("job").locked() is True
    told = [record for record in caplog.records if "hold within this process" in record.getMessage()]
    assert len(told) == 1
    assert "job" not in caplog.text
    assert inner.stack.locks.taken >= 3
    lock = away.lock("job", timeout=5)
    assert lock.acquire()
    assert lock.extend(5)
    assert lock.owned()
    assert lock.release()


@pytest.mark.server
def test_a_lock_taken_while_redis_was_away_holds_when_it_is_back():
    server = get(Redis)
    with Proxy(server.ports["primary"]) as proxy:
        cache = made(f"redis://127.0.0.1:{proxy.port}", breaker={"failures": 1, "cooldown": 0.01, "max_cooldown": 0.01})
        proxy.refuse()
        lock = cache.lock("job", timeout=10)
        assert lock.acquire()
        proxy.accept()
        time.sleep(0.03)
        assert cache.stack.reachable(ask=True)
        assert not cache.lock("job").acquire(blocking=False)
        assert lock.release()
        assert cache.lock("job", timeout=10).acquire(blocking=False)


@pytest.mark.server
def test_a_lock_that_this_process_holds_is_not_taken_again_when_redis_goes_away():
    server = get(Redis)
    with Proxy(server.ports["primary"]) as proxy:
        cache = made(f"redis://127.0.0.1:{proxy.port}", breaker={"failures": 1, "cooldown": 0.01, "max_cooldown": 0.01})
        lock = cache.lock("job", timeout=10)
        assert lock.acquire()
        proxy.refuse()
        proxy.sever()
        assert not cache.lock("job").acquire(blocking=False)
        assert lock.release()
        assert cache.lock("job", timeout=10).acquire(blocking=False)


def test_of_two_that_take_a_lock_in_redis_and_alone_one_gets_it():
    locks = LocalLocks()
    assert locks.take("job", "alone", 10)
    assert not locks.taken_in_redis("job", "redis", 10)
    assert locks.give("job", "alone")
    assert locks.taken_in_redis("job", "redis", 10)
    assert not locks.take("job", "alone", 10)


@pytest.mark.server
def test_a_lock_without_end_that_was_given_back_while_redis_was_away_is_free_later():
    server = get(Redis)
    with Proxy(server.ports["primary"]) as proxy:
        cache = made(f"redis://127.0.0.1:{proxy.port}", breaker={"failures": 1, "cooldown": 0.01, "max_cooldown": 0.01})
        with cache.lock("job"):
            proxy.refuse()
            proxy.sever()
        proxy.accept()
        deadline = time.monotonic() + 5
        while server.query("primary", "EXISTS", cache.make_key("job")) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not server.query("primary", "EXISTS", cache.make_key("job"))


@pytest.mark.server
def test_keys_deleted_while_redis_was_away_are_not_named():
    server = get(Redis)
    with Proxy(server.ports["primary"]) as proxy:
        cache = made(f"redis://127.0.0.1:{proxy.port}", breaker={"failures": 1, "cooldown": 0.01, "max_cooldown": 0.01})
        cache.set_many({"a:1": 1, "a:2": 2, "b": 3})
        proxy.refuse()
        proxy.sever()
        assert cache.delete_pattern("a:*") == 2
        cache.set("b", 4)
        assert cache.keys("*") == ["b"]
        proxy.accept()
        deadline = time.monotonic() + 5
        while len(cache.stack.journal) and time.monotonic() < deadline:
            assert not {"a:1", "a:2"} & {*cache.keys("*")}
            time.sleep(0.01)
        assert cache.keys("*") == []
        assert not server.query("primary", "EXISTS", cache.make_key("a:1"))


def test_a_child_holds_none_of_its_parents_locks():
    cache = made()
    assert cache.lock("job").acquire()
    child = os.fork()
    if not child:
        os._exit(0 if cache.lock("job").acquire(blocking=False) else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert not cache.lock("job").acquire(blocking=False)


def test_local_locks_by_the_clock():
    from noa_perf.cache.tiers.locks import LocalLocks

    clock = ManualClock()
    locks = LocalLocks(clock)
    assert locks.take("a", "1", 10)
    assert not locks.take("a", "2", 10)
    clock.advance(10)
    assert locks.holder("a") == ""
    assert not locks.give("a", "1")
    assert locks.take("a", "2", None)
    assert not locks.extend("a", "2", 5, anew=False)
    assert locks.extend("a", "2", 5, anew=True)
    assert locks.extend("a", "2", 5, anew=False)
    clock.advance(9)
    assert locks.holder("a") == "2"
    assert not locks.extend("a", "1", 5, anew=True)
    clock.advance(1)
    assert locks.holder("a") == ""
