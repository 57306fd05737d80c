"""The async twins are real: they wait on the loop, in no thread, and do what the sync methods do."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, async_to_sync

from noa_perf.cache.backend import TieredCache
from noa_perf.cache.exceptions import NotCacheable
from noa_perf.cache.redis_api import RedisMethods
from tests.cache import sites
from tests.cache.sites import asking, made
from tests.library.models import Author
from tests.servers import get
from tests.servers.redis import Redis, RedisCluster, RedisSentinel

LOCATIONS: dict[str, Callable[[], str]] = {
    "memory": lambda: "",
    "redis": lambda: get(Redis).urls()["primary"],
    "cluster": lambda: get(RedisCluster).urls()["cluster"],
    "sentinel": lambda: get(RedisSentinel).urls()["sentinel"],
}


PATIENT: dict[str, Any] = {
    "SOCKET_TIMEOUT": 5, "SOCKET_CONNECT_TIMEOUT": 5, "CONNECTION_POOL_KWARGS": {"timeout": 5}, "budget": 60,
    "breaker": {"slow_seconds": 10},
}  # fmt: skip
"""A hundred tasks that connect at once on a busy machine: what they count matters here, not how fast."""
MARKED = [pytest.param(name, marks=[pytest.mark.server] if name != "memory" else []) for name in LOCATIONS]


@pytest.fixture(params=MARKED)
def cache(request) -> Iterator[TieredCache]:
    location = LOCATIONS[request.param]()
    yield asking(location, **PATIENT) if location else made()
    sites.forget()


@pytest.fixture
def no_threads(monkeypatch) -> None:
    """Fail where anything leaves the loop for a thread."""

    async def called(self: SyncToAsync[Any, Any], *args: Any, **kwargs: Any) -> None:
        raise AssertionError("a thread")

    monkeypatch.setattr(SyncToAsync, "__call__", called)


def test_every_method_has_a_twin_of_its_own():
    for name in (
        "get",
        "set",
        "add",
        "touch",
        "delete",
        "get_many",
        "set_many",
        "delete_many",
        "has_key",
        "incr",
        "clear",
    ):
        assert f"a{name}" in vars(TieredCache), name
    for name in vars(RedisMethods):
        if not name.startswith(("_", "a")) and callable(getattr(RedisMethods, name)) and name != "get_lock":
            assert f"a{name}" in vars(RedisMethods), name


async def test_all_of_it_on_the_loop(cache, no_threads):
    assert await cache.aget("k", "none") == "none"
    assert await cache.aset("k", {"a": (1,)}) is True
    assert await cache.aget("k") == {"a": (1,)}
    assert await cache.aadd("k", 1) is False
    assert await cache.aadd("n", 1) is True
    assert await cache.aincr("n", 4) == 5
    assert await cache.adecr("n") == 4
    with pytest.raises(ValueError, match="'m' not found"):
        await cache.aincr("m")
    assert await cache.ahas_key("n") is True
    assert await cache.atouch("n", 100) is True
    assert await cache.atouch("m") is False
    assert await cache.aset_many({"a": 1, "b": [2]}) == []
    assert await cache.aget_many(["a", "b", "m"]) == {"a": 1, "b": [2]}
    assert await cache.adelete_many(["a", "m"]) == 1
    assert await cache.adelete_many([]) is None
    assert await cache.adelete("b") is True
    assert await cache.adelete("b") is False
    assert await cache.aget_or_set("c", lambda: 3) == 3
    assert await cache.aget_or_set("c", 4) == 3
    assert await cache.aincr_version("c") == 2
    assert await cache.aget("c") is None
    assert await cache.aget("c", version=2) == 3
    await cache.aset("gone", 1, 0)
    assert await cache.aget("gone") is None
    await cache.aclear()
    assert await cache.aget_many(["k", "n"]) == {}
    await cache.aclose()


async def test_all_of_django_redis_on_the_loop(cache, no_threads):
    await cache.aset_many({"a:1": 1, "a:2": 2}, 100)
    assert await cache.attl("a:1") == 100
    assert sorted(await cache.akeys("a:*")) == ["a:1", "a:2"]
    assert await cache.apersist("a:1") is True
    assert await cache.aexpire("a:1", 5) is True
    async with cache.alock("job", timeout=5):
        assert not await cache.alock("job").acquire(blocking=False)
    assert await cache.adelete_pattern("a:*") == 2


@pytest.mark.django_db(transaction=True)
async def test_a_queryset_is_fetched_in_a_thread_and_not_on_the_loop(cache):
    await Author.objects.acreate(name="Ann")
    for store in (cache.aset, cache.aadd):
        await cache.adelete("authors")
        await store("authors", Author.objects.all())
        assert [author.name for author in await cache.aget("authors")] == ["Ann"]
    await cache.aset_many({"x": Author.objects.values("name")})
    assert list(await cache.aget("x")) == [{"name": "Ann"}]


async def test_what_one_way_wrote_the_other_reads(cache):
    await cache.aset("a", [1])
    assert cache.get("a") == [1]
    cache.set("b", [2])
    assert await cache.aget("b") == [2]
    cache.delete("b")
    assert await cache.aget("b") is None


async def test_many_tasks_at_once_count_right(cache):
    await cache.aset("n", 0)
    await asyncio.gather(*(cache.aincr("n") for _ in range(100)))
    assert await cache.aget("n") == 100
    found = await asyncio.gather(*(cache.aadd("once", n) for n in range(30)))
    assert sum(found) == 1
    await asyncio.gather(*(cache.aset(f"k{n}", [n]) for n in range(100)))
    assert await asyncio.gather(*(cache.aget(f"k{n}") for n in range(100))) == [[n] for n in range(100)]


async def test_nothing_that_cannot_be_kept(cache):
    with pytest.raises(NotCacheable):
        await cache.aset("k", lambda: None)
    with pytest.raises(NotCacheable):
        await cache.aset_many({"k": (n for n in [1])})


def test_loops_and_threads_one_after_another(cache):
    cache.set("n", 0)

    def work() -> None:
        for _ in range(5):
            async_to_sync(cache.aincr)("n")
            asyncio.run(cache.aincr("n"))

    with warnings.catch_warnings(record=True) as caught:
        gc.collect()
        caught.clear()
        warnings.simplefilter("always", ResourceWarning)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        gc.collect()
    assert cache.get("n") == 40
    assert not [str(one.message) for one in caught if "unclosed" in str(one.message)]


async def test_a_hit_in_memory_waits_for_nothing(no_threads):
    cache = made()
    await cache.aset("k", "v")
    running = cache.aget("k")
    with pytest.raises(StopIteration) as done:
        running.send(None)
    assert done.value.value == "v"
