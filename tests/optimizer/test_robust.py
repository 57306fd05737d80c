"""We never run a query of the site's, raise into it, or take the place of its own error."""

from __future__ import annotations

import io
import json
import logging
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.management import call_command
from django.db import IntegrityError, OperationalError, connection, transaction
from django.http import HttpResponse
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import ResolverMatch, path

from noa_perf import optimizer
from noa_perf.optimizer import callsite, capture
from noa_perf.optimizer.middleware import QueryMonitorMiddleware
from noa_perf.optimizer.scopes import Scope
from tests.library.fill import fill
from tests.library.models import Author, Book, Errand, Friend, Publisher, Tag
from tests.optimizer.helpers import findings_of, scope_of

pytestmark = pytest.mark.django_db


def test_a_models_own_truth_and_length_are_never_asked():
    for number in range(4):
        Errand.objects.create(instance=Publisher.objects.create(name=str(number)))

    def block():
        for errand in Errand.objects.all():
            errand.refresh_from_db()
        for errand in Errand.objects.all():
            errand.instance.name
        for errand in Errand.objects.defer("note"):
            errand.note

    with (
        CaptureQueriesContext(
            connection,
        ) as bare,
        capture.muted(),
    ):
        block()
    with CaptureQueriesContext(connection) as watched:
        scope = scope_of(block)

    assert [group.verdict.value for group in scope.groups.values()].count("n_plus_one") == 3

    assert len(watched) == len(bare)


def test_a_relation_to_many_of_somebody_elses_making_is_passed_by(monkeypatch):
    """A field for tags is ``many_to_many`` without the methods of Django's own."""
    fill()
    labels = SimpleNamespace(name="labels", related_model=Tag, remote_field=SimpleNamespace(through=Tag))
    monkeypatch.setattr(Book._meta, "many_to_many", (labels, *Book._meta.many_to_many))
    monkeypatch.setattr(capture.faults, "counts", {})

    (finding,) = findings_of(lambda: [list(book.tags.all()) for book in Book.objects.all()], "n_plus_one")

    assert (finding.subject, capture.faults.total) == ("Book.tags", 0)


def test_a_cursor_with_rows_of_its_own_kind_keeps_working(monkeypatch):
    monkeypatch.setattr(capture, "faults", capture.Faults())
    connection.ensure_connection()
    before, connection.connection.row_factory = connection.connection.row_factory, lambda cursor, row: row[0]
    try:
        with optimizer.scope("x") as scope, connection.cursor() as cursor:
            cursor.execute("SELECT 7 UNION SELECT 8")
            assert cursor.fetchone() == 7
            assert cursor.fetchall() == [8]
    finally:
        connection.connection.row_factory = before
    assert scope.queries == 1


def test_an_error_while_rows_are_read_is_counted_and_raised_unchanged():
    with optimizer.scope("x") as scope, connection.cursor() as cursor:
        cursor.execute("SELECT 1 UNION ALL SELECT abs(-9223372036854775808)")
        with pytest.raises(OperationalError, match="integer overflow") as raised:
            cursor.fetchall()

    assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
    assert scope.failed == 1


def test_a_failing_loop_raises_its_own_errors_even_in_raise_mode(settings):
    settings.NOA_PERF = {"OPTIMIZER": {"ON_N_PLUS_ONE": "raise"}}
    with optimizer.scope("x") as scope:
        for number in range(5):
            with pytest.raises(OperationalError), transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT * FROM no_such_table WHERE x = %s", [number])

    assert scope.failed == 5


def test_failed_retries_are_no_duplicates():
    def block():
        for _ in range(3):
            with pytest.raises(OperationalError), transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT * FROM no_such_table")

    assert findings_of(block, "duplicate") == []


def test_what_may_answer_otherwise_each_time_is_no_duplicate():
    def block():
        for _ in range(2):
            list(Author.objects.order_by("?"))

    assert findings_of(block, "duplicate") == []


def test_a_deleted_working_folder_costs_nothing(monkeypatch):
    def gone() -> str:
        raise FileNotFoundError("an old release was pruned")

    monkeypatch.setattr(os, "getcwd", gone)
    callsite.relative.cache_clear()

    assert callsite._working_folder() == ""
    assert callsite.relative("/somewhere/else.py") == "/somewhere/else.py"
    assert callsite.relative("x.py") == "x.py"


def test_a_request_without_a_route_is_answered():
    seen: list[Scope] = []

    def view(request):
        request.resolver_match = ResolverMatch(view, (), {}, route=None)
        return HttpResponse("ok")

    with capture.listening(seen.append):
        response = QueryMonitorMiddleware(view)(RequestFactory().get("/x/"))

    assert response.content == b"ok"
    assert [scope.route for scope in seen] == ["/"]


def test_a_broken_listener_of_n_plus_ones_costs_nothing(monkeypatch):
    fill()
    monkeypatch.setattr(capture, "faults", capture.Faults())

    def broken(scope, group):
        raise RuntimeError("ours")

    monkeypatch.setattr(capture, "_on_found", [broken])
    with optimizer.scope("x") as scope:
        for book in Book.objects.all():
            book.author.name

    assert scope.queries == 7
    assert capture.faults.counts == {"n_plus_one": 1}


