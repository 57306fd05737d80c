"""Every query is seen, timed with its fetches, laid to its own scope, and never disturbed."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import threading
import tracemalloc
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.db import OperationalError, connection, connections, transaction

from noa_perf import optimizer
from noa_perf.core.clock import ManualClock
from noa_perf.optimizer import callsite, capture, fingerprint, notify
from noa_perf.optimizer.collector import Collector, collector
from noa_perf.optimizer.detectors.duplicate import MAX_SEEN
from noa_perf.optimizer.notify import Notifier
from noa_perf.optimizer.scopes import Scope, current
from tests.library.fill import fill
from tests.library.models import Author, Publisher, Tag

pytestmark = pytest.mark.django_db


def query(sql: str = "SELECT 1") -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def test_counts_queries_rows_and_both_times():
    Publisher.objects.bulk_create([Publisher(name=str(n)) for n in range(250)])

    with optimizer.scope("x") as scope:
        list(Publisher.objects.all())
        Publisher.objects.count()

    assert (scope.queries, scope.rows, scope.failed) == (2, 251, 0)
    assert scope.execute > 0
    assert scope.fetch > 0
    assert scope.seconds == scope.execute + scope.fetch


def test_time_spent_while_rows_are_read_is_counted():
    # SQLite finds the first row at once and the second after 300,000 steps, all of them in the fetch.
    slow = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) "
        "SELECT i FROM n WHERE i IN (%s, 300000)"
    )
    with optimizer.scope("fetchall") as scope, connection.cursor() as cursor:
        cursor.execute(slow, [1])
        assert cursor.fetchall() == [(1,), (300000,)]
    with optimizer.scope("iteration") as iterated, connection.cursor() as cursor:
        cursor.execute(slow, [2])
        assert [row for row in cursor] == [(2,), (300000,)]

    assert scope.fetch > scope.execute
    assert iterated.fetch > iterated.execute
    assert (scope.rows, iterated.rows) == (2, 2)


@pytest.mark.parametrize("method", ["fetchone", "fetchmany", "fetchall", "__iter__"])
def test_every_way_to_read_rows_returns_what_django_returns(method):
    def read() -> object:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 UNION SELECT 2")
            found = getattr(cursor, method)()
            return list(found) if method == "__iter__" else found

    with optimizer.scope("x") as scope:
        watched = read()
    with capture.muted():
        assert read() == watched
    assert scope.rows == (2 if method in ("fetchall", "__iter__") else 1)


def test_a_query_that_raises_is_counted_and_raised_unchanged():
    with capture.muted(), pytest.raises(OperationalError) as bare, transaction.atomic():
        query("SELECT * FROM no_such_table")
    with optimizer.scope("x") as scope, pytest.raises(OperationalError) as watched, transaction.atomic():
        query("SELECT * FROM no_such_table")

    assert (scope.queries, scope.failed) == (1, 1)
    assert watched.value.args == bare.value.args
    assert type(watched.value.__cause__) is type(bare.value.__cause__)


def test_stands_first_so_that_djangos_own_wrappers_come_off_right():
    def other(execute, *args):
        return execute(*args)

    with connection.execute_wrapper(other):
        query()
        assert connection.execute_wrappers == [capture.watch, other]
    assert connection.execute_wrappers == [capture.watch]


def test_a_new_connection_is_watched():
    seen = []

    def work() -> None:
        try:
            with optimizer.scope("thread") as scope:
                query()
            seen.append(scope.queries)
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [1]


def test_threads_never_see_each_others_queries():
    together = threading.Barrier(2)
    seen = {}

    def work(name: str, queries: int) -> None:
        try:
            with optimizer.scope(name) as scope:
                for _ in range(queries):
                    together.wait(timeout=20)
                    query()
            seen[name] = scope.queries
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(name, 5)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == {"a": 5, "b": 5}


@pytest.mark.django_db(transaction=True)
async def test_tasks_of_one_loop_never_see_each_others_queries():
    async def work(name: str, queries: int) -> int:
        with optimizer.scope(name) as scope:
            for _ in range(queries):
                await asyncio.sleep(0)
                await Author.objects.acount()
        return scope.queries

    assert await asyncio.gather(work("a", 2), work("b", 7)) == [2, 7]  # type: ignore[comparison-overlap]


@pytest.mark.django_db(transaction=True)
async def test_children_of_one_task_add_up_in_its_scope():
    with optimizer.scope("x") as scope:
        await asyncio.gather(*(Author.objects.acount() for _ in range(5)))

    assert scope.queries == 5


@pytest.mark.django_db(transaction=True)
async def test_threads_of_one_scope_lose_no_count():
    def work() -> None:
        try:
            for _ in range(200):
                query()
        finally:
            connections.close_all()

    with optimizer.scope("x") as scope:
        await asyncio.gather(*(sync_to_async(work, thread_sensitive=False)() for _ in range(4)))

    assert scope.queries == 800
    assert sum(group.count for group in scope.groups.values()) == 800


def test_scopes_nest():
    with optimizer.scope("outer") as outer:
        query()
        with optimizer.scope("inner") as inner:
            list(Author.objects.all())

    assert (outer.queries, inner.queries) == (2, 1)
    assert outer.fetch >= inner.fetch > 0
    assert current.get() is None


def test_outside_a_scope_only_number_and_time_are_kept():
    queries, seconds = capture.outside.queries, capture.outside.execute + capture.outside.fetch

    query()

    assert capture.outside.queries == queries + 1
    assert capture.outside.execute + capture.outside.fetch > seconds


def test_transaction_statements_are_timed_and_not_counted_as_queries():
    with optimizer.scope("x") as scope, transaction.atomic():
        query()

    assert scope.queries == 1
    assert scope.transaction_statements >= 2  # SAVEPOINT and RELEASE, inside the test's own transaction


def test_executemany_is_one_query():
    with optimizer.scope("x") as scope, connection.cursor() as cursor:
        cursor.executemany("INSERT INTO library_tag (name) VALUES (%s)", [["a"], ["b"]])

    assert scope.queries == 1
    assert Tag.objects.count() == 2


def test_djangos_query_log_goes_on_working():
    connection.force_debug_cursor = True
    try:
        before = len(connection.queries)
        with optimizer.scope("x") as scope:
            list(Author.objects.all())
        assert len(connection.queries) == before + 1
        assert scope.queries == 1
    finally:
        connection.force_debug_cursor = False


def test_a_fault_of_our_own_is_counted_logged_once_and_kept_from_the_site(monkeypatch, caplog):
    def broken(frame: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(callsite, "locate", broken)
    monkeypatch.setattr(capture, "faults", capture.Faults())
    with caplog.at_level(logging.ERROR, "noa_perf.optimizer"), optimizer.scope("x"):
        assert query() == [(1,)]
        assert query() == [(1,)]

    assert capture.faults.counts == {"record": 2}
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_fault_in_a_listener_does_not_reach_the_site(monkeypatch):
    def broken(scope: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(capture, "faults", capture.Faults())
    with capture.listening(broken), optimizer.scope("x"):
        query()

    assert capture.faults.counts == {"close_scope": 1}


@pytest.mark.slow
def test_100_000_queries_stay_within_a_fixed_memory():
    # Each statement has a shape of its own, and a tenth of them repeat parameters: the worst for every table.
    with optimizer.scope("x") as scope, connection.cursor() as cursor:
        tracemalloc.start()
        try:
            for number in range(100_000):
                cursor.execute(f"SELECT %s AS c{number}", [number % 10_000])
                if number == 30_000:
                    early = tracemalloc.get_traced_memory()[0]
            late = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    assert scope.queries == 100_000
    assert len(scope.groups) == scope.settings.max_groups
    assert scope.overflow == 100_000 - scope.settings.max_groups
    assert len(scope.duplicates.seen) <= MAX_SEEN
    assert len(fingerprint._cache) <= fingerprint.MAX_CACHED
    assert late - early < 6_000_000  # the cache of statements fills and empties within 4,096 entries


def test_a_collector_forgets_the_cheapest_first(settings):
    settings.NOA_PERF = {"OPTIMIZER": {"MAX_FINGERPRINTS": 10, "ON_N_PLUS_ONE": "collect"}}
    own = Collector()
    for number in range(60):
        with optimizer.scope("x") as scope:
            query(f"SELECT 1 AS c{number}")
        own.add(scope)

    assert own.scopes == 60
    assert len(own.shapes) <= 10
    assert len(own.sightings) <= 10
    assert own.forgotten > 0


def test_survives_a_fork_while_another_thread_holds_its_locks():
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with collector._lock, capture.outside.lock:
            held.set()
            done.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(20)
    child = os.fork()
    if child == 0:
        with optimizer.scope("child"):
            pass
        capture.outside.add(1, 0, 0.0)
        os._exit(42)
    done.set()
    thread.join()

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42


def test_the_sites_commands_run_in_a_scope_and_djangos_do_not():
    seen: list[Scope] = []
    with capture.listening(seen.append):
        call_command("count_books", stdout=io.StringIO())
        call_command("check", stdout=io.StringIO())

    assert [(scope.kind, scope.name, scope.queries) for scope in seen] == [("command", "manage.py count_books", 1)]


def test_a_command_that_the_settings_ignore_runs_unwatched(settings):
    settings.NOA_PERF = {"OPTIMIZER": {"IGNORE_COMMANDS": ["count_books"]}}
    seen: list[Scope] = []
    with capture.listening(seen.append):
        call_command("count_books", stdout=io.StringIO())

    assert seen == []


def test_a_slow_query_is_logged_with_its_line_now_and_then(settings, caplog):
    settings.NOA_PERF = {"OPTIMIZER": {"SLOW_QUERY_MS": 0}}
    clock = ManualClock()
    notifier = Notifier(clock)
    with caplog.at_level(logging.WARNING, "noa_perf.optimizer"):
        for _ in range(3):
            with optimizer.scope("x") as scope:
                Author.objects.filter(name="secret").first()
            notifier.closed(scope)
        first = [message for message in caplog.messages if "library_author" in message]
        clock.advance(notify.SLOW_AGAIN_AFTER)
        notifier.closed(scope)

    assert "test_capture.py" in first[0]
    assert "secret" not in caplog.text
    assert len(caplog.messages) == len(first) + 1


def test_an_n_plus_one_is_logged_once_with_its_line(caplog):
    fill()
    with caplog.at_level(logging.WARNING, "noa_perf.optimizer"):
        for _ in range(2):
            with optimizer.scope("x"):
                for author in Author.objects.all():
                    author.profile.bio

    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1
    assert "Author.profile" in lines[0]
    assert "test_capture.py" in lines[0]
