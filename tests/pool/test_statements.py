"""Which statements may be sent again, and which leave something behind."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from noa_perf.pool.backends.mysql import dirt as mysql
from noa_perf.pool.backends.postgresql import dirt as postgresql
from noa_perf.pool.backends.statements import REMEMBERED, only_reads

READS = [
    "SELECT 1",
    "  (select 1)",
    'SELECT COUNT(*) AS "__count" FROM "shop_product" WHERE "shop_product"."id" IN (1, 2)',
    'SELECT UPPER("a"."name"::text) FROM "a" WHERE EXISTS(SELECT 1 AS "a" FROM "b" LIMIT 1)',
    "SELECT SUM(CASE WHEN (x > 1) THEN (2) ELSE 3 END) FILTER (WHERE y) OVER (PARTITION BY z) FROM t",
    "SELECT `a`.`id` FROM `a` INNER JOIN `b` ON (`a`.`id` = `b`.`a_id`) WHERE (`a`.`x` = 1 AND NOT (`b`.`y`))",
    b"SELECT 1",
]
OTHERS = [
    "INSERT INTO t VALUES (1)",
    "UPDATE t SET x = 1",
    "WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone",
    "SELECT * FROM t FOR UPDATE",
    "SELECT * FROM t FOR NO KEY UPDATE",
    "SELECT * FROM t LOCK IN SHARE MODE",
    "SELECT 1 INTO TEMP t",
    "SELECT 1; DELETE FROM t",
    "SELECT nextval('s')",
    "SELECT pay_invoice(17)",
    'SELECT "Pay Invoice"(17)',
    "SELECT `pay`(17)",
    "SELECT billing.pay (17)",
    "SELECT get_lock('x', 1)",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_notify('a', 'b')",
    "CALL pay(17)",
    "SELECT *\nFROM t\nFOR UPDATE",
    "SELECT 1\nINTO t",
    "SELECT pay/* all of it */(17)",
    "SELECT payé(17)",
    "SELECT '--', pay(17)",
    "SELECT a #> b, pay(17)",
]


@pytest.mark.parametrize("statement", READS)
def test_what_only_reads_may_be_sent_again(statement: str | bytes) -> None:
    assert only_reads(statement)


@pytest.mark.parametrize("statement", OTHERS)
def test_nothing_else_may(statement: str) -> None:
    assert not only_reads(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM settings",
        "INSERT INTO t (a) VALUES (%s)",
        "UPDATE listen SET prepare = 1",
        "SET LOCAL statement_timeout = 1",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET CONSTRAINTS ALL IMMEDIATE",
        "SELECT pg_advisory_xact_lock(1)",
        "CREATE TABLE template (x int)",
        "DECLARE c NO SCROLL CURSOR WITHOUT HOLD FOR SELECT 1",
        "PREPARE TRANSACTION 'x'",
        "",
        ";",
    ],
)
def test_what_ends_with_the_transaction_leaves_nothing_behind(statement: str) -> None:
    assert postgresql.judge(statement) == 0


@pytest.mark.parametrize(
    ("statement", "flags"),
    [
        ("SELECT pg_advisory_lock(1) WHERE exact", postgresql.LOCKS),
        ("SELECT pg_advisory_xact_lock(1), pg_try_advisory_lock_shared(2)", postgresql.LOCKS),
        ('CREATE TABLE "pg_temp".t (x int)', postgresql.TEMPORARY),
        ("SET search_path = pg_temp; CREATE TABLE t (x int)", postgresql.SETTINGS | postgresql.TEMPORARY),
        ("SELECT 1 AS x INTO LOCAL TEMPORARY t", postgresql.TEMPORARY),
        ("CREATE /* short-lived */ TEMP TABLE t (x int)", postgresql.TEMPORARY),
        ("/* first; then */ SET x = 1", postgresql.SETTINGS),
        ("-- first; then\nSET x = 1", postgresql.SETTINGS),
        ("SELECT '--'; SET x = 1", postgresql.SETTINGS),
        (sql.SQL("SET search_path TO {}, {}").format(sql.Identifier("a"), sql.Literal("b")), postgresql.SETTINGS),
        (sql.SQL("LISTEN news"), postgresql.CHANNELS),
        ("DECLARE c CURSOR WITH\n  HOLD FOR SELECT 1", postgresql.CURSORS),
        (sql.SQL("SELECT 1"), 0),
        (sql.SQL("SELECT {}").format(sql.Literal(object())), postgresql.ANYTHING),
    ],
)
def test_what_is_left_behind_is_seen(statement: Any, flags: int) -> None:
    assert postgresql.judge(statement) == flags


@pytest.mark.parametrize(
    "statement", ["/*!40014 SET FOREIGN_KEY_CHECKS=0 */", "/*M!100100 SET x=1 */", "/*! SET x=1 */"]
)
def test_what_mysql_executes_of_comments_is_seen(statement: str) -> None:
    assert mysql.judge(statement) == mysql.SESSION


def test_many_comments_take_no_time() -> None:
    assert postgresql.judge("/* a */" * 100 + "1") == 0


def test_a_semicolon_in_a_literal_costs_a_reset_at_worst() -> None:
    assert postgresql.judge("SELECT '; set x'") == postgresql.SETTINGS
    assert mysql.judge("SELECT 'a; b'") == 0


@pytest.mark.parametrize(
    "statement", ["SELECT @`my var` := 5", "SELECT 5 INTO  @x", "GET DIAGNOSTICS @rows = ROW_COUNT"]
)
def test_variables_of_a_session_are_seen_however_they_are_written(statement: str) -> None:
    assert mysql.judge(statement) == mysql.SESSION


def test_long_statements_are_remembered_without_their_text() -> None:
    texts = [f"INSERT INTO t VALUES {', '.join(['(%s)'] * 1_000)} -- {number}" for number in range(3)]
    mysql.judge._seen.clear()
    assert [mysql.judge(text) for text in texts] == [0, 0, 0]
    assert mysql.judge(f"SET x = 1 -- {texts[0]}") == mysql.SESSION
    assert len(mysql.judge._seen) == 4
    assert not any(isinstance(key, str) for key in mysql.judge._seen)


def test_what_is_remembered_is_bounded() -> None:
    for number in range(3 * REMEMBERED):
        postgresql.judge(f"SELECT {number}")
    assert len(postgresql.judge._seen) <= REMEMBERED


@given(st.text())
def test_no_text_is_too_odd(statement: str) -> None:
    for judge in (postgresql.judge, mysql.judge):
        assert judge(statement) == judge(statement) >= 0
    only_reads(statement)
