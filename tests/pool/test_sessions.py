"""What a request does to its session leaves no trace for the next one, and a clean one pays nothing for that."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction
from MySQLdb.cursors import SSCursor
from psycopg import sql

from tests.pool.engines import Engine, Threads

pytestmark = pytest.mark.server

CHANGES: dict[str, list[tuple[Any, str]]] = {
    "postgresql": [
        ("SET statement_timeout = 1234", "SHOW statement_timeout"),
        ("/* route=x */ set Statement_Timeout to 1234", "SHOW statement_timeout"),
        ("SELECT set_config('statement_timeout', '1234', false)", "SHOW statement_timeout"),
        ("SELECT 1; SET statement_timeout = 1234", "SHOW statement_timeout"),
        ("SET TIME ZONE 'Asia/Tokyo'", "SHOW timezone"),
        ("RESET ALL", "SHOW timezone"),
        ("DISCARD ALL", "SHOW timezone"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SHOW transaction_isolation"),
        ("SET ROLE pg_read_all_data", "SELECT current_user"),
        ("SET SESSION AUTHORIZATION pg_read_all_data", "SELECT session_user"),
        ("SET search_path = pg_catalog", "SHOW search_path"),
        ("CREATE TEMP TABLE t (x int)", "SELECT count(*) FROM pg_class WHERE relname = 't'"),
        ("CREATE TEMPORARY VIEW t AS SELECT 1", "SELECT count(*) FROM pg_class WHERE relname = 't'"),
        ("SELECT 1 AS x INTO TEMP t", "SELECT count(*) FROM pg_class WHERE relname = 't'"),
        ("CREATE TABLE pg_temp.t (x int)", "SELECT count(*) FROM pg_class WHERE relname = 't'"),
        ("SELECT pg_advisory_lock(42)", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"),
        ("SELECT pg_try_advisory_lock_shared(42)", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"),
        ("LISTEN news", "SELECT count(*) FROM pg_listening_channels()"),
        ("PREPARE p AS SELECT 1", "SELECT count(*) FROM pg_prepared_statements"),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "SELECT count(*) FROM pg_cursors"),
        ("DO $$ BEGIN PERFORM set_config('statement_timeout', '1234', false); END $$", "SHOW statement_timeout"),
        (sql.SQL("SET search_path = {}").format(sql.Identifier("pg_catalog")), "SHOW search_path"),
        ("-- first; then\nSET search_path = pg_catalog", "SHOW search_path"),
        ("BEGIN", "SELECT now() = statement_timestamp()"),
    ],
    "mysql": [
        ("SET SESSION max_statement_time = 12", "SELECT @@max_statement_time"),
        ("/* route=x */ set max_statement_time = 12", "SELECT @@max_statement_time"),
        ("SET time_zone = '+09:00'", "SELECT @@time_zone"),
        ("SET sql_mode = 'ANSI'", "SELECT @@sql_mode"),
        ("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SELECT @@tx_isolation"),
        ("SET foreign_key_checks = 0", "SELECT @@foreign_key_checks"),
        ("SET @mine = 5", "SELECT @mine"),
        ("SELECT @mine := 5", "SELECT @mine"),
        ("SELECT 5 INTO @mine", "SELECT @mine"),
        ("SELECT GET_LOCK('noa', 1)", "SELECT IS_USED_LOCK('noa') IS NULL"),
        ("USE information_schema", "SELECT database()"),
        ("/*!40014 SET FOREIGN_KEY_CHECKS = 0 */", "SELECT @@foreign_key_checks"),
        ("BEGIN", "SELECT @@in_transaction"),
        ("START TRANSACTION READ ONLY", "SELECT @@in_transaction"),
    ],
}


@pytest.mark.parametrize(
    ("vendor", "change", "look"),
    [(vendor, change, look) for vendor, changes in CHANGES.items() for change, look in changes],
    indirect=["vendor"],
)
def test_a_change_leaves_no_trace(engine: Callable[..., Engine], change: Any, look: str) -> None:
    one = engine(max_size=1)
    before = one.ask(look)

    def work() -> Any:
        with one.connection.cursor() as cursor:
            cursor.execute(change)
        return one.scalar(look)

    if "BEGIN" not in str(change):
        changed = one.request(work)
        if str(change) not in {"RESET ALL", "DISCARD ALL"}:
            assert changed != before, "the test changes nothing"
    else:
        one.request(work)
    (backend,) = one.backends()
    assert one.ask(look) == before
    assert one.backends() == [backend], "the session was put in order, not replaced"


def test_a_temporary_table_is_gone(engine: Callable[..., Engine]) -> None:
    one = engine(max_size=1)
    for _ in range(2):
        one.ask("CREATE TEMPORARY TABLE mine (x int)")
    assert len(one.backends()) == 1


def test_what_goes_past_djangos_cursor_is_seen_too(engine: Callable[..., Engine], vendor: str) -> None:
    one = engine(max_size=1)

    def work() -> None:
        one.connection.ensure_connection()
        cursor = one.connection.connection.cursor()
        cursor.execute("SET TIME ZONE 'Asia/Tokyo'" if vendor == "postgresql" else "SET time_zone = '+09:00'")
        cursor.close()

    look = "SHOW timezone" if vendor == "postgresql" else "SELECT @@time_zone"
    before = one.ask(look)
    one.request(work)
    assert one.ask(look) == before


def test_a_clean_request_pays_nothing(engine: Callable[..., Engine], vendor: str) -> None:
    one = engine(max_size=1)
    one.ask("CREATE TABLE kept (x int)")

    def work() -> None:
        with one.connection.cursor() as cursor:
            cursor.execute("INSERT INTO kept VALUES (%s)", [1])
            cursor.execute("SELECT * FROM kept WHERE x = %s", [1])
            cursor.execute("UPDATE kept SET x = 2")

    one.request(work)
    (entry,) = one.pool.idle()
    connection = entry.connection
    if vendor == "postgresql":
        before = _statements(one)
        one.request(work)
        assert _statements(one) - before == 3
    else:
        before = _questions(one)
        one.request(work)
        assert _questions(one) - before == 3 + 1  # the look itself
    assert one.pool.figures.cleaned == {}
    assert connection.noa_dirt == 0


def _statements(one: Engine) -> int:
    one.server.query("primary", "CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    sql = f"SELECT sum(calls) FROM pg_stat_statements JOIN pg_database d ON d.oid = dbid WHERE datname = '{one.name}'"
    return int(one.server.query("primary", sql)[0][0])


def _questions(one: Engine) -> int:
    def look() -> int:
        with one.connection.cursor() as cursor:
            cursor.execute("SHOW SESSION STATUS LIKE 'Questions'")
            return int(cursor.fetchone()[1])

    return int(one.request(look))


def test_an_open_transaction_is_rolled_back_and_told(
    engine: Callable[..., Engine], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "noa_perf.pool")
    one = engine(max_size=1)
    one.ask("CREATE TABLE kept (x int)")

    def work() -> None:
        one.connection.set_autocommit(False)
        one.scalar("INSERT INTO kept VALUES (1)")

    one.request(work)
    assert one.ask("SELECT count(*) FROM kept") == 0
    assert one.pool.figures.cleaned["transaction"] == 1
    assert len(one.backends()) == 1
    assert "test_sessions.py" in caplog.records[0].getMessage()


def test_a_committed_transaction_stays(engine: Callable[..., Engine]) -> None:
    one = engine(max_size=1)
    one.ask("CREATE TABLE kept (x int)")

    def work() -> None:
        with transaction.Atomic(one.alias, True, False):
            one.scalar("INSERT INTO kept VALUES (1)")

    from django.db import connections

    before = connections[one.alias]
    connections[one.alias] = one.connection
    try:
        one.request(work)
    finally:
        connections[one.alias] = before
    assert one.ask("SELECT count(*) FROM kept") == 1
    assert one.pool.figures.cleaned == {}


def test_reset_always_undoes_what_a_function_did(engine: Callable[..., Engine], vendor: str) -> None:
    one = engine(max_size=1, reset="always")
    if vendor == "postgresql":
        one.ask(
            "CREATE FUNCTION sly() RETURNS int LANGUAGE sql AS "
            "$$ SELECT length(set_config('statement_timeout', '1234', false)) $$"
        )
        change, look = "SELECT sly()", "SHOW statement_timeout"
    else:
        one.ask("CREATE FUNCTION sly() RETURNS int NO SQL BEGIN SET max_statement_time = 12; RETURN 1; END")
        change, look = "SELECT sly()", "SELECT @@max_statement_time"
    before = one.ask(look)
    one.ask(change)
    assert one.ask(look) == before


def test_reset_never_leaves_it(engine: Callable[..., Engine], vendor: str) -> None:
    one = engine(max_size=1, reset="never")
    change, look = ("SET statement_timeout = 1234", "SHOW statement_timeout")
    if vendor == "mysql":
        change, look = ("SET max_statement_time = 12", "SELECT @@max_statement_time")
    before = one.ask(look)
    one.ask(change)
    assert one.ask(look) != before


def test_many_at_once_never_see_each_other(engine: Callable[..., Engine], vendor: str) -> None:
    one = engine(max_size=3)
    look = "SHOW statement_timeout" if vendor == "postgresql" else "SELECT @@max_statement_time"
    change = "SET statement_timeout = 1234" if vendor == "postgresql" else "SET max_statement_time = 12"
    before = one.ask(look)

    def work() -> None:
        for number in range(20):
            if number % 2:
                one.ask(change)
            else:
                assert one.ask(look) == before

    threads = Threads()
    threads.start(work, 8)
    threads.join()
    assert len(one.backends()) <= 3


def test_what_psycopg_keeps_on_a_connection_is_put_back(engine: Callable[..., Engine], vendor: str) -> None:
    if vendor != "postgresql":
        return
    from psycopg import IsolationLevel
    from psycopg.rows import dict_row

    one = engine(max_size=1)

    def work() -> None:
        one.connection.ensure_connection()
        one.connection.connection.isolation_level = IsolationLevel.SERIALIZABLE
        one.connection.connection.row_factory = dict_row

    one.request(work)
    assert one.ask("SHOW transaction_isolation") == "read committed"
    assert one.pool.figures.cleaned == {"attributes": 1}
    assert len(one.backends()) == 1


def test_a_cursor_that_the_server_keeps_is_closed(engine: Callable[..., Engine], vendor: str) -> None:
    if vendor != "postgresql":
        return
    one = engine(max_size=1)

    def work() -> None:
        cursor = one.connection.chunked_cursor()
        cursor.execute("SELECT generate_series(1, 1000)")
        cursor.fetchone()

    one.request(work)
    assert one.ask("SELECT count(*) FROM pg_cursors") == 0
    assert one.pool.figures.cleaned == {"cursor": 1}


def test_what_listens_to_new_connections_may_set_them_up(engine: Callable[..., Engine], vendor: str) -> None:
    from django.db.backends.signals import connection_created

    one = engine(max_size=1)
    change, look, wanted = ("SET statement_timeout = 1234", "SHOW statement_timeout", "1234ms")
    if vendor == "mysql":
        change, look, wanted = ("SET max_statement_time = 12", "SELECT @@max_statement_time", 12.0)  # type: ignore[assignment]

    def set_up(connection: Any, **_: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(change)

    connection_created.connect(set_up)
    try:
        for _ in range(3):
            assert one.ask(look) == wanted
    finally:
        connection_created.disconnect(set_up)
    assert one.pool.figures.cleaned == {}


def test_a_site_with_reset_always_loses_nothing_when_backends_are_killed(engine: Callable[..., Engine]) -> None:
    one = engine(max_size=1, reset="always")

    def work() -> None:
        one.scalar("SELECT 1")
        one.kill()
        assert one.scalar("SELECT 2") == 2

    one.request(work)


def test_what_callproc_leaves_behind_is_gone(engine: Callable[..., Engine], vendor: str) -> None:
    if vendor != "mysql":
        return
    one = engine(max_size=1)
    one.ask("CREATE PROCEDURE note(x int) SET @noted = x")

    def work() -> None:
        with one.connection.cursor() as cursor:
            cursor.callproc("note", [5])

    one.request(work)
    assert one.ask("SELECT @noted") is None
    assert one.ask("SELECT @_note_0") is None


def unbuffered(one: Engine) -> Any:
    cursor = one.connection.connection.cursor(SSCursor)
    cursor.execute("SELECT 1 UNION SELECT 2")
    return cursor


def several(one: Engine) -> Any:
    cursor = one.connection.connection.cursor()
    cursor.execute("SELECT 1; SELECT 2")
    return cursor


def past_cursors(one: Engine) -> Any:
    one.connection.connection.query("SELECT 1 UNION SELECT 2")


def interrupted(one: Engine) -> Any:
    cursor = one.connection.connection.cursor()

    def interrupt() -> None:
        raise KeyboardInterrupt

    cursor._get_result = interrupt
    with pytest.raises(KeyboardInterrupt):
        cursor.execute("SELECT 1 UNION SELECT 2")
    return cursor


@pytest.mark.parametrize("leave", [unbuffered, several, past_cursors, interrupted])
def test_an_answer_that_nobody_read_reaches_nobody_else(
    engine: Callable[..., Engine], vendor: str, leave: Callable[[Engine], Any]
) -> None:
    if vendor != "mysql":
        return
    one = engine(max_size=1)
    left: list[Any] = []

    def work() -> None:
        one.connection.ensure_connection()
        left.append(leave(one))

    one.request(work)
    assert one.ask("SELECT 3") == 3
    assert one.pool.figures.recycled == {"untidy": 1}


def test_nobody_asks_for_more_answers_where_all_were_read(engine: Callable[..., Engine], vendor: str) -> None:
    if vendor != "mysql":
        return
    one = engine(max_size=1)
    one.ask("SELECT 1")
    one.connection.ensure_connection()
    assert one.scalar("SELECT 2") == 2
    assert not one.connection.connection.noa_unread


def test_a_cursor_that_outlives_the_request_reaches_nobody_elses_session(engine: Callable[..., Engine]) -> None:
    one = engine(max_size=1)
    one.ask("CREATE TABLE kept (x int)")
    cursors: list[Any] = []

    def work() -> None:
        cursors.append(one.connection.cursor())
        cursors.append(one.connection.connection.cursor())  # the driver's own
        for cursor in cursors:
            cursor.execute("SELECT 1")

    one.request(work)
    one.scalar("SELECT 1")  # another request has the connection
    for cursor in cursors:
        with pytest.raises(Exception, match=r"given back to its pool"):
            cursor.execute("INSERT INTO kept VALUES (1)")
        with pytest.raises(Exception, match=r"given back to its pool"):
            cursor.executemany("INSERT INTO kept VALUES (%s)", [(1,), (2,)])
    assert one.scalar("SELECT count(*) FROM kept") == 0


def test_what_other_ways_to_execute_leave_behind_is_seen_too(engine: Callable[..., Engine], vendor: str) -> None:
    if vendor != "postgresql":
        return
    one = engine(max_size=1)
    change = "SELECT set_config('statement_timeout', '1234', false)"

    def chunked() -> None:
        cursor = one.connection.chunked_cursor()
        cursor.execute(change)
        cursor.fetchall()
        cursor.close()

    def streamed() -> None:
        assert list(one.connection.connection.cursor().stream(change))

    def copied() -> None:
        with one.connection.connection.cursor().copy(f"COPY ({change}) TO STDOUT") as copy:
            assert list(copy)

    for work in (chunked, streamed, copied):
        one.connection.ensure_connection()
        one.request(work)
        assert one.ask("SHOW statement_timeout") == "0", work


def test_a_pipeline_that_nobody_closed_reaches_nobody_else(engine: Callable[..., Engine], vendor: str) -> None:
    if vendor != "postgresql":
        return
    one = engine(max_size=1)
    kept: list[Any] = []

    def work() -> None:
        one.connection.ensure_connection()
        kept.append(one.connection.connection.pipeline())
        kept[0].__enter__()

    one.request(work)
    assert one.pool.figures.recycled == {"untidy": 1}
    assert one.ask("SELECT 3") == 3


def test_who_sets_the_connection_to_none_gets_another(engine: Callable[..., Engine]) -> None:
    one = engine(max_size=1)

    def work() -> None:
        one.scalar("SELECT 1")
        one.connection.connection = None
        assert one.scalar("SELECT 2") == 2

    one.request(work)
    assert one.pool.state().used == 0


def test_many_rows_are_judged_by_their_statement_alone(
    engine: Callable[..., Engine], vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from noa_perf.pool.backends.mysql import dirt

    if vendor != "mysql":
        return
    one = engine(max_size=1)
    one.ask("CREATE TABLE kept (x varchar(40))")
    judged: list[Any] = []

    def judge(statement: Any) -> int:
        judged.append(statement)
        return 0

    monkeypatch.setattr(dirt, "judge", judge)
    insert = "INSERT INTO kept (x) VALUES (%s)"

    def work() -> None:
        with one.connection.cursor() as cursor:
            cursor.executemany(insert, [("; SET x = 1; " * 3,)] * 5_000)

    one.request(work)
    assert judged == [insert]
    monkeypatch.undo()
    assert one.ask("SELECT count(*) FROM kept") == 5_000
