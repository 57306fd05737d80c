"""Assertions of a test: each says what a person needs, in sync and async, alone, nested and in threads."""

from __future__ import annotations

import asyncio
import threading

import pytest
from django.db import connection, connections
from django.http import HttpResponse
from django.test import AsyncClient, Client, TestCase, TransactionTestCase
from django.urls import path

from noa_perf import optimizer
from noa_perf.core import conf
from noa_perf.optimizer import capture
from noa_perf.optimizer.collector import collector
from noa_perf.optimizer.exceptions import CaptureOff, NPlusOneError
from noa_perf.optimizer.scopes import Scope
from noa_perf.optimizer.testing import (
    QueryAssertions,
    assert_max_queries,
    assert_no_n_plus_one,
    assert_uses_index,
)
from tests.library.fill import fill
from tests.library.models import Author, Book, Publisher, Tag

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

BOOK = "library_book"


def books(request):
    return HttpResponse("".join(book.author.name for book in Book.objects.all()))


def book(request, pk):
    return HttpResponse(Book.objects.get(pk=pk).title)


urlpatterns = [path("books/", books), path("books/<int:pk>/", book)]


@pytest.fixture(autouse=True)
def library(request):
    if request.cls is None or not issubclass(request.cls, QueryAssertions):
        request.getfixturevalue("db")
        fill()


def names() -> list[str]:
    return [book.author.name for book in Book.objects.all()]


def failing() -> None:
    names()
    raise KeyError("mine")


def told(assertion, block) -> str:
    with pytest.raises(AssertionError) as failed, assertion:
        block()
    return str(failed.value)


class TestNoNPlusOne:
    def test_names_the_line_the_cure_and_the_code(self):
        text = told(assert_no_n_plus_one(), names)

        line = names.__code__.co_firstlineno + 1
        assert f"6× Book.author at tests/optimizer/test_testing.py:{line}" in text
        assert f"change: tests/optimizer/test_testing.py:{line}" in text
        assert 'code: .select_related("author")' in text
        assert 'allow=["Book.author"]' in text

    def test_names_the_line_of_a_template(self):
        from django.template import engines

        template = engines["django"].from_string("\n{% for book in books %}{{ book.author.name }}{% endfor %}")

        text = told(assert_no_n_plus_one(), lambda: template.render({"books": Book.objects.all()}))

        assert "Book.author" in text
        assert "(template <unknown source>:2)" in text

    def test_is_silent_where_there_is_none(self):
        with assert_no_n_plus_one():
            [book.author.name for book in Book.objects.select_related("author")]

    def test_threshold(self):
        with assert_no_n_plus_one(threshold=7):
            names()
        assert "6× Book.author" in told(assert_no_n_plus_one(threshold=6), names)

    def test_the_threshold_holds_in_requests_too(self):
        with assert_no_n_plus_one(threshold=7):
            Client().get("/books/")
        assert "6× Book.author" in told(assert_no_n_plus_one(threshold=6), lambda: Client().get("/books/"))

    def test_allow(self):
        with assert_no_n_plus_one(allow=["Book.author"]):
            names()
        assert "Book.author" in told(assert_no_n_plus_one(allow=["Book.publisher"]), names)

    def test_what_the_settings_allow_is_left_alone(self, settings):
        settings.NOA_PERF = {"OPTIMIZER": {"ALLOW": ["Book.author"]}}

        with assert_no_n_plus_one():
            names()

    def test_raise_mode_leaves_the_word_to_the_assertion(self, settings):
        settings.NOA_PERF = {"OPTIMIZER": {"ON_N_PLUS_ONE": "raise"}}

        assert "6× Book.author" in told(assert_no_n_plus_one(), lambda: Client().get("/books/"))
        with pytest.raises(NPlusOneError), assert_max_queries(99):
            Client().get("/books/")

    @pytest.mark.parametrize("bad", [{"threshold": 1}, {"allow": ["nonsense"]}])
    def test_arguments_that_mean_nothing_are_refused(self, bad):
        with pytest.raises(ValueError, match=r"threshold is 1|allow holds 'nonsense'"):
            assert_no_n_plus_one(**bad)

    def test_one_page_asked_for_again_and_again_is_no_n_plus_one(self):
        with assert_no_n_plus_one(), assert_max_queries(6, exact=True):
            for one in Book.objects.values_list("pk", flat=True)[:5]:
                Client().get(f"/books/{one}/")

    def test_requests_still_go_to_who_listens(self):
        seen: list[Scope] = []
        with capture.listening(seen.append), assert_max_queries(99):
            Client().get("/books/")
            with optimizer.scope("block"):
                Book.objects.count()

        assert [(one.kind, one.queries) for one in seen] == [("request", 7), ("block", 1)]

    def test_a_scope_around_the_assertion_counts_the_same_as_without_it(self):
        with optimizer.scope("around") as around, assert_max_queries(99):
            Book.objects.count()
            with optimizer.scope("inner") as inner:
                Book.objects.count()

        assert (around.queries, inner.queries) == (2, 1)

    def test_the_figures_of_the_process_know_nothing_of_it(self):
        before = collector.scopes
        with assert_max_queries(9):
            Book.objects.count()

        assert collector.scopes == before


