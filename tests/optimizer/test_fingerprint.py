"""Statements that differ only in values have one shape; others don't."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_perf.optimizer.detectors.n_plus_one import roles_of
from noa_perf.optimizer.fingerprint import Kind, Statement, fold, hash_of, hashes, statement


@pytest.mark.parametrize(
    ("sql", "folded"),
    [
        ('SELECT "a"."b" FROM "a" WHERE "a"."c" = %s', 'SELECT "a"."b" FROM "a" WHERE "a"."c" = %s'),
        ("SELECT * FROM t WHERE x = 42 AND y = 'it''s'", "SELECT * FROM t WHERE x = %s AND y = %s"),
        ("SELECT * FROM t WHERE x IN (%s, %s, %s)", "SELECT * FROM t WHERE x IN (%s, ...)"),
        ("SELECT * FROM t WHERE x IN (1,2)", "SELECT * FROM t WHERE x IN (%s, ...)"),
        ("SELECT * FROM t WHERE x IN (%s)", "SELECT * FROM t WHERE x IN (%s, ...)"),
        ("INSERT INTO t (a, b) VALUES (%s, %s), (%s, %s)", "INSERT INTO t (a, b) VALUES (...)"),
        ("SELECT  1\n FROM t -- note\n LIMIT 3", "SELECT %s FROM t LIMIT %s"),
        ('SELECT "column1", t2.x FROM table3', 'SELECT "column1", t2.x FROM table3'),
        (
            "SELECT * FROM t WHERE a = %(name)s AND b = ? AND c = $1",
            "SELECT * FROM t WHERE a = %s AND b = %s AND c = %s",
        ),
        ("SELECT * FROM t WHERE a > -1.5e3", "SELECT * FROM t WHERE a > %s"),
        ("SELECT a::text FROM t WHERE b = :name", "SELECT a::text FROM t WHERE b = %s"),
        (
            r"SELECT * FROM t WHERE a LIKE %s ESCAPE '\' AND b = 'x'",
            "SELECT * FROM t WHERE a LIKE %s ESCAPE %s AND b = %s",
        ),
        (r"SELECT * FROM t WHERE a = E'it\'s' AND b = $x$a'b$x$", "SELECT * FROM t WHERE a = %s AND b = %s"),
    ],
)
def test_folds(sql, folded):
    assert fold(sql) == folded


@given(st.integers(), st.integers(), st.text(alphabet=st.characters(exclude_characters="'\x00")))
def test_values_never_tell_two_statements_apart(one, two, text):
    shape = fold(f"SELECT * FROM t WHERE a = {one} AND b = '{text}'")

    assert shape == fold(f"SELECT * FROM t WHERE a = {two} AND b = 'x'")


@given(st.text(alphabet=st.characters(exclude_characters="'\x00", categories=["L", "N", "P", "S", "Z"]), min_size=1))
def test_no_quoted_text_survives(text):
    marked = f"secret{text}secret"

    for sql in (f"SELECT ARRAY[title, '{marked}'] FROM t", f"(title = '{marked}'::text)", f"a = '{marked}' -- note"):
        assert "secret" not in fold(sql)


@given(st.text(max_size=200))
def test_any_text_is_folded_and_folding_twice_changes_nothing(sql):
    assert fold(fold(sql)) == fold(sql)


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("SELECT 1", Kind.SELECT),
        ("  (select 1) union (select 2)", Kind.SELECT),
        ("/* app:web */ SELECT 1", Kind.SELECT),
        ("WITH x AS (SELECT 1) SELECT * FROM x", Kind.SELECT),
        ("WITH x AS (SELECT 1) UPDATE t SET a = 1", Kind.UPDATE),
        ("INSERT INTO t VALUES (1)", Kind.INSERT),
        ("update t set a = 1", Kind.UPDATE),
        ("DELETE FROM t", Kind.DELETE),
        ("BEGIN IMMEDIATE", Kind.TRANSACTION),
        ('SAVEPOINT "s1"', Kind.TRANSACTION),
        ("RELEASE SAVEPOINT s", Kind.TRANSACTION),
        ("PRAGMA foreign_keys", Kind.OTHER),
        ("", Kind.OTHER),
    ],
)
def test_kind(sql, kind):
    assert Statement(sql).kind is kind


def test_on_mysql_double_quotes_hold_a_string():
    sql = r'SELECT `a` FROM `t` WHERE `b` = "se\"cret" AND c = 1'

    assert fold(sql, "mysql") == "SELECT `a` FROM `t` WHERE `b` = %s AND c = %s"


@pytest.mark.parametrize(
    ("sql", "folded"),
    [
        ("SELECT a FROM t WHERE b IN ({})", "SELECT a FROM t WHERE b IN (%s, ...)"),
        ("INSERT INTO t (a, b) VALUES {}", "INSERT INTO t (a, b) VALUES (...)"),
    ],
)
def test_long_lists_fold_to_the_same_shape_as_short_ones(sql, folded):
    row = "(%s, %s)" if sql.startswith("INSERT") else "%s"

    assert Statement(sql.format(", ".join([row] * 5_000))).folded == folded
    assert Statement(sql.format(", ".join([row] * 2))).folded == folded


def test_volatile_statements_are_known():
    assert Statement("SELECT a FROM t ORDER BY RANDOM() ASC").volatile
    assert Statement("SELECT nextval('s')").volatile
    assert Statement("SELECT a FROM t WHERE b = %s FOR UPDATE").volatile
    assert not Statement('SELECT "random" FROM "randoms"').volatile


def test_values_beyond_the_limit_still_count():
    assert hashes([*range(300), 1]) != hashes([*range(300), 2])


def test_a_statement_is_folded_once():
    assert statement("SELECT 1 FROM once") is statement("SELECT 1 FROM once")


def test_page_of_a_statement():
    page = Statement("SELECT * FROM t ORDER BY a LIMIT 20 OFFSET 40")

    assert (page.limit, page.offset) == (20, 40)


def test_roles_of_placeholders():
    sql = (
        "SELECT 1 FROM t WHERE a = %s AND b IN (%s, %s) AND c > %s AND d BETWEEN %s AND %s AND e IN (%s) AND f LIKE %s"
    )

    assert roles_of(sql) == ("one", "in", "in", "range", "range", "range", "one", "one")


def test_hashes_tell_minus_one_from_minus_two():
    assert hashes([-1]) != hashes([-2])
    assert hashes([1, "a"]) == hashes((1, "a"))
    assert hashes(None) == ()
    assert hashes({"a": 1}) == hashes([1])


def test_what_cannot_be_hashed_or_compared_is_told_apart_by_its_text():
    class Hostile:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other):
            raise TypeError

        def __repr__(self):
            return "hostile"

    assert hash_of([1]) != hash_of([2])
    assert hash_of(Hostile()) == hash_of(Hostile())


def test_long_values_that_differ_at_their_end_are_told_apart():
    long = list(range(10_000))

    assert hash_of([*long, 1]) != hash_of([*long, 2])
