"""One process's way to one Redis: what fits the budget, what the breaker hears of, and what is never raised."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Any

import pytest

from noa_perf.cache import budget
from noa_perf.cache.tiers.link import Link
from noa_perf.cache.tiers.wishes import Story, Wish
from noa_perf.core.breaker import BreakerPolicy
from noa_perf.core.clock import ManualClock
from noa_perf.core.redis import parse

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
    assert link._clients.get().connection_pool.connection_kwargs["socket_connect_timeout"] == 0.25
    assert "each takes 0.25 s at most" in caplog.text
    budget.begin()
    assert link._enter() is not None
    budget.end()


@pytest.mark.parametrize("limit", [0, None, 40])
def test_where_there_is_no_budget_or_enough_nothing_is_cut(limit, caplog):
    caplog.set_level(logging.INFO)
    link = made(limit=limit, SOCKET_TIMEOUT=5, SOCKET_CONNECT_TIMEOUT=5)
    assert not link.clamped
    assert link.reserve == 10.25
    assert not caplog.text
    budget.begin()
    assert link._enter() is not None
    budget.end()