class TestMaxQueries:
    def test_shapes_of_most_runs_first_with_their_places(self):
        text = told(assert_max_queries(3), names)

        first, shape, place, *rest = text.splitlines()
        assert first == "7 queries, where at most 3 may run:"
        assert shape.strip().startswith("6×  SELECT")
        assert 'FROM "library_author"' in shape
        assert place.strip() == f"6× at tests/optimizer/test_testing.py:{names.__code__.co_firstlineno + 1}"
        assert any(line.strip().startswith("1×  SELECT") for line in rest)
        assert 'code: .select_related("author")' in text

    def test_as_many_as_allowed_pass_and_exact_wants_no_fewer(self):
        with assert_max_queries(7):
            names()
        with assert_max_queries(7, exact=True):
            names()
        assert "7 queries, where exactly 8 may run" in told(assert_max_queries(8, exact=True), names)

    def test_savepoints_are_no_queries(self):
        from django.db import transaction

        with assert_max_queries(1, exact=True), transaction.atomic(), transaction.atomic():
            Book.objects.count()

    def test_counts_on_one_database(self):
        with assert_max_queries(0, using="other"):
            names()
        assert "on 'default'" in told(assert_max_queries(0, using="default"), names)

    def test_requests_count(self):
        text = told(assert_max_queries(6), lambda: Client().get("/books/"))

        assert text.startswith("7 queries")

    def test_nested_each_counts_its_own_block(self):
        with assert_max_queries(2, exact=True), assert_no_n_plus_one():
            Book.objects.count()
            with assert_max_queries(1, exact=True):
                Book.objects.count()

    def test_more_than_a_scope_remembers_is_counted(self, settings):
        settings.NOA_PERF = {"OPTIMIZER": {"MAX_GROUPS": 10}}

        def many():
            for number in range(30):
                connection.cursor().execute(f"SELECT 1 AS c{number}")

        assert told(assert_max_queries(29, using="default"), many).startswith("30 queries")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"n": "5"}, "n is '5': it has to be a whole number"),
            ({"n": True}, "n is True: it has to be a whole number"),
            ({"n": -1}, "n is -1: give it 0 or more"),
            ({"n": 5, "using": 3}, "using is 3: it has to be the alias"),
            ({"n": 5, "exact": 1}, "exact is 1: it has to be True or False"),
        ],
    )
    def test_arguments_that_mean_nothing_are_refused(self, arguments, message):
        with pytest.raises((TypeError, ValueError), match=message):
            assert_max_queries(**arguments)


class TestBlocksThatRaise:
    @pytest.mark.parametrize("assertion", [assert_no_n_plus_one(), assert_max_queries(0), assert_uses_index("none")])
    def test_their_own_error_wins(self, assertion):
        with pytest.raises(KeyError, match="mine"), assertion:
            failing()

    def test_the_next_use_starts_from_nothing(self):
        again = assert_max_queries(1, exact=True)
        with pytest.raises(KeyError), again:
            failing()
        with again:
            Book.objects.count()


