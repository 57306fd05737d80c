"""What probes and the doctor hear of pools."""

from __future__ import annotations

import pytest

from noa_perf.core import health as asked
from noa_perf.pool import health
from noa_perf.pool.exceptions import PoolTimeout
from noa_perf.pool.places import Waiter
from tests.pool.watched import watching


@pytest.fixture
def make():
    with watching() as (_, make):
        yield make


def test_a_pool_that_serves_is_healthy(make):
    one = make()
    one.pool.release(one.pool.acquire())
    assert health.serving(False).ok
    assert "pool" in [answer.name for answer in asked.answers()]


def test_a_pool_that_waits_is_not(make):
    one = make("shop", max_size=1)
    one.pool.acquire()
    waiter = Waiter()
    one.pool._places._waiters.append(waiter)
    found = health.serving(False)
    one.pool._places._waiters.remove(waiter)
    assert not found.ok
    assert "'shop' has all 1 connections in use, and 1 wait" in found.message
    assert "pool_status" in found.cure


def test_a_pool_that_cannot_open_is_not(make):
    one = make("shop")
    one.driver.before_open = lambda: (_ for _ in ()).throw(ConnectionRefusedError("secret"))
    assert not one.pool.grow()
    found = health.serving(False)
    assert not found.ok
    assert "cannot open connections" in found.message
    assert "secret" not in found.message


@pytest.mark.server
def test_the_doctor_asks_for_a_connection(db, engine):
    from tests.pool.test_commands import served

    with served(engine()):
        assert health.serving(True).ok
    with served(engine(timeout=0.2), HOST="127.0.0.1", PORT="1"), pytest.raises(PoolTimeout):
        health.serving(True)
