"""One process's way to one Redis: what fits the budget, what the breaker hears of, and what is never raised."""

from __future__ import annotations

import asyncio
import itertools
import logging
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis as driver

from noa_perf.cache import budget
from noa_perf.cache.tiers import link as links
from noa_perf.cache.tiers.link import Link
from noa_perf.cache.tiers.wishes import Batch, Command, Get, GetMany, Lua, Scan, Story, Wish
from noa_perf.core.breaker import BreakerPolicy
from noa_perf.core.clock import ManualClock
from noa_perf.core.redis import Script, Unavailable, parse
from tests.core.test_redis_clients import DRIPPING, Dripper
from tests.servers import get
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis, RedisCluster

_prefixes = itertools.count()


def made(location: str = "redis://127.0.0.1:1", *, limit: float | None = 1.0, **options: Any) -> Link:
    policy = BreakerPolicy(failures=1000, slow_calls=3, slow_seconds=0.1, cooldown=1.0)
    return Link(parse(location, options), limit=limit, policy=policy, alias="default", clock=ManualClock())


def story(wish: Wish) -> Story[Any]:
    return (yield wish)


@pytest.fixture(params=["sync", "async"])
def ask(request) -> Callable[[Link, Wish], Any]:
    """Fulfils one wish, by either client."""
    if request.param == "sync":
        return lambda link, wish: link.run(story(wish))
    return lambda link, wish: asyncio.run(link.arun(story(wish)))


@pytest.mark.parametrize("seconds", [5, 0.3, None])
def test_timeouts_are_cut_so_that_a_wish_fits_the_budget(seconds, caplog):
    caplog.set_level(logging.INFO)
    link = made(SOCKET_TIMEOUT=seconds, SOCKET_CONNECT_TIMEOUT=seconds)
    assert link.clamped
    assert link.reserve == 0.75
    assert link.target.options["socket_timeout"] == 0.25
    assert link.clients.get().connection_pool.connection_kwargs["socket_connect_timeout"] == 0.25
    assert "each takes 0.25 s at most" in caplog.text
    budget.begin()
    assert link._enter() >= 0
    budget.end()


@pytest.mark.parametrize("limit", [0, None, 40])
def test_where_there_is_no_budget_or_enough_nothing_is_cut(limit, caplog):
    caplog.set_level(logging.INFO)
    link = made(limit=limit, SOCKET_TIMEOUT=5, SOCKET_CONNECT_TIMEOUT=5)
    assert not link.clamped
    assert link.reserve == 10.25
    assert not caplog.text
    budget.begin()
    assert link._enter() >= 0
    budget.end()


ODD = "odd\ud800key"
"""A key with a lone surrogate, which no UTF-8 has."""


@pytest.mark.server
@pytest.mark.parametrize("topology", [Redis, RedisCluster])
def test_a_key_that_is_no_utf_8_works_in_every_wish(topology, ask):
    link = made(get(topology).urls()["primary" if topology is Redis else "cluster"])
    key = f"{{l{next(_prefixes)}}}{ODD}"
    assert ask(link, Command(("SET", key, b"v")))
    assert ask(link, Get(key)) == b"v"
    assert ask(link, GetMany((key, key + "none"))) == [b"v", None]
    assert ask(link, Lua(Script("return redis.call('GET', KEYS[1])"), (key,), ())) == b"v"
    found: list[bytes] = []
    place: Any = (0, 0)
    while place:
        keys, place = ask(link, Scan(key.replace("{", "?").replace("}", "?")[:-3] + "*", place, 1000))
        found += keys
    assert [one.decode("utf-8", "surrogatepass") for one in found] == [key]
    assert ask(link, Batch([("GET", key), ("DEL", key)])) == [b"v", 1]
    assert link.failures == {}


