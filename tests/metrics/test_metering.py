"""What the optimizer sees arrives in the recorder, once, and without a value in it."""

from __future__ import annotations

from contextlib import suppress

import pytest
from django.apps import apps
from django.db import OperationalError, connection
from django.test import Client

from noa_perf import optimizer
from noa_perf.metrics import recorder
from noa_perf.metrics.recorder import Recorder, Tally
from noa_perf.metrics.rollup import Writer
from noa_perf.optimizer import capture, metering
from tests.library.models import Author, Book

pytestmark = pytest.mark.django_db


@pytest.fixture
def tally():
    mine = Tally()
    before = recorder.use(mine)
    yield mine
    recorder.use(before)


@pytest.fixture
def books():
    author = Author.objects.create(name="Ann")
    for number in range(4):
        Book.objects.create(title=f"secret {number}", author=author)


def ask(times):
    with connection.cursor() as cursor:
        for number in range(times):
            cursor.execute("SELECT %s", [f"secret {number}"])
            cursor.fetchall()


def test_a_scope_is_counted_once_with_its_queries(tally):
    with optimizer.scope("outer"):
        with optimizer.scope("inner"):
            ask(2)
        ask(1)
    counts, series = tally.drain_counts(), tally.drain_series()

    assert counts["scopes_total", ("block",)].count == 1
    assert counts["queries_total", ("ok",)].count == 3
    times = counts["query_execution_time_seconds", ("default", "select")]
    assert times.count == sum(times.buckets.values()) == 3
    route = series["route", ("outer",)]
    assert (route.count, route.extra["queries"], sum(route.buckets.values())) == (1, 3, 1)
    assert 0 < route.extra["database_us"] <= route.seconds * 1_000_000
    assert ("route", ("inner",)) not in series


def test_statements_are_kept_folded(tally):
    with optimizer.scope("work"), connection.cursor() as cursor:
        cursor.execute("SELECT 'secret' WHERE %s = 'secret'", ["secret"])
    series = tally.drain_series()

    ((labels, totals),) = [(key[1], totals) for key, totals in series.items() if key[0] == "query"]
    assert labels[0] == "default"
    assert labels[2] == "SELECT %s WHERE %s = %s"
    assert totals.count == sum(totals.buckets.values()) == 1
    assert "secret" not in str(series.keys())


def test_failed_queries(tally):
    with optimizer.scope("work"), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        with pytest.raises(OperationalError):
            cursor.execute("SELECT nonsense FROM nowhere")
    counts, series = tally.drain_counts(), tally.drain_series()

    assert counts["queries_total", ("ok",)].count == 1
    assert counts["queries_total", ("failed",)].count == 1
    extra = series["route", ("work",)].extra
    assert (extra["queries"], extra["failed"]) == (2, 1)


def test_slow_queries(tally, settings):
    settings.NOA_PERF = {"OPTIMIZER": {"SLOW_QUERY_MS": 0.0}}
    with capture.scope("work"):
        ask(2)
    counts, series = tally.drain_counts(), tally.drain_series()

    assert counts["slow_queries_total", ("default",)].count == 2
    assert [totals.extra["slow"] for (kind, _), totals in series.items() if kind == "query"] == [2]


def test_an_n_plus_one_is_counted_once_a_scope_with_its_place(tally, books):
    tally.reset()
    for _ in range(2):
        with optimizer.scope("work"):
            for book in Book.objects.all():
                str(book.author)
    counts, series = tally.drain_counts(), tally.drain_series()

    assert counts["n_plus_one_total", ("default",)].count == 2
    ((labels, totals),) = [(key[1], totals) for key, totals in series.items() if key[0] == "n_plus_one"]
    assert labels[0] == "Book.author"
    assert "tests/metrics/test_metering.py:" in labels[1]
    assert labels[2] == "work"
    assert (totals.count, totals.extra) == (2, {"queries": 8})


def test_an_allowed_n_plus_one_is_not(tally, books, settings):
    settings.NOA_PERF = {"OPTIMIZER": {"ALLOW": ["Book.author"]}}
    with optimizer.scope("work"):
        for book in Book.objects.all():
            str(book.author)

    assert ("n_plus_one_total", ("default",)) not in tally.drain_counts()


def test_with_sampling_counts_stay_complete(tally, settings):
    settings.NOA_PERF = {"OPTIMIZER": {"SAMPLE_RATE": 0.0}}
    settings.ROOT_URLCONF = "tests.metrics.small.urls"
    settings.ALLOWED_HOSTS = ["testserver"]
    assert Client().get("/page/").status_code == 200
    counts, series = tally.drain_counts(), tally.drain_series()

    assert counts["scopes_total", ("request",)].count == 1
    assert counts["queries_total", ("ok",)].count == 2
    assert not [key for key in counts if key[0] == "query_execution_time_seconds"]
    assert series["route", ("/page/",)].extra["queries"] == 2


def test_what_a_report_asks_for_is_not_the_sites_traffic(tally):
    with capture.quiet(), optimizer.scope("work"):
        ask(3)

    assert tally.drain_counts() == {}
    assert tally.drain_series() == {}


def test_kinds_of_scopes_are_bounded(tally):
    with capture.scope("work", kind="whatever"):
        pass

    assert list(tally.drain_counts()) == [("scopes_total", ("(other)",))]


def test_a_recorder_that_fails_costs_the_site_nothing():
    class Broken(Recorder):
        def count(self, *args, **kwargs):
            raise RuntimeError

    before = recorder.use(Broken())
    noted, capture.faults.counts = capture.faults.counts, {}
    try:
        with optimizer.scope("work"):
            ask(1)
        assert capture.faults.counts == {"close_scope": 1}
    finally:
        recorder.use(before)
        capture.faults.counts = noted


def test_no_value_reaches_the_tables(tally, clock, tmp_path, sqlite_database, books):
    """Parameters, literals in raw SQL, errors and paths: searched for in the file itself."""
    tally.reset()
    with optimizer.scope("work"):
        for number in range(5):
            Author.objects.filter(name=f"secret-{number}").first()
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT id FROM library_author WHERE name = 'secret-{number}'")
        with connection.cursor() as cursor, suppress(OperationalError):
            cursor.execute("SELECT 'secret' FROM nowhere WHERE name = %s", ["secret"])
    assert Writer(tally, clock, sqlite_database).flush()
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("rollup.sqlite3*"))

    assert b"FROM library_author WHERE name = %s" in kept
    assert b"secret" not in kept


def test_without_the_app_nothing_listens(monkeypatch):
    listeners: list[object] = []
    monkeypatch.setattr(apps, "is_installed", lambda name: False)
    monkeypatch.setattr(capture, "_listeners", listeners)

    metering.install()

    assert listeners == []


def test_a_sample_speaks_for_all(tally, settings, monkeypatch):
    settings.NOA_PERF = {"OPTIMIZER": {"SAMPLE_RATE": 0.25, "ON_N_PLUS_ONE": "collect"}}
    chances = iter([0.1, 0.9, 0.9, 0.9])  # one of four requests is watched in detail
    monkeypatch.setattr("random.random", lambda: next(chances))
    for _ in range(4):
        with capture.scope("/x/", kind="request"):
            ask(3)
    series = tally.drain_series()

    assert series["route", ("/x/",)].count == 4
    (statement,) = [totals for (kind, _), totals in series.items() if kind == "query"]
    assert (statement.count, sum(statement.buckets.values())) == (12, 12)
