"""The way to a query is walked once and then known again; where anything differs it is walked anew."""

from __future__ import annotations

import pytest
from django.db import connection
from django.template import Context, Engine

from noa_perf import optimizer
from noa_perf.optimizer import callsite, capture, fingerprint
from tests.library.fill import fill
from tests.library.models import Book

pytestmark = pytest.mark.django_db


@pytest.fixture
def walks(monkeypatch):
    fingerprint.forget()
    seen = []
    walk = callsite._walk

    def counted(frame, distance):
        seen.append(distance)
        return walk(frame, distance)

    monkeypatch.setattr(callsite, "_walk", counted)
    return seen


def ask(number):
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s", [number])


def keys(scope):
    return [group.key for group in scope.groups.values()]


def test_a_loop_is_walked_a_few_times_only(walks):
    with optimizer.scope("x") as scope:
        for number in range(50):
            ask(number)

    assert scope.queries == 50
    assert len(keys(scope)) == 1
    # CPython 3.11 moves a call to another instruction when it specialises it.
    assert 1 <= len(walks) <= 4


def test_the_same_helper_from_another_line_is_another_place(walks):
    with optimizer.scope("x") as scope:
        for number in range(20):
            ask(number)
            ask(number + 100)

    assert len(keys(scope)) == 2
    assert [group.count for group in scope.groups.values()] == [20, 20]
    assert len(walks) <= 8


def test_a_helper_between_is_another_place():
    def between(number):
        ask(number)

    with optimizer.scope("x") as scope:
        for number in range(6):
            ask(number)
            between(number)

    assert len(keys(scope)) == 2


def test_a_way_that_is_deeper_than_the_stack_is_another_way():
    def deep(levels, number):
        return ask(number) if not levels else deep(levels - 1, number)

    with optimizer.scope("x") as scope:
        deep(30, 1)
        ask(2)

    assert len(keys(scope)) == 2


def test_two_nodes_of_one_template_are_two_places(walks):
    fill()
    loop = "{% for book in NAME %}{{ book.author.name }}{% endfor %}\n"
    template = Engine().from_string(loop.replace("NAME", "books") + loop.replace("NAME", "again"))
    with optimizer.scope("x") as scope:
        template.render(Context({"books": Book.objects.all(), "again": Book.objects.all()}))

    repeated = [group for group in scope.groups.values() if group.count > 1]
    assert len(repeated) == 2
    assert len({group.site.node.line for group in repeated}) == 2
    assert len(walks) < scope.queries


def test_settings_that_change_whose_code_is_whose_are_heeded(settings):
    with optimizer.scope("x") as before:
        ask(1)
    settings.NOA_PERF = {"OPTIMIZER": {"LIBRARIES": ["tests"]}}
    with optimizer.scope("x") as after:
        ask(1)

    assert fingerprint.statement("SELECT %s").trails
    assert len(keys(before)) == len(keys(after)) == 1


def test_a_plain_cursor_times_its_fetches_from_the_start():
    with capture.muted(), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchall() == [(1,)]
    with optimizer.scope("x") as scope, connection.cursor() as cursor:
        kind = type(cursor)
        cursor.execute("SELECT 1")
        assert type(cursor) is kind
        assert cursor.fetchone() == (1,)

    assert (scope.queries, scope.rows) == (1, 1)


def test_what_is_read_while_a_query_is_open_is_complete():
    with optimizer.scope("x") as scope, connection.cursor() as cursor:
        cursor.execute("SELECT 1 UNION SELECT 2 UNION SELECT 3")
        cursor.fetchone()
        seen = scope.rows, scope.fetch
        cursor.fetchall()

    assert seen[0] == 1
    assert scope.rows == 3
    assert scope.fetch > seen[1] > 0


def test_a_cursor_that_is_read_after_others_keeps_its_own_figures():
    with optimizer.scope("x") as scope, connection.cursor() as open_one:
        open_one.execute("SELECT 1 UNION SELECT 2")
        open_one.fetchone()
        ask(1)
        open_one.fetchall()

    (first,) = [group for group in scope.groups.values() if "UNION" in group.statement.sql]
    assert (first.rows, sum(first.buckets.values())) == (2, 1)
    assert scope.rows == 2
    assert first.seconds <= scope.seconds
