"""Whatever a signal's handler raises, and wherever: no place of a pool is lost, and none is given out twice.

CPython runs handlers where a function is entered and where one in C was left. A profiler is told of just that.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections
from django.db.backends.dummy.base import DatabaseWrapper

from noa_perf.core.clock import ManualClock
from noa_perf.pool.backends.wrapper import PooledWrapper
from noa_perf.pool.core import Pool
from noa_perf.pool.options import PoolOptions
from tests.pool.fake import FakeConnection, FakeDriver

POINTS = 5_000
"""More than there are on any way."""


class Interrupted(BaseException):
    """What a handler raised."""


def interrupted(work: Callable[[], Any], at: int) -> bool:
    """Do ``work``, interrupted at one point of it; tell whether it has so many."""
    left = [at]

    def profile(frame: Any, event: str, what: Any) -> None:
        # Between __enter__ and the block of a ``with`` nothing is run; what is raised in __del__ goes nowhere.
        names = getattr(what, "__name__", ""), frame.f_code.co_name
        if event not in {"call", "c_return"} or "__enter__" in names or "__del__" in names:
            return
        left[0] -= 1
        if left[0] < 0:
            sys.setprofile(None)
            raise Interrupted

    gc.disable()  # what it finalizes of others is interrupted in their place, and nobody hears of that
    try:
        sys.setprofile(profile)
        work()
    except Interrupted:
        return True
    finally:
        sys.setprofile(None)
        gc.enable()
    return False


class Site(PooledWrapper, DatabaseWrapper):
    """A wrapper as Django has one, whose pool knows no database."""

    def __init__(self, **options: Any) -> None:
        super().__init__({**connections["default"].settings_dict, "AUTOCOMMIT": True, "OPTIONS": {}}, "site")
        self.clock, self.driver = ManualClock(), FakeDriver()
        self.own: Pool[FakeConnection] = Pool("site", self.driver, PoolOptions(**options), self.clock, lambda: 0.0)

    @property
    def noa_pool(self) -> Pool[FakeConnection]:
        return self.own

    def request(self) -> None:
        self.connect()
        self.close()

    def broken(self) -> None:
        self.connect()
        self._lose()

    def check(self) -> None:
        """What has a place idles there, and nothing else is open: nothing is on its way for ever."""
        places = self.own._places
        assert not places.lock.locked()
        assert (places.opening, places.waiting) == (0, 0)
        assert set(places.idle()) == places.taken
        assert [entry for entry in places.taken if entry.owner is not None] == []
        assert [entry.connection for entry in places.taken if entry.connection.closed] == []
        assert len(self.driver.open_now) == len(places.taken)


def cold() -> Site:
    return Site(max_size=2)


def warm() -> Site:
    site = cold()
    for entry in [site.own.acquire() for _ in range(2)]:
        site.own.release(entry)
    return site


def idled() -> Site:
    site = warm()
    site.clock.advance(site.own.options.ping_after + 1)
    return site


def dead() -> Site:
    site = warm()
    for connection in site.driver.opened:
        connection.there = False
    return site


def silent() -> Site:
    site = idled()
    for connection in site.driver.opened:
        connection.answers = False
    return site


def old() -> Site:
    site = warm()
    for entry in site.own.idle():
        entry.expires_at = site.clock.monotonic()
    return site


@pytest.mark.parametrize("request_", [Site.request, Site.broken])
@pytest.mark.parametrize("make", [cold, warm, idled, dead, silent, old])
def test_no_place_is_lost(make: Callable[[], Site], request_: Callable[[Site], None]) -> None:
    for at in range(POINTS):
        site = make()
        if not interrupted(lambda site=site: request_(site), at):  # type: ignore[misc]
            break
        site.request()  # the next one of this thread, or the end of this one
        site.check()
    assert 20 < at < POINTS - 1


def test_one_that_waits_leaves_the_queue_wherever_it_is_interrupted() -> None:
    for at in range(POINTS):
        site = Site(max_size=1)
        held = site.own.acquire()
        # What it waits for comes as soon as it stands in the queue.
        site.own.reap = lambda site=site, held=held: site.own.release(held)  # type: ignore[misc,method-assign]
        if not interrupted(site.request, at):
            break
        site.own.release(held)
        site.request()
        site.check()
    assert 20 < at < POINTS - 1