class TestAsync:
    @pytest.mark.django_db(transaction=True)
    async def test_async_with(self):
        async with assert_max_queries(1, exact=True):
            await Book.objects.acount()
        with pytest.raises(AssertionError, match=r"6× Book\.author"):
            async with assert_no_n_plus_one():
                await AsyncClient().get("/books/")

    @pytest.mark.django_db(transaction=True)
    async def test_coroutines_that_run_together_are_counted_apart(self):
        async def count(times):
            async with assert_max_queries(times, exact=True):
                for _ in range(times):
                    await Book.objects.acount()

        await asyncio.gather(count(1), count(2), count(3))

    @pytest.mark.django_db(transaction=True)
    async def test_plans_are_read_where_coroutines_ask(self):
        async with assert_uses_index(table=Book, using="default"):
            await Book.objects.filter(pk=1).aexists()
        with pytest.raises(AssertionError, match="SCAN library_book"):
            async with assert_uses_index():
                await Book.objects.filter(title="x").aexists()

    @pytest.mark.django_db(transaction=True)
    async def test_decorates_a_coroutine_function(self):
        @assert_max_queries(0)
        async def counted():
            await Book.objects.acount()

        with pytest.raises(AssertionError, match="1 query"):
            await counted()

    def test_where_no_asyncio_runs(self):
        async def watched():
            async with assert_max_queries(0):
                Book.objects.count()

        with pytest.raises(AssertionError, match="at most 0 may run"):
            watched().send(None)  # as trio steps a coroutine


class TestDecorator:
    @pytest.mark.parametrize(
        "given", [type("T", (TestCase,), {}), staticmethod(names), classmethod(lambda cls: None), 5]
    )
    def test_what_cannot_be_watched_is_refused_at_once(self, given):
        with pytest.raises(TypeError, match="assert_max_queries watches functions, and "):
            assert_max_queries(0)(given)

    def test_generators_are_refused_at_once(self):
        def rows():
            yield Book.objects.count()

        async def arows():
            yield 1

        for given in (rows, arows):
            with pytest.raises(TypeError, match="is a generator, which runs after the call is over"):
                assert_max_queries(0)(given)

    @pytest.mark.parametrize("assertion", [assert_max_queries, assert_no_n_plus_one, assert_uses_index])
    def test_without_parentheses(self, assertion):
        with pytest.raises(TypeError, match="is names: a decorator needs its parentheses"):
            assertion(names)

    def test_each_run_is_judged_alone_and_what_it_returns_comes_back(self):
        @assert_max_queries(1)
        def counted(*, of):
            return of.objects.count()

        assert [counted(of=Book), counted(of=Author)] == [6, 6]
        assert counted.__name__ == "counted"

    @assert_no_n_plus_one()
    def test_takes_fixtures(self, django_user_model):
        assert not django_user_model.objects.exists()


class TestThreads:
    @pytest.mark.django_db(transaction=True)
    def test_what_a_thread_of_the_block_asks_counts(self):
        def work():
            try:
                names()
                with optimizer.scope("inner"):
                    Book.objects.count()
            finally:
                connections.close_all()

        def start():
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()

        text = told(assert_max_queries(0), start)

        assert text.startswith("8 queries")
        assert "6× Book.author" in told(assert_no_n_plus_one(), start)

    def test_what_an_older_thread_asks_does_not(self):
        begin, done = threading.Event(), threading.Event()
        seen = []

        def work():
            begin.wait(timeout=20)
            try:
                with connections["default"].cursor() as cursor:
                    cursor.execute("SELECT 1")
                    seen.append(cursor.fetchone())
            finally:
                connections.close_all()
                done.set()

        thread = threading.Thread(target=work)
        thread.start()
        with assert_max_queries(0):
            begin.set()
            assert done.wait(timeout=20)
        thread.join()

        assert seen == [(1,)]


