"""What pools did, as metrics and series of the rollup tell it."""

from __future__ import annotations

import pytest

from noa_perf.core.clock import ManualClock
from noa_perf.metrics import instruments
from noa_perf.pool import metering, registry
from noa_perf.pool.exceptions import PoolFull, PoolTimeout
from noa_perf.pool.housekeeper import Housekeeper
from noa_perf.pool.metering import Teller
from noa_perf.pool.places import Waiter
from tests.pool.watched import watching


@pytest.fixture
def watched():
    with watching() as both:
        yield both


def counted(tally):
    return {(name, labels): totals for (name, labels), totals in tally.drain_counts().items()}


def gauge(tally, instrument, name):
    return tally.gauges()[instrument.name, (name,)]


def test_gauges_say_how_each_pool_stands(watched):
    tally, make = watched
    one = make(max_size=3)
    held = one.pool.acquire()
    one.pool.release(one.pool.acquire())

    metering.tell()

    assert gauge(tally, instruments.POOL_ACTIVE, one.name) == 1
    assert gauge(tally, instruments.POOL_IDLE, one.name) == 1
    assert gauge(tally, instruments.POOL_MAX, one.name) == 3
    assert gauge(tally, instruments.POOL_WAITERS, one.name) == 0
    one.pool.release(held)
    one.close()
    metering.tell()
    assert gauge(tally, instruments.POOL_IDLE, one.name) == 0
    assert gauge(tally, instruments.POOL_MAX, one.name) == 0


def test_two_pools_of_one_name_add_up(watched):
    tally, make = watched
    first, second = make("twins", max_size=2), make("twins", max_size=5)
    first.pool.acquire()
    second.pool.acquire()

    metering.tell()

    assert gauge(tally, instruments.POOL_ACTIVE, "twins") == 2
    assert gauge(tally, instruments.POOL_MAX, "twins") == 7


def test_uses_are_told_once_with_their_times(watched):
    tally, make = watched
    one = make()
    for _ in range(3):
        entry = one.pool.acquire()
        one.clock.advance(0.25)
        one.pool.release(entry)

    metering.tell()
    told = counted(tally)
    metering.tell()

    asked = told[instruments.POOL_ACQUISITION_TIME.name, (one.name,)]
    held = told[instruments.POOL_CHECKOUT_TIME.name, (one.name,)]
    assert asked.count == sum(asked.buckets.values()) == 3
    assert (held.count, held.seconds) == (3, 0.75)
    assert set(held.buckets) == {18}  # below 2**18 µs
    assert counted(tally) == {}


def test_who_gets_none_is_counted_among_those_who_asked(watched):
    tally, make = watched
    one = make(max_size=1, timeout=0.001, max_waiting=0)
    held = one.pool.acquire()
    one.clock.advance(1)
    one.pool._places._nap = lambda deadline, patience: one.clock.advance(0.01) or 0.0
    with pytest.raises(PoolTimeout):
        one.pool.acquire()

    metering.tell()

    told = counted(tally)
    assert told[instruments.POOL_TIMEOUTS.name, (one.name,)].count == 1
    assert told[instruments.POOL_ACQUISITION_TIME.name, (one.name,)].count == 2
    (series,) = [totals for key, totals in tally.drain_series().items() if key == ("pool", (one.name,))]
    assert series.extra["timeouts"] == 1
    one.pool.release(held)


def test_who_is_turned_away_is_counted(watched):
    tally, make = watched
    one = make(max_size=1, max_waiting=1)
    one.pool.acquire()
    waiter = Waiter()
    one.pool._places._waiters.append(waiter)
    with pytest.raises(PoolFull):
        one.pool.acquire()
    one.pool._places._waiters.remove(waiter)

    metering.tell()

    assert counted(tally)[instruments.POOL_REFUSED.name, (one.name,)].count == 1


def test_why_connections_were_closed_what_was_found_and_what_failed(watched):
    tally, make = watched
    one = make()
    entry = one.pool.acquire()
    entry.connection.found = ("transaction",)
    one.pool.release(entry)
    one.pool.drain()
    one.driver.before_open = lambda: (_ for _ in ()).throw(PermissionError("no"))
    with pytest.raises(PermissionError):
        one.pool.acquire()

    metering.tell()

    told = counted(tally)
    assert told[instruments.POOL_CLEANED.name, (one.name, "transaction")].count == 1
    assert told[instruments.POOL_RECYCLED.name, (one.name, "drained")].count == 1
    assert told[instruments.POOL_OPEN_FAILURES.name, (one.name, "PermissionError")].count == 1


def test_a_leak_is_noted_with_its_stack_by_the_line_that_took_it(watched):
    tally, make = watched
    one = make()
    entry = one.take()
    one.clock.advance(6)
    one.keeper.tend()

    metering.tell()
    metering.tell()

    assert counted(tally)[instruments.POOL_LEAKS.name, (one.name,)].count == 1
    ((labels, facts),) = [(key[1], facts) for key, facts in tally.drain_notes().items() if key[0] == "pool_leak"]
    assert labels[0] == one.name
    assert "watched.py" in labels[1]
    assert labels[2] == "orders/<int:pk>/"
    assert facts["age"] == 6
    assert any("test_a_leak_is_noted" in line for line in facts["stack"])
    one.pool.release(entry)


def test_steps_of_size_are_noted_by_process(watched):
    tally, make = watched
    one = make()
    one.pool.acquire()
    one.keeper.tend()
    metering.tell()
    ((labels, facts),) = [(key[1], facts) for key, facts in tally.drain_notes().items() if key[0] == "pool_step"]
    assert labels[0] == one.name
    assert [(step["before"], step["after"]) for step in facts["steps"]] == [(0, 1)]
    metering.tell()
    assert not tally.drain_notes()


def test_what_a_look_saw_counts_for_the_time_since_the_one_before(watched):
    tally, make = watched
    one, clock = make(max_size=4), ManualClock()
    teller = Teller(clock)
    teller.tell(tally, one.keeper)
    one.pool.acquire()
    clock.advance(20)
    teller.tell(tally, one.keeper)

    extra = tally.drain_series()["pool", (one.name,)].extra

    assert extra["ms"] == 30_000  # the first look stands for the ten seconds of a flush
    assert extra["limit"] == 4 * 30_000
    assert extra["used"] == 20_000


def test_the_first_use_of_a_pool_has_the_figures_written(watched, monkeypatch):
    tally, make = watched
    begun = []
    tally.started = lambda: begun.append(True)
    monkeypatch.setattr(registry, "_housekeeper", Housekeeper())  # which nobody starts
    one = make()
    one.pool.on_first = lambda: registry._look_after(one.keeper)
    one.pool.acquire()
    assert begun == [True]
