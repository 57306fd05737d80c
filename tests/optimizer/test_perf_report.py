"""``manage.py perf_report``: drives pages, changes nothing, and says what it found."""

from __future__ import annotations

import io
import json

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

from tests.library.fill import fill
from tests.library.models import Author, Book, Publisher

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


def books(request):
    return HttpResponse("".join(book.author.name for book in Book.objects.all()))


def write(request):
    with transaction.atomic(durable=True):
        Publisher.objects.create(name="written")
    return HttpResponse(str(Publisher.objects.filter(name="written").count()))


def who(request):
    return HttpResponse(str(request.user))


def broken(request):
    Author.objects.count()
    raise ValueError("a page that fails")


def streamed(request):
    return StreamingHttpResponse(str(book.author.name) for book in Book.objects.all())


urlpatterns = [path(f"{view.__name__}/", view) for view in (books, write, who, broken, streamed)]


@pytest.fixture(autouse=True)
def library(db):
    fill()


def report(*urls, **options):
    out = io.StringIO()
    call_command("perf_report", url=list(urls), stdout=out, **options)
    return out.getvalue()


def json_report(*urls, **options):
    return json.loads(report(*urls, format="json", **options))


def test_json_has_requests_and_findings():
    found = json_report("/books/")

    assert [(one["url"], one["status"], one["queries"]) for one in found["requests"]] == [("/books/", 200, 7)]
    assert found["requests"][0]["database_ms"] > 0
    (finding,) = found["findings"]
    assert (finding["kind"], finding["subject"], finding["route"]) == ("n_plus_one", "Book.author", "/books/")
    assert finding["code"] == '.select_related("author")'
    assert finding["change"] == {
        "file": "tests/optimizer/test_perf_report.py",
        "line": books.__code__.co_firstlineno + 1,
        "name": "books",
    }


def test_table_reads_as_prose():
    text = report("/books/")

    assert "/books/" in text
    assert "n_plus_one: Book.author" in text
    assert '.select_related("author")' in text


def test_nothing_to_mend_is_good_news():
    assert "Nothing to mend" in report("/who/")


def test_writes_are_rolled_back_durable_ones_too():
    found = json_report("/write/")

    assert found["requests"][0]["status"] == 200
    assert not Publisher.objects.filter(name="written").exists()


def test_as_a_user(monkeypatch):
    get_user_model().objects.create_user("ada")

    assert json_report("/who/", user="ada")["requests"][0]["queries"] >= 1


def test_queries_of_a_streamed_page_count():
    assert json_report("/streamed/")["requests"][0]["queries"] == 7


def test_a_page_that_fails_is_named_and_the_rest_is_reported():
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"^/broken/ failed \(ValueError: a page that fails\)\.$") as error:
        call_command("perf_report", url=["/broken/", "/books/"], format="json", stdout=out)
    found = json.loads(out.getvalue())

    assert error.value.returncode == 2
    assert [(one["status"], one["error"]) for one in found["requests"]] == [
        (500, "ValueError: a page that fails"),
        (200, ""),
    ]
    assert len(found["findings"]) == 1


@pytest.mark.parametrize("spared", [{"SAMPLE_RATE": 0.0}, {"IGNORE_PATHS": ["/books/"]}])
def test_what_spares_a_sites_own_traffic_spares_no_page_that_is_asked_for(settings, spared):
    settings.NOA_PERF = {"OPTIMIZER": spared}

    assert len(json_report("/books/")["findings"]) == 1


def test_a_database_without_transactions_is_not_asked_unless_it_may(monkeypatch):
    monkeypatch.setattr(type(connection.features), "supports_transactions", False)

    with pytest.raises(CommandError, match=r"has no transactions.*--without-rollback") as error:
        report("/books/")
    assert error.value.returncode == 2
    assert json_report("/books/", without_rollback=True)["requests"]


def test_one_that_does_not_say_is_not_probed(monkeypatch):
    monkeypatch.delattr(type(connection.features), "supports_transactions", raising=False)

    with pytest.raises(CommandError, match="has no transactions"):
        report("/books/")


def test_works_without_the_middleware(settings):
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "noa_perf" not in name]

    found = json_report("/books/")

    assert (found["requests"][0]["queries"], found["requests"][0]["route"]) == (7, "/books/")
    assert [(one["subject"], one["route"]) for one in found["findings"]] == [("Book.author", "/books/")]


def test_answers_to_a_host_of_the_site(settings):
    settings.ALLOWED_HOSTS = [".example.com"]

    assert json_report("/books/")["requests"][0]["status"] == 200


def test_raise_mode_does_not_spoil_a_report(settings):
    settings.NOA_PERF = {"OPTIMIZER": {"ON_N_PLUS_ONE": "raise"}}

    assert json_report("/books/")["requests"][0]["status"] == 200


def test_what_is_allowed_is_left_out_and_what_is_not_needed_is_named(settings):
    settings.NOA_PERF = {"OPTIMIZER": {"ALLOW": ["Book.author", "Book.publisher"]}}

    found = json_report("/books/")

    assert found["findings"] == []
    assert found["unused_allowances"] == ["Book.publisher"]


@pytest.mark.parametrize("entry", ["path:tests/optimizer/*.py", "fingerprint"])
def test_allowed_by_path_or_fingerprint(settings, entry):
    if entry == "fingerprint":
        entry = f"fingerprint:{json_report('/books/')['findings'][0]['fingerprint']}"
    settings.NOA_PERF = {"OPTIMIZER": {"ALLOW": [entry]}}

    found = json_report("/books/")

    assert (found["findings"], found["unused_allowances"]) == ([], [])


@pytest.mark.parametrize(("level", "code"), [("high", None), ("medium", 1), ("low", 1), ("never", None)])
def test_exit_code_by_severity(level, code):
    if code is None:
        report("/books/", fail_level=level)
        return
    with pytest.raises(SystemExit) as exited:
        report("/books/", fail_level=level)
    assert exited.value.code == code


@pytest.mark.parametrize(
    ("urls", "options", "message"),
    [
        ([], {}, "--url /"),
        (["books/"], {}, "--url /books/"),
        (["/books/"], {"user": "nobody"}, "no user 'nobody'"),
    ],
)
def test_bad_input_names_the_option_and_the_cure(urls, options, message):
    with pytest.raises(CommandError, match=message) as error:
        report(*urls, **options)
    assert error.value.returncode == 2


def test_switched_off_it_says_so(settings):
    settings.NOA_PERF = {"ENABLED": False}

    with pytest.raises(CommandError, match="switched off"):
        report("/books/")
