"""``perf_report --by``: past traffic from the rollup."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command
from django.http import HttpResponse
from django.test import RequestFactory

from noa_perf.core.clock import SYSTEM
from noa_perf.metrics import recorder
from noa_perf.metrics.recorder import Tally
from noa_perf.metrics.rollup import Writer
from noa_perf.optimizer import collector, history, noting
from noa_perf.optimizer.middleware import QueryMonitorMiddleware
from tests.library.fill import fill
from tests.library.models import Author, Book

pytestmark = pytest.mark.django_db


@pytest.fixture
def traffic(settings):
    settings.NOA_PERF = {"OPTIMIZER": {"ON_N_PLUS_ONE": "collect"}}
    fill()
    collector.collector.reset()
    tally = Tally()
    before = recorder.use(tally)
    try:
        for view in (books, books, count):
            QueryMonitorMiddleware(view)(RequestFactory().get(f"/{view.__name__}/"))
        noting.Noter(collector.collector).note()
    finally:
        recorder.use(before)
    assert Writer(tally, SYSTEM, "default").flush(force=True)


def books(request):
    return HttpResponse("".join(book.author.name for book in Book.objects.all()))


def count(request):
    return HttpResponse(str(Author.objects.count()))


def report(**options):
    out = io.StringIO()
    call_command("perf_report", stdout=out, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("by", "key", "counts"),
    [
        ("route", "route", [3]),
        ("fingerprint", "sql", [12, 2, 1]),
        ("nplusone", "subject", [2]),
    ],
)
def test_adds_up_what_was_counted(traffic, by, key, counts):
    found = json.loads(report(by=by, format="json"))

    assert sorted((row["count"] for row in found["rows"]), reverse=True) == counts
    assert all(row[key] and row["ms"] > 0 for row in found["rows"])
    assert all((row["p95_ms"] or 0) > 0 for row in found["rows"]) is (by != "nplusone")
    assert sum(row["share"] for row in found["rows"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("by", "text"), [("route", "(no route)"), ("fingerprint", "library_book"), ("nplusone", "Book.author")]
)
def test_reads_as_a_table(traffic, by, text):
    printed = report(by=by)

    assert text in printed
    assert "p95 ms" in printed


def test_a_route_tells_what_share_of_its_time_is_the_database_s(traffic):
    (row,) = json.loads(report(by="route", format="json"))["rows"]

    assert 0 < row["database_ms"] < row["ms"]
    assert "% in the database)" in report(by="route")


def test_an_n_plus_one_comes_with_the_cure_that_was_noted(traffic):
    (row,) = json.loads(report(by="nplusone", format="json"))["rows"]

    assert row["code"] == '.select_related("author")'
    assert '.select_related("author")' in report(by="nplusone")


def test_a_statement_of_past_traffic_is_explained_by_its_fingerprint(traffic):
    rows = json.loads(report(by="fingerprint", format="json"))["rows"]
    row = next(row for row in rows if 'FROM "library_book"' in row["sql"])
    out = io.StringIO()

    call_command("perf_explain", fingerprint=row["fingerprint"], stdout=out)

    assert "SCAN library_book" in out.getvalue()


def test_a_folded_list_is_planned_with_one_value(settings, db):
    tally = Tally()
    before = recorder.use(tally)
    try:
        QueryMonitorMiddleware(lambda request: HttpResponse(str(list(Book.objects.filter(pk__in=[1, 2, 3])))))(
            RequestFactory().get("/")
        )
    finally:
        recorder.use(before)
    Writer(tally, SYSTEM, "default").flush(force=True)
    (row,) = json.loads(report(by="fingerprint", format="json"))["rows"]
    out = io.StringIO()

    call_command("perf_explain", fingerprint=row["fingerprint"][:6], stdout=out)

    assert "SEARCH library_book USING INTEGER PRIMARY KEY" in out.getvalue()


def test_nothing_counted_is_said():
    assert "Nothing was counted in the last 15m" in report(by="route", since="15m")


@pytest.mark.parametrize(("span", "seconds"), [("90s", 90), ("15m", 900), ("6h", 21_600), ("7D", 604_800)])
def test_spans(span, seconds):
    assert history.seconds_of(span) == seconds


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "route", "since": "soon"}, "15m, 6h or 7d"),
        ({"by": "route", "since": "9" * 400 + "d"}, "15m, 6h or 7d"),
        ({"by": "route", "url": ["/"]}, "give one of them"),
    ],
)
def test_bad_input_names_the_cure(options, message):
    with pytest.raises(CommandError, match=message) as error:
        report(**options)
    assert error.value.returncode == 2


def test_without_the_app_it_names_it(settings):
    settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if name != "noa_perf.metrics"]

    with pytest.raises(CommandError, match=r"noa_perf\.metrics"):
        report(by="route")
