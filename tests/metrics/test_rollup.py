"""What is written is read again, whoever wrote it and whatever the clock did."""

from __future__ import annotations

import logging

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from noa_perf.metrics import rollup
from noa_perf.metrics.models import Figure, Series
from noa_perf.metrics.recorder import OTHER, Tally
from noa_perf.metrics.rollup import Point, Writer
from noa_perf.optimizer import capture


class Process:
    """A tally with its writer, as one process has them."""

    def __init__(self, clock, database, max_series=500):
        self.tally = Tally(max_series)
        self.writer = Writer(self.tally, clock, database)

    def did(self, route="/", count=1, seconds=0.5, buckets=None, **extra):
        self.tally.add("route", (route,), count, seconds, buckets or {19: count}, **extra)
        return self.writer.flush()


def read(database, clock, **options):
    now = clock.time()
    return rollup.read("route", now - 3_600, now + 10, database=database, **options)


def test_written_is_read(database, clock):
    process = Process(clock, database)

    assert process.did("/books/", 2, 0.5, {18: 2}, queries=9)
    (line,) = read(database, clock)

    assert line.labels == {"route": "/books/"}
    assert line.series == rollup.digest("route", ("/books/",))
    assert (line.total.count, line.total.seconds, line.total.histogram) == (2, 0.5, {18: 2})
    assert line.total.extra == {"queries": 9}


def test_deltas_of_one_bucket_add_up_in_one_row(database, clock):
    process = Process(clock, database)

    for _ in range(3):
        process.did(queries=2)
        clock.advance(1)

    assert Figure.objects.using(database).count() == 1
    assert read(database, clock)[0].total.count == 3
    assert read(database, clock)[0].total.extra == {"queries": 6}


def test_processes_add_up(database, clock):
    for process in (Process(clock, database), Process(clock, database)):
        process.did()
        process.did()

    assert Figure.objects.using(database).count() == 2
    assert read(database, clock)[0].total.count == 4


def test_one_process_can_be_read_alone(database, clock):
    one, other = Process(clock, database), Process(clock, database)
    one.did()
    other.did(count=5)

    assert read(database, clock, process=one.writer.process)[0].total.count == 1


def test_nothing_is_written_when_nothing_happened(database, clock):
    process = Process(clock, database)
    process.did()

    with CaptureQueriesContext(connections[database]) as queries:
        for _ in range(5):
            clock.advance(10)
            assert process.writer.flush() is False

    assert len(queries) == 0


def test_a_flush_of_many_series_is_one_insert_of_figures(database, clock):
    process = Process(clock, database)
    process.did("/")
    for number in range(20):
        process.tally.add("route", ("/",))
        process.tally.add("route", (f"/{number}",))

    with CaptureQueriesContext(connections[database]) as queries:
        process.writer.flush()

    assert sum(Figure._meta.db_table in query["sql"] for query in queries) == 1


def test_what_a_series_is_about_is_told_once(database, clock):
    process = Process(clock, database)

    for _ in range(3):
        process.did()
        clock.advance(10)
    Process(clock, database).did()

    assert Series.objects.using(database).count() == 1


def test_ten_thousand_series_are_bounded_in_the_table(database, clock):
    process = Process(clock, database, max_series=50)

    for batch in range(10):
        for number in range(1_000):
            process.tally.add("route", (f"/{batch}/{number}",))
        process.writer.flush()

    lines = read(database, clock)
    assert Figure.objects.using(database).count() == 51
    assert sum(line.total.count for line in lines) == 10_000
    assert {line.total.count for line in lines if line.labels["route"] == OTHER} == {9_950}


