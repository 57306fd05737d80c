"""Recorder, rollup and Prometheus together: what one of them does not survive, the others do."""

from __future__ import annotations

import logging

import pytest

from noa_perf.metrics import rollup, service, tidying
from noa_perf.metrics.service import TELL_AGAIN, Service, under_test


@pytest.fixture
def mine(clock, sqlite_database, settings):
    settings.NOA_PERF = {"METRICS": {"DATABASE": sqlite_database, "PROMETHEUS": False}}
    return Service(clock)


def total(clock):
    return rollup.totals("route", 0, clock.time() + 10).count


def test_a_test_environment_gets_no_thread(mine):
    mine.tally.add("route", ("/",))

    assert under_test()
    assert mine._thread is None


def test_a_flush_writes_and_tidies_once_a_minute(mine, clock, monkeypatch):
    tidied = []
    monkeypatch.setattr(tidying, "tidy", lambda clock, database: tidied.append(database))

    for _ in range(12):
        mine.tally.add("route", ("/",))
        mine.flush()
        clock.advance(10)

    assert total(clock) == 12
    assert tidied == ["apart", "apart"]


def test_an_idle_process_leaves_the_database_alone(mine, clock, monkeypatch):
    monkeypatch.setattr(tidying, "tidy", None)

    for _ in range(12):
        mine.flush()
        clock.advance(10)

    assert mine.faults == {}


@pytest.mark.parametrize("what", ["tidying", "rollup"])
def test_a_fault_of_ours_is_logged_once_and_the_rest_goes_on(mine, clock, monkeypatch, caplog, what):
    def fail(*args, **kwargs):
        raise RuntimeError("at 10.1.2.3")

    monkeypatch.setattr(tidying, "tidy", fail)
    if what == "rollup":
        monkeypatch.setattr(mine.writer, "flush", fail)

    with caplog.at_level(logging.INFO, "noa_perf.metrics"):
        for _ in range(3):
            mine.tally.add("route", ("/",))
            mine.flush()
            clock.advance(60)

    assert mine.faults == {what: 3}
    (record,) = caplog.records
    assert what in record.message
    assert "10.1.2.3" not in caplog.text


def test_series_are_told_of_again_now_and_then(mine, clock):
    mine.tally.add("route", ("/",))
    mine.flush()
    assert mine.writer._told
    clock.advance(TELL_AGAIN + 1)
    mine.flush()

    assert not mine.writer._told


def test_without_rollup_nothing_is_kept(clock, settings):
    settings.NOA_PERF = {"METRICS": {"ROLLUP": False, "PROMETHEUS": False}}
    mine = Service(clock)
    mine.tally.add("route", ("/",))
    mine.flush()

    assert (mine.writer, mine.exporter) == (None, None)


def test_what_is_counted_during_the_last_flush_is_written_too(mine, monkeypatch):
    flushes = []

    def flush(*, force=False):
        flushes.append(force)
        if len(flushes) == 1:
            thread._stopped = True  # told to stop while it flushes

    monkeypatch.setattr(mine, "flush", flush)
    thread = service.Thread(mine, 0.01)
    thread.run()

    assert flushes == [False, True]
