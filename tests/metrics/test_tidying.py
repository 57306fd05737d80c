"""Old figures are thinned and deleted; their sums stay, whoever does it and however often."""

from __future__ import annotations

import threading

import pytest
from django.db import connections

from noa_perf.metrics import rollup, tidying
from noa_perf.metrics.models import Chore, Figure, Series
from noa_perf.metrics.recorder import Tally
from noa_perf.metrics.rollup import Writer
from noa_perf.metrics.tidying import tidy

HOUR, DAY = 3_600, 86_400


def fill(database, clock, buckets, processes=2, route="/"):
    tallies = [Tally() for _ in range(processes)]
    writers = [Writer(tally, clock, database) for tally in tallies]
    for _ in range(buckets):
        for tally, writer in zip(tallies, writers, strict=True):
            tally.add("route", (route,), 1, 0.5, {19: 1}, queries=3)
            writer.flush()
        clock.advance(10)


def everything(database, clock):
    (line,) = rollup.read("route", clock.time() - 30 * DAY, clock.time() + 10, database=database)
    return line.total


def resolutions(database):
    rows = Figure.objects.using(database).values_list("resolution", flat=True)
    return {each: list(rows).count(each) for each in set(rows)}


def test_thinning_keeps_the_sums(database, clock):
    clock.step(-(int(clock.time()) % 600))
    fill(database, clock, 60)
    before = everything(database, clock)
    assert resolutions(database) == {10: 120}

    clock.advance(HOUR)
    assert tidy(clock, database) > 0
    assert resolutions(database) == {60: 10}
    assert everything(database, clock) == _at(before, everything(database, clock))

    clock.advance(DAY)
    tidy(clock, database)
    assert resolutions(database) == {600: 1}
    assert everything(database, clock) == _at(before, everything(database, clock))
    assert everything(database, clock).extra == {"queries": 360}


def _at(point, other):
    return type(point)(
        at=other.at, count=point.count, seconds=point.seconds, histogram=point.histogram, extra=point.extra
    )


def test_figures_that_come_late_are_added(database, clock):
    fill(database, clock, 3)
    clock.advance(HOUR + 60)
    tidy(clock, database)
    clock.step(-HOUR - 60)
    fill(database, clock, 3)
    clock.advance(HOUR + 120)

    tidy(clock, database)

    assert 10 not in resolutions(database)
    assert everything(database, clock).count == 12


def test_recent_figures_stay_as_they_are(database, clock):
    fill(database, clock, 6)
    clock.advance(HOUR - 120)

    assert tidy(clock, database) == 0
    assert resolutions(database) == {10: 12}


def test_retention_deletes_figures_and_what_they_were_about(database, clock):
    fill(database, clock, 3, route="/old")
    clock.advance(8 * DAY)
    fill(database, clock, 1, route="/new")

    tidy(clock, database)

    assert [each.labels for each in Series.objects.using(database).all()] == [["/new"]]
    assert everything(database, clock).count == 2


def test_one_round_a_minute_whoever_asks(database, clock):
    fill(database, clock, 3)
    clock.advance(2 * HOUR)
    assert tidy(clock, database) > 0
    fill(database, clock, 1)
    clock.advance(30)
    assert tidying._take(database, int(clock.time())) is False
    clock.advance(60)
    assert tidying._take(database, int(clock.time())) is True


def test_a_due_time_of_a_wrong_clock_stops_nobody(database, clock):
    Chore.objects.using(database).create(name="tidy", due=int(clock.time()) + 10 * DAY)

    assert tidying._take(database, int(clock.time())) is True


def test_more_rows_than_a_batch(database, clock, monkeypatch):
    monkeypatch.setattr(tidying, "BATCH", 7)
    fill(database, clock, 30)
    clock.advance(2 * HOUR)

    tidy(clock, database)

    assert set(resolutions(database)) == {60}
    assert everything(database, clock).count == 60


def test_two_at_once_move_no_row_twice(database, clock, monkeypatch):
    """Two threads thin together, each on a connection of its own, though the chore's turn lets in one only."""
    if connections[database].vendor == "sqlite":
        connections[database].settings_dict["OPTIONS"]["timeout"] = 20
    monkeypatch.setattr(tidying, "_take", lambda alias, now: True)
    monkeypatch.setattr(tidying, "BATCH", 5)
    Chore.objects.using(database).create(name="thin")
    fill(database, clock, 40)
    clock.advance(2 * HOUR)
    barrier, errors = threading.Barrier(2, timeout=20), []

    def work():
        try:
            barrier.wait()
            tidy(clock, database)
        except Exception as error:  # noqa: BLE001  (an error in a thread fails the test below)
            errors.append(error)
        finally:
            connections[database].close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert everything(database, clock).count == 80


@pytest.mark.parametrize("missing", [Chore])
def test_tidying_an_unmigrated_database_raises_for_the_service_to_note(empty_database, clock, missing):
    with pytest.raises(Exception, match="no such table"):
        tidy(clock, empty_database)
