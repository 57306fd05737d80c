from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.management import call_command
from django.core.signals import request_finished, request_started
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from noa_perf.cache import budget
from noa_perf.cache.backend import TieredCache
from noa_perf.cache.middleware import CacheBudgetMiddleware
from tests.cache import sites
from tests.cache.sites import asking
from tests.servers import get
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis

REQUEST = RequestFactory().get("/")


@pytest.fixture
def slow() -> Iterator[TieredCache]:
    """A cache whose Redis takes a tenth of a second for each answer; a request may spend three of these there."""
    with Proxy(get(Redis).ports["primary"]) as proxy:
        cache = asking(
            f"redis://127.0.0.1:{proxy.port}", budget=0.55, breaker={"failures": 1000, "slow_calls": 1000},
            SOCKET_TIMEOUT=0.2, SOCKET_CONNECT_TIMEOUT=0.05,
        )  # fmt: skip
        cache.set("k", "v")
        proxy.delay = 0.1
        yield cache
    sites.forget()


def asked(cache: TieredCache) -> Callable[[], int]:
    """Return what tells how often Redis has been asked since."""
    link = cache.stack.link
    assert link is not None
    before = link.calls
    return lambda: link.calls - before


def spend(cache: TieredCache) -> None:
    for _ in range(8):
        cache.get("k")


@pytest.mark.server
@pytest.mark.django_db  # the end of a request closes connections
def test_a_request_under_wsgi_has_a_budget_and_a_command_has_none(slow):
    calls = asked(slow)
    request_started.send(sender=None, environ={})
    spend(slow)
    assert 1 <= calls() < 8
    assert slow.stack.link.failures["budget"] >= 4
    assert slow.get("k") == "v"  # memory answers
    request_finished.send(sender=None)
    assert budget.current.get() is None
    calls = asked(slow)
    spend(slow)
    assert calls() == 8


@pytest.mark.server
def test_each_request_has_its_own(slow):
    for _ in range(2):
        calls = asked(slow)
        budget.begin()
        spend(slow)
        assert 1 <= calls() < 8
    budget.end()


@pytest.mark.server
def test_the_middleware_in_a_sync_chain(slow):
    calls = asked(slow)

    def view(request: HttpRequest) -> HttpResponse:
        spend(slow)
        return HttpResponse("sync")

    middleware = CacheBudgetMiddleware(view)
    assert not iscoroutinefunction(middleware)
    assert middleware(REQUEST).content == b"sync"
    assert 1 <= calls() < 8
    assert budget.current.get() is None


@pytest.mark.server
async def test_the_middleware_in_an_async_chain_counts_what_tasks_and_threads_spend(slow):
    calls = asked(slow)
    seen: list[Any] = []

    async def view(request: HttpRequest) -> HttpResponse:
        async def task() -> None:
            for _ in range(4):
                await slow.aget("k")
            seen.append(budget.current.get())

        await task()
        await asyncio.create_task(task())
        await sync_to_async(spend)(slow)
        return HttpResponse("async")

    middleware = CacheBudgetMiddleware(view)
    assert iscoroutinefunction(middleware)
    assert (await middleware(REQUEST)).content == b"async"
    assert calls() <= 4
    assert len({id(one) for one in seen}) == 1
    assert 0 < seen[0].spent < 0.8
    assert seen[0].refused > 0
    assert budget.current.get() is None


@pytest.mark.server
async def test_requests_side_by_side_do_not_share_one(slow):
    async def view(request: HttpRequest) -> HttpResponse:
        for _ in range(6):
            await slow.aget("k")
        found = budget.current.get()
        assert found is not None
        assert 0.2 < found.spent < 0.6
        return HttpResponse()

    middleware = CacheBudgetMiddleware(view)
    await asyncio.gather(*(middleware(REQUEST) for _ in range(4)))  # type: ignore[arg-type]


def test_a_view_that_fails_ends_its_budget():
    def view(request: HttpRequest) -> HttpResponse:
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        CacheBudgetMiddleware(view)(REQUEST)
    assert budget.current.get() is None


@pytest.mark.django_db  # some of Django's checks ask the database what it can do
def test_commands_have_none():
    call_command("check", verbosity=0)
    assert budget.current.get() is None