def test_logs_hold_no_path_of_a_request(caplog):
    fill()

    def view(request):
        for author in Author.objects.all():
            author.profile.bio
        return HttpResponse()

    with caplog.at_level(logging.WARNING, "noa_perf.optimizer"):
        QueryMonitorMiddleware(view)(RequestFactory().get("/reset/a-secret-token/"))

    assert caplog.records
    assert all("a-secret-token" not in str(vars(record)) for record in caplog.records)


def test_both_sides_of_a_relation_to_itself_are_told_apart():
    people = [Friend.objects.create(name=str(n)) for n in range(4)]
    for one in people:
        one.follows.set(other for other in people if other != one)

    def followers():
        for one in Friend.objects.all():
            list(one.followers.all())

    def follows():
        for one in Friend.objects.all():
            list(one.follows.all())

    assert [one.code for one in findings_of(followers, "n_plus_one")] == ['.prefetch_related("followers")']
    assert [one.code for one in findings_of(follows, "n_plus_one")] == ['.prefetch_related("follows")']


def test_a_server_started_by_a_command_gives_each_request_a_scope_of_its_own():
    seen: list[Scope] = []
    with capture.listening(seen.append), capture.scope("manage.py anything", kind="command") as around:
        QueryMonitorMiddleware(lambda request: HttpResponse(str(Author.objects.count())))(RequestFactory().get("/x/"))
        with optimizer.scope("one job", kind="task"):
            Author.objects.count()
        assert [(scope.kind, scope.queries) for scope in seen] == [("request", 1), ("task", 1)]

    assert around.queries == 0


@pytest.mark.parametrize("name", ["rqworker", "runserver", "qcluster"])
def test_commands_that_never_end_are_known_whoever_brings_them(name):
    from noa_perf.optimizer import entries

    command = type("Command", (), {"__module__": f"somebody.management.commands.{name}"})()

    assert not entries._watched(command)


def test_links_to_the_interpreter_do_not_make_its_library_the_sites(tmp_path, monkeypatch):
    linked = tmp_path / "python"
    linked.symlink_to(Path(os.__file__).parent)
    monkeypatch.setattr(os, "__file__", str(linked / "os.py"))

    roots = callsite._folders_of_libraries()

    assert str(linked) + "/" in roots
    assert str(linked.resolve()) + "/" in roots


class Composed:
    """Like psycopg's SQL objects: text only in the hands of a connection."""

    def as_string(self, connection):
        return "SELECT 1"


def test_composed_sql_is_read_as_text():
    assert capture._text(Composed(), connection) == "SELECT 1"


# perf_report against pages that are hard to replay


def clash(request):
    Tag.objects.create(name="one")
    try:
        Tag.objects.create(name="one")
    except IntegrityError:
        return HttpResponse("there already")
    return HttpResponse("unexpected")


def fine(request):
    return HttpResponse(str(Tag.objects.count()))


urlpatterns = [path("clash/", clash), path("fine/", fine)]


def report(*urls):
    out = io.StringIO()
    call_command("perf_report", url=list(urls), format="json", stdout=out)
    return json.loads(out.getvalue())


@pytest.mark.urls(__name__)
def test_a_page_that_breaks_its_transaction_harms_no_other_and_is_named():
    found = report("/clash/", "/fine/")

    assert [(one["status"], one["replayable"]) for one in found["requests"]] == [(200, False), (200, True)]
    assert Tag.objects.count() == 0


@pytest.mark.urls(__name__)
def test_a_report_inside_another_scope_sees_all():
    with optimizer.scope("a command that reports"):
        assert report("/fine/")["requests"][0]["queries"] == 1


SITE = """
import django, sys
from django.conf import settings
settings.configure(
    ROOT_URLCONF="urls_of_none", DATABASES={databases}, ALLOWED_HOSTS=["x"],
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "noa_perf.optimizer"],
    MIDDLEWARE=["noa_perf.optimizer.middleware.QueryMonitorMiddleware"],
)
django.setup()
from django.core.management import call_command
call_command("perf_report", url=["/"], format="json")
"""
AWAY = {"ENGINE": "django.db.backends.sqlite3", "NAME": "/no/such/folder/away.sqlite3"}


@pytest.mark.parametrize(("databases", "unreachable"), [({}, []), ({"default": {}, "away": AWAY}, ["away"])])
def test_a_site_whose_databases_are_missing_or_away_gets_its_report(tmp_path, databases, unreachable):
    (tmp_path / "urls_of_none.py").write_text(
        "from django.http import HttpResponse\nfrom django.urls import path\n"
        "urlpatterns = [path('', lambda request: HttpResponse('ok'))]\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    code = SITE.replace("{databases}", repr(databases))
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["requests"][0]["status"], found["unreachable"]) == (200, unreachable)