def test_reading_in_steps_leaves_out_what_did_not_happen(database, clock):
    process = Process(clock, database)
    start = int(clock.time())
    for pause in (20, 10, 90):
        process.did()
        clock.advance(pause)
    process.did()

    (line,) = rollup.read("route", start, clock.time() + 1, 60, database=database)

    assert [(point.at - start // 60 * 60, point.count) for point in line.points] == [(0, 3), (120, 1)]
    assert line.total.count == 4


def test_the_window_ends_before_until(database, clock):
    process = Process(clock, database)
    process.did()
    now = clock.time()

    assert rollup.read("route", now, now + 1, database=database)
    assert not rollup.read("route", now - 60, now, database=database)


def test_the_dearest_come_first_and_top_keeps_them(database, clock):
    process = Process(clock, database)
    for route, count, seconds in (("/a", 1, 3.0), ("/b", 9, 2.0), ("/c", 5, 1.0)):
        process.did(route, count, seconds)

    assert [line.labels["route"] for line in read(database, clock)] == ["/a", "/b", "/c"]
    assert [line.labels["route"] for line in read(database, clock, top=2, by="count")] == ["/b", "/c"]
    named = rollup.digest("route", ("/c",))
    assert [line.labels["route"] for line in read(database, clock, series=[named])] == ["/c"]


@pytest.mark.parametrize("step", [None, 20])
def test_without_detail_the_database_adds_up(database, clock, step):
    processes = [Process(clock, database) for _ in range(2)]
    for number in range(6):
        for process in processes:
            process.did(f"/{number % 2}", 2, 0.5)
        clock.advance(10)

    quick, full = (read(database, clock, step=step, detail=detail) for detail in (False, True))

    assert [line.labels for line in quick] == [line.labels for line in full]
    for one, other in zip(quick, full, strict=True):
        assert [(each.at, each.count, each.seconds) for each in one.points] == [
            (each.at, each.count, each.seconds) for each in other.points
        ]
        assert (one.total.count, one.total.histogram) == (12, {})


def test_totals_add_up_all_series(database, clock):
    process = Process(clock, database)
    process.did("/a", 1, 3.0)
    process.did("/b", 9, 2.0)
    now = clock.time()

    total = rollup.totals("route", now - 60, now + 1, database=database)

    assert (total.count, total.seconds) == (10, 5.0)
    assert rollup.totals("route", 0, 10, database=database).count == 0


def test_kinds_do_not_mix(database, clock):
    process = Process(clock, database)
    process.tally.add("query", ("default", "abc", "SELECT %s"), 1)
    process.did()

    (line,) = rollup.read("query", clock.time() - 60, clock.time() + 1, database=database)
    assert line.labels == {"alias": "default", "fingerprint": "abc", "sql": "SELECT %s"}


def test_percentiles_are_interpolated_in_powers_of_two():
    point = Point(at=0, count=4, histogram={10: 2, 20: 2})

    assert 0.000512 <= point.percentile(0.5) <= 0.001024
    assert 0.524288 <= point.percentile(0.95) <= 1.048576
    assert Point(at=0).percentile(0.95) == 0.0


def test_a_clock_set_back_replaces_nothing(database, clock):
    process = Process(clock, database)
    process.did(count=5)
    before = process.writer.process

    clock.step(-3_600)
    process.did(count=1)
    clock.advance(3_600)
    process.did(count=2)

    now = clock.time()
    assert process.writer.process != before
    assert rollup.totals("route", now - 7_200, now + 10, database=database).count == 8


def test_a_clock_set_back_while_the_database_is_away_keeps_what_waits(empty_database, clock):
    from tests.metrics.conftest import migrate

    process = Process(clock, empty_database)
    process.did(count=5)
    clock.step(-100)
    process.did(count=1)
    migrate(empty_database)

    assert process.writer.flush(force=True)
    now = clock.time()
    assert rollup.totals("route", now - 600, now + 600, database=empty_database).count == 6


def test_a_clock_set_forwards_costs_nothing(database, clock):
    process = Process(clock, database)
    process.did(count=5)
    clock.step(86_400)
    process.did(count=1)

    now = clock.time()
    assert rollup.totals("route", now - 2 * 86_400, now + 10, database=database).count == 6


def test_neither_a_write_nor_a_read_is_seen_by_the_optimizer(database, clock):
    process = Process(clock, database)

    with capture.quiet(), capture.scope("look") as seen:
        process.did()
        read(database, clock)

    assert seen.queries == 0


@pytest.mark.parametrize("label", ["a\x00b", "é" * 20_000, "\ud800"])
def test_odd_labels_are_kept_as_well_as_possible(database, clock, label):
    process = Process(clock, database)

    assert process.did(label)

    assert read(database, clock)[0].total.count == 1


def test_what_was_found_out_is_kept_with_its_series(database, clock):
    process, other = Process(clock, database), Process(clock, database)
    process.did()
    other.did()

    process.tally.note("route", ("/",), {"cure": "first"})
    process.writer.flush()
    other.tally.note("route", ("/",), {"cure": "last \x00 \ud800", "at": (1, {"x": None})})
    other.writer.flush()
    (line,) = read(database, clock, notes=True)

    assert line.notes == {"cure": "last ? ?", "at": [1, {"x": None}]}
    assert line.total.count == 2
    assert read(database, clock)[0].notes == {}


def test_what_is_too_long_is_not_kept(database, clock):
    process = Process(clock, database)
    process.did()

    process.tally.note("route", ("/",), {"plan": "x" * (rollup.MAX_NOTE + 1)})

    assert process.writer.flush()
    assert read(database, clock, notes=True)[0].notes == {}


def test_notes_wait_within_bounds(database, clock):
    process = Process(clock, database, max_series=3)

    for number in range(9):
        process.tally.note("route", (f"/{number}/",), {})

    assert len(process.tally.drain_notes()) == 3


def test_what_one_process_knows_another_does_not_wipe_out(database, clock):
    process, other = Process(clock, database), Process(clock, database)
    process.did()
    other.did()

    process.tally.note("route", ("/",), {"plan": {"lines": ["Seq Scan"]}, "samples": [1], "sites": ["a"]})
    process.writer.flush()
    other.tally.note("route", ("/",), {"samples": [], "sites": ["b"], "findings": []})
    other.writer.flush()

    (line,) = read(database, clock, notes=True)
    assert line.notes == {"plan": {"lines": ["Seq Scan"]}, "samples": [1], "sites": ["b"], "findings": []}


def test_of_what_is_too_long_the_rest_is_kept(database, clock):
    process = Process(clock, database)
    process.did()

    process.tally.note("route", ("/",), {"plan": "x" * (rollup.MAX_NOTE + 1), "cure": "an index"})
    process.writer.flush()

    assert read(database, clock, notes=True)[0].notes == {"cure": "an index"}


def test_a_number_that_json_has_not_is_none(database, clock):
    process = Process(clock, database)
    process.did()

    process.tally.note("route", ("/",), {"weight": float("nan"), "cost": [float("inf"), 1.5]})

    assert process.writer.flush()
    assert read(database, clock, notes=True)[0].notes == {"weight": None, "cost": [None, 1.5]}


def test_notes_that_the_database_refuses_do_not_hold_up_figures(database, clock, monkeypatch, caplog):
    process = Process(clock, database)

    def refuse(self):
        raise ValueError("no")

    caplog.set_level(logging.INFO, "noa_perf.metrics")
    monkeypatch.setattr(Writer, "_write_notes", refuse)
    for _ in range(2):
        process.tally.note("route", ("/",), {"cure": "x"})
        assert process.did()

    assert read(database, clock)[0].total.count == 2
    assert process.writer.failures == 2
    assert [one.levelname for one in caplog.records if "notes could not" in one.message] == ["WARNING"]


def test_series_that_counted_an_extra_are_found_among_dearer_ones(database, clock):
    process = Process(clock, database)
    for number in range(5):
        process.did(f"/{number}/", seconds=9.0)
    process.did("/slow/", seconds=0.1, slow=1)

    assert [line.labels["route"] for line in read(database, clock, top=2, having="slow")] == ["/slow/"]
