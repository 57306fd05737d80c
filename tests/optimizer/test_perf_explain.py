"""``manage.py perf_explain`` draws the plan of SQL, a queryset or a page."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import CommandError, call_command
from django.http import HttpResponse
from django.urls import path

from noa_perf.optimizer.plans.volatile import functions_of
from tests.library.models import Author, Book

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


def view(request):
    return HttpResponse(str(list(Book.objects.filter(title="t7"))))


def broken(request):
    raise ValueError("no")


urlpatterns = [path("books/", view), path("broken/", broken)]


@pytest.fixture(autouse=True)
def books(db):
    author = Author.objects.create(name="x")
    Book.objects.bulk_create(Book(title=f"t{n}", author=author, pages=n) for n in range(1_200))


def explain(*args, **options):
    out = io.StringIO()
    call_command("perf_explain", *args, stdout=out, **options)
    return out.getvalue()


def test_sql_with_open_values():
    text = explain("SELECT * FROM library_book WHERE library_book.title = %s")

    assert "SCAN library_book" in text
    assert 'models.Index(fields=["title"]' in text


def test_a_queryset_by_name():
    found = json.loads(explain(queryset="Book.objects.filter(Q(title='t7')).order_by('-pages')[:3]", format="json"))

    (one,) = found["statements"]
    assert one["plan"][0] == "SCAN library_book"
    assert [finding["evidence"]["fields"] for finding in found["findings"]] == [["title", "-pages"]]


def test_a_plan_without_fault_is_good_news():
    assert "Nothing to mend" in explain(queryset="Book.objects.filter(pk=7)")


def test_the_statements_of_a_page_and_one_of_them():
    found = json.loads(explain(url="/books/", format="json"))
    digest = found["statements"][0]["title"].partition(":")[0]
    again = json.loads(explain(url="/books/", fingerprint=digest[:6], format="json"))

    assert "full_scan" in [finding["kind"] for finding in found["findings"]]
    assert [one["sql"] for one in again["statements"]] == [found["statements"][0]["sql"]]


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        ((), {}, "Name one statement"),
        (("SELECT 1",), {"url": "/books/"}, "Name one statement"),
        (("SELECT 1",), {"fingerprint": "ab"}, "leave SQL and --queryset out"),
        ((), {"fingerprint": "zz"}, "Past traffic has no statement"),
        (("SELECT 1",), {"database": "other"}, "There are: default"),
        ((), {"queryset": "Nothing.objects.all()"}, "NameError"),
        ((), {"queryset": "Book.objects.count()"}, "is a int, not a queryset"),
        ((), {"queryset": "Book.objects.none()"}, "can match nothing"),
        ((), {"url": "books/"}, "Begin it with a slash"),
        ((), {"url": "/broken/"}, "ValueError: no"),
        ((), {"url": "/books/", "fingerprint": "zz"}, "begins with 'zz'"),
    ],
)
def test_bad_input_names_the_cure(args, options, message):
    with pytest.raises(CommandError, match=message) as error:
        explain(*args, **options)
    assert error.value.returncode == 2


def test_analyze_wants_values():
    assert "needs its values" in explain("SELECT * FROM library_book WHERE title = %s", analyze=True)


def test_what_has_no_plan_says_so():
    assert "Only SELECT" in explain("VACUUM")


def test_functions_of_a_statement():
    assert (functions_of("SELECT Lower(a), my_own(b) FROM t") or set()) >= {"lower", "my_own"}
    assert functions_of("this is ( no SQL") is None
