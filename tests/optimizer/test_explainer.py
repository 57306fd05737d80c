"""Slow queries are explained off the request, seldom, on a connection of their own, and no value is kept."""

from __future__ import annotations

import json
import os
import threading
import time

import pytest
from django.db import connections

from noa_perf.core.clock import ManualClock
from noa_perf.optimizer import capture
from noa_perf.optimizer.plans import advise, sqlite
from noa_perf.optimizer.plans import explainer as module
from noa_perf.optimizer.plans.advise import Asked
from noa_perf.optimizer.plans.explainer import Explainer
from noa_perf.optimizer.plans.tree import Plan, PlanNode, Step
from noa_perf.optimizer.scopes import Scope


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def own(clock, monkeypatch):
    monkeypatch.setattr(capture, "_listeners", [])  # the process's own explainer stays out of it
    made = Explainer(clock, pause=0)
    yield made
    made.stop()


@pytest.fixture
def slow(settings):
    settings.NOA_PERF = {"OPTIMIZER": {"SLOW_QUERY_MS": 0}}


@pytest.fixture
def books(pg):
    pg("CREATE TABLE library_book (id bigserial PRIMARY KEY, title text, pages int)")
    pg("INSERT INTO library_book (title, pages) SELECT 't' || n, n FROM generate_series(1, 5000) n", [])
    pg("ANALYZE library_book")
    return pg


SQL = 'SELECT "library_book"."title" FROM "library_book" WHERE "library_book"."title" = %s'


def seen(run) -> Scope:
    with capture.quiet(), capture.scope("x") as scope:
        run(SQL, ["a very secret value"])
    return scope


@pytest.mark.server
def test_a_slow_query_is_explained_with_its_values_and_keeps_none(books, slow, own):
    with capture.listening(own.closed):
        scope = seen(books)
    own.wait()

    (group,) = scope.groups.values()
    reading = own.reading("pg", group.statement.folded)
    assert [fault.kind for fault in reading.faults] == ["full_scan"]
    assert reading.plan.drawn()[1].strip() == "filter: (library_book.title = %s::text)"
    kept = json.dumps([reading.plan.drawn(), [fault.evidence for fault in reading.faults]])
    assert "secret" not in kept + repr(vars(own))
    assert group.slow_run is None


@pytest.mark.server
def test_a_slow_query_of_mariadb_is_explained_with_its_values_and_keeps_none(maria, slow, own):
    maria("CREATE TABLE library_book (id int PRIMARY KEY, title varchar(100), pages int)")
    maria("INSERT INTO library_book SELECT seq, concat('t', seq), seq FROM seq_1_to_5000")
    maria("ANALYZE TABLE library_book")
    with capture.listening(own.closed), capture.quiet(), capture.scope("x") as scope:
        maria("SELECT `id` FROM `library_book` WHERE `library_book`.`title` = %s", ["a very secret value"])
    own.wait()

    (group,) = scope.groups.values()
    reading = own.reading("maria", group.statement.folded)
    assert [fault.kind for fault in reading.faults] == ["full_scan"]
    assert reading.plan.drawn()[1].strip() == "filter: library_book.title = %s"
    kept = json.dumps([reading.plan.drawn(), [fault.evidence for fault in reading.faults]])
    assert "secret" not in kept + repr(vars(own))


@pytest.mark.server
def test_it_uses_a_connection_of_its_own_and_gives_it_back(books, slow, own, monkeypatch):
    used = []
    real = advise.read

    def spy(asked, params):
        used.append((threading.current_thread().name, connections["pg"].connection is None))
        return real(asked, params)

    monkeypatch.setattr(advise, "read", spy)
    with capture.listening(own.closed):
        seen(books)
    own.wait()

    assert used == [("noa_perf-explainer", True)]
    deadline = time.monotonic() + 30  # a closed backend takes a moment to be gone
    while books("SELECT count(*) FROM pg_stat_activity WHERE datname = 'plans'") != [(1,)]:
        assert time.monotonic() < deadline


@pytest.mark.server
def test_explaining_is_not_reported_itself(books, slow, own):
    before = capture.outside.queries
    with capture.listening(own.closed):
        seen(books)
    own.wait()

    assert capture.outside.queries == before


def test_one_statement_is_explained_now_and_then(own, clock):
    asked = Asked("default", "SELECT 1")

    assert own.offer(asked, "SELECT %s", None)
    assert not own.offer(asked, "SELECT %s", None)
    clock.advance(module.AGAIN_AFTER)
    assert own.offer(asked, "SELECT %s", None)


def test_when_too_many_wait_the_rest_is_dropped_and_counted(own, monkeypatch):
    monkeypatch.setattr(own, "_ensure_thread", lambda: None)

    taken = [own.offer(Asked("default", "SELECT 1"), str(n), None) for n in range(module.MAX_WAITING + 5)]

    assert taken.count(True) == module.MAX_WAITING
    assert own.dropped == 5


def test_no_thread_before_the_first_slow_query(own):
    assert own._thread is None


def test_a_database_that_is_away_costs_the_plan_alone(own, monkeypatch):
    monkeypatch.setattr(capture, "faults", capture.Faults())

    own.offer(Asked("no such alias", "SELECT 1"), "SELECT %s", None)
    own.wait()

    assert capture.faults.counts == {"explainer": 1}
    assert own.offer(Asked("default", "SELECT 2"), "other", None)


def test_a_forked_child_has_an_explainer_that_works(own):
    own.offer(Asked("default", "SELECT 1"), "SELECT %s", None)
    own.wait()
    held = own._lock
    with held:
        child = os.fork()
        if child == 0:
            own.after_fork()
            os._exit(42 if own.offer(Asked("default", "SELECT 1"), "SELECT %s", None) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42


@pytest.mark.django_db
def test_what_a_fault_says_quotes_no_value(monkeypatch):
    secret = PlanNode(Step.SORT, "Sort by ((email = 'bob@secret.example'))", facts={"spill_kb": 9})
    monkeypatch.setattr(sqlite, "explain", lambda *args, **kwargs: Plan("sqlite", (secret,)))

    (fault,) = advise.read(Asked("default", "SELECT name FROM library_author"), ("bob@secret.example",)).faults

    assert "went to disk" in fault.summary
    assert "bob" not in f"{fault}"