class TestUsesIndex:
    def test_an_index_by_name_by_fields_and_at_all(self):
        (name,) = [
            name
            for name, one in connection.introspection.get_constraints(connection.cursor(), BOOK).items()
            if one["columns"] == ["author_id"] and one["index"]
        ]
        for demand in (name, ["author"], ["author_id"], None):
            with assert_uses_index(demand, table=Book):
                list(Book.objects.filter(author_id=1))

    def test_a_scan_fails_with_the_plan_and_the_line(self):
        text = told(assert_uses_index(), lambda: list(Book.objects.filter(title="x")))

        assert text.startswith("Read without an index: library_book:")
        assert "SCAN library_book" in text
        assert "at tests/optimizer/test_testing.py:" in text
        assert "scans a small table" not in text  # SQLite does not

    def test_another_index_than_that_asked_for_fails(self):
        def by_author():
            list(Book.objects.filter(author_id=1))

        assert "The index 'nothing_idx' is not used" in told(assert_uses_index("nothing_idx"), by_author)
        text = told(assert_uses_index(["publisher"], table="library_book"), by_author)
        assert text.startswith("No index that begins with (publisher) is used on library_book:")

    def test_only_the_table_that_is_asked_about_counts(self):
        def both():
            list(Author.objects.filter(name="x"))
            list(Book.objects.filter(author_id=1))

        with assert_uses_index(table=Book):
            both()
        assert "library_author" in told(assert_uses_index(table=Author), both)

    def test_the_primary_key_serves(self):
        with assert_uses_index(["id"], table=Book):
            Book.objects.filter(pk=1).exists()

    def test_a_block_without_a_select_fails(self):
        assert "No SELECT on library_tag ran" in told(assert_uses_index(table=Tag), names)

    def test_a_request_is_explained_with_its_values(self):
        pk = Book.objects.values_list("pk", flat=True)[0]

        with assert_uses_index(["id"], table=Book):
            Client().get(f"/books/{pk}/")

    @pytest.mark.server
    def test_a_small_table_on_postgresql(self, pg):
        pg("CREATE TABLE library_publisher (id serial PRIMARY KEY, name varchar(100))")
        pg("CREATE INDEX by_name ON library_publisher (name)")
        pg("INSERT INTO library_publisher (name) SELECT 'p' || n FROM generate_series(1, 5) n")
        pg("ANALYZE library_publisher")

        def select():
            list(Publisher.objects.using("pg").filter(name="p1"))

        text = told(assert_uses_index("by_name"), select)

        assert "PostgreSQL knows of 5 rows in" in text
        assert "force=True" in text
        with assert_uses_index("by_name", force=True):
            select()
        assert pg("SHOW enable_seqscan") == [("on",)]

    @pytest.mark.server
    def test_a_partial_index_is_found_by_the_values_of_the_run(self, pg):
        pg("CREATE TABLE library_publisher (id serial PRIMARY KEY, name varchar(100))")
        pg("CREATE INDEX first_one ON library_publisher (id) WHERE name = 'p1'")
        pg("INSERT INTO library_publisher (name) SELECT 'p' || n FROM generate_series(1, 5000) n")
        pg("ANALYZE library_publisher")

        with assert_uses_index("first_one", table=Publisher, using="pg"):
            list(Publisher.objects.using("pg").filter(name="p1"))

    @pytest.mark.server
    def test_a_small_table_on_mariadb(self, maria):
        maria("CREATE TABLE library_publisher (id serial PRIMARY KEY, name varchar(100))")
        maria("INSERT INTO library_publisher (name) VALUES ('a'), ('b')")

        text = told(assert_uses_index(), lambda: list(Publisher.objects.using("maria").filter(name="a")))

        assert "scans a small table whatever its indexes" in text
        assert "force=True" not in text


class TestSwitchedOff:
    def test_by_the_settings(self, settings):
        settings.NOA_PERF = {"ENABLED": False}

        with pytest.raises(CaptureOff, match=r'NOA_PERF\["ENABLED"\]'), assert_max_queries(99):
            pass

    def test_by_the_environment(self, monkeypatch):
        monkeypatch.setenv(conf.DISABLE_VARIABLE, "optimizer")

        with pytest.raises(CaptureOff, match=conf.DISABLE_VARIABLE), assert_no_n_plus_one():
            pass

    def test_not_installed(self, settings):
        settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if name != "noa_perf.optimizer"]

        with pytest.raises(CaptureOff, match="INSTALLED_APPS"), assert_no_n_plus_one():
            pass

    def test_switched_off_when_django_started(self, monkeypatch):
        monkeypatch.setattr(capture, "installed", lambda: False)

        with pytest.raises(CaptureOff, match="when Django started"), assert_no_n_plus_one():
            pass


class Mixed(QueryAssertions):
    """What both kinds of TestCase are asked."""

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        fill()

    def test_assertions(self) -> None:
        with self.assertNoNPlusOne(allow=["Book.author"]), self.assertMaxQueries(7, exact=True):
            names()
        with self.assertUsesIndex(["id"], table=Book):
            Book.objects.filter(pk=1).exists()
        assert "6× Book.author" in told(self.assertNoNPlusOne(threshold=6), names)

    async def test_async(self) -> None:
        async with self.assertMaxQueries(1, exact=True):
            await Book.objects.acount()


class Case(Mixed, TestCase):
    """Inside the transactions of TestCase."""


class TransactionCase(Mixed, TransactionTestCase):
    """Outside any."""


def test_the_package_offers_them_too_and_nothing_that_there_is_not():
    assert optimizer.assert_max_queries is assert_max_queries
    with pytest.raises(AttributeError, match="no attribute 'assert_nothing'"):
        optimizer.assert_nothing
