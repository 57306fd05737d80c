"""What the hot paths call: nothing by default, plain ints within a fixed memory otherwise."""

from __future__ import annotations

import threading

import pytest

from noa_perf.metrics import recorder
from noa_perf.metrics.instruments import QUERIES, QUERY_TIME, SLOW_QUERIES
from noa_perf.metrics.recorder import MAX_CHILDREN, OTHER, Recorder, Tally


def test_a_recorder_does_nothing_by_default():
    nothing = Recorder()

    nothing.count(QUERIES, ("ok",), 3)
    nothing.observe(QUERY_TIME, ("default", "select"), 1, 0.1, {17: 1})
    nothing.add("route", ("/",), 1, 0.1, {17: 1}, queries=2)

    assert not hasattr(nothing, "__dict__")
    assert type(recorder.NOTHING) is Recorder


def test_the_process_has_one_recorder():
    mine = Tally()
    before = recorder.use(mine)
    try:
        assert recorder.current() is mine
    finally:
        assert recorder.use(before) is mine


def test_counts_add_up_until_they_are_drained():
    tally = Tally()

    tally.count(QUERIES, ("ok",), 3)
    tally.count(QUERIES, ("ok",))
    tally.count(QUERIES, ("failed",))
    tally.observe(QUERY_TIME, ("default", "select"), 2, 0.5, {10: 1, 12: 1, 14: 0})
    tally.observe(QUERY_TIME, ("default", "select"), 1, 0.25, {12: 1})
    drained = tally.drain_counts()

    assert drained["queries_total", ("ok",)].count == 4
    assert drained["queries_total", ("failed",)].count == 1
    times = drained["query_execution_time_seconds", ("default", "select")]
    assert (times.count, times.seconds, times.buckets) == (3, 0.75, {10: 1, 12: 2})
    assert tally.drain_counts() == {}


def test_series_add_up_with_what_is_counted_beside_them():
    tally = Tally()

    tally.add("route", ("/",), 1, 0.5, {10: 1}, queries=3, failed=0)
    tally.add("route", ("/",), 1, 0.5, {11: 1}, queries=4, failed=1)
    ((key, totals),) = tally.drain_series().items()

    assert key == ("route", ("/",))
    assert (totals.count, totals.seconds, totals.buckets) == (2, 1.0, {10: 1, 11: 1})
    assert totals.extra == {"queries": 7, "failed": 1}
    assert tally.drain_series() == {}


def test_ten_thousand_series_are_bounded_and_lose_nothing():
    tally = Tally(max_series=100)

    for number in range(10_000):
        tally.add("route", (f"/{number}",), 1, 0.001, {10: 1}, queries=2)
        tally.add("query", ("default", f"{number:012x}", "SELECT"), 1)
    drained = tally.drain_series()

    routes = {labels: totals for (kind, labels), totals in drained.items() if kind == "route"}
    assert len(routes) == 101
    assert routes[OTHER,].count == 9_900
    assert sum(totals.count for totals in routes.values()) == 10_000
    assert sum(totals.extra["queries"] for totals in routes.values()) == 20_000
    assert drained["query", (OTHER, OTHER, OTHER)].count == 9_900


def test_labels_that_run_wild_are_bounded():
    tally = Tally()

    for number in range(MAX_CHILDREN + 50):
        tally.count(SLOW_QUERIES, (str(number),))
    drained = tally.drain_counts()

    assert len(drained) == MAX_CHILDREN + 1
    assert drained["slow_queries_total", (OTHER,)].count == 50


def test_threads_lose_nothing():
    tally = Tally()
    drained = []

    def work():
        for _ in range(2_000):
            tally.add("route", ("/",), 1, 0.0, {10: 1})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        drained.append(tally.drain_series())
    drained.append(tally.drain_series())

    assert sum(totals.count for one in drained for totals in one.values()) == 8_000


def test_whoever_writes_is_told_of_the_first_figure_only():
    tally, told = Tally(), []
    tally.started = lambda: told.append(1)

    tally.count(QUERIES, ("ok",))
    tally.add("route", ("/",))

    assert told == [1]


@pytest.mark.parametrize("drain", [Tally.drain_counts, Tally.drain_series])
def test_forgetting(drain):
    tally = Tally()
    tally.count(QUERIES, ("ok",))
    tally.add("route", ("/",))

    tally.reset()

    assert drain(tally) == {}