@pytest.fixture
def broken(monkeypatch) -> Callable[[BaseException], None]:
    """Let each wish raise something."""

    def let(error: BaseException) -> None:
        def perform(*args: Any) -> Any:
            raise error

        async def aperform(*args: Any) -> Any:
            raise error

        monkeypatch.setattr(links, "perform", perform)
        monkeypatch.setattr(links, "aperform", aperform)

    return let


def test_a_fault_of_ours_is_told_once_and_never_raised(broken, ask, caplog):
    link = made()
    caplog.set_level(logging.WARNING)
    broken(KeyError("ours"))
    for _ in range(3):
        with pytest.raises(Unavailable) as caught:
            ask(link, Get("k"))
        assert caught.value.kind == "fault"
    assert link.failures == {"fault": 3}
    assert caplog.text.count("KeyError") == 1
    assert link.breaker.closed


@pytest.mark.parametrize("error", [KeyError("ours"), KeyboardInterrupt(), asyncio.CancelledError()])
def test_a_probe_that_a_fault_or_an_interrupt_ends_is_reported(broken, ask, error):
    link = made()
    link.breaker.force_open()
    link.breaker._retry_at = link.clock.monotonic()
    broken(error)
    with pytest.raises((Unavailable, KeyboardInterrupt, asyncio.CancelledError)):
        ask(link, Get("k"))
    assert link.breaker.state == "open"
    link.clock.advance(3)  # type: ignore[attr-defined]
    assert link.breaker.allow()


class TimeLimit(Exception):
    """What a worker's signal handler raises."""


@pytest.mark.server
def test_a_time_limit_of_a_task_gets_through():
    def handler(number: int, frame: Any) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with Proxy(get(Redis).ports["primary"]) as proxy:
            link = made(f"redis://127.0.0.1:{proxy.port}")
            link.run(story(Get("k")))
            proxy.delay = 0.2
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(TimeLimit):
                link.run(story(Get("k")))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


BULK = [Batch([("GET", "k")] * 1000), GetMany(("k",) * 1000), Scan("*")]


def slow(link: Link, monkeypatch: pytest.MonkeyPatch, reply: Any) -> None:
    def perform(*args: Any) -> Any:
        link.clock.advance(0.5)  # type: ignore[attr-defined]
        return reply

    async def aperform(*args: Any) -> Any:
        return perform()

    monkeypatch.setattr(links, "perform", perform)
    monkeypatch.setattr(links, "aperform", aperform)


@pytest.mark.parametrize("wish", BULK, ids=lambda wish: type(wish).__name__)
def test_bulk_does_not_open_the_breaker(wish, ask, monkeypatch):
    link = made()
    slow(link, monkeypatch, [])
    for _ in range(10):
        ask(link, wish)
    assert link.breaker.closed
    calls, seconds, _ = link.drain()
    assert (calls, round(seconds, 6)) == (10, 5.0)


def test_a_command_that_drags_still_does(ask, monkeypatch):
    link = made()
    slow(link, monkeypatch, b"")
    for _ in range(3):
        ask(link, Get("k"))
    assert link.breaker.state == "open"


def test_what_is_refused_within_a_batch_is_counted_and_logged_once(ask, monkeypatch, caplog):
    link = made()
    caplog.set_level(logging.WARNING)
    slow(link, monkeypatch, [driver.OutOfMemoryError("OOM"), b"OK", driver.OutOfMemoryError("OOM")])
    for _ in range(2):
        ask(link, Batch([("SET", "k", 1)] * 3))
    assert link.failures == {"oom": 4}
    assert caplog.text.count("maxmemory") == 2  # one line names it twice


@pytest.mark.server
def test_a_wish_that_drips_ends_in_time(ask):
    with Dripper(DRIPPING, 0.1) as server:
        link = made(server.url, SOCKET_TIMEOUT=0.15, SOCKET_CONNECT_TIMEOUT=0.1, timeout=0.1)
        begun = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            ask(link, Get("k"))
        assert caught.value.kind == "timeout"
        assert time.monotonic() - begun < 4 * link.reserve + 0.5
