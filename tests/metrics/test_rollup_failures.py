"""The rollup's database away, locked or not migrated costs figures, never an exception."""

from __future__ import annotations

import logging
import sqlite3

import pytest
from django.db import OperationalError, connections

from noa_perf.metrics import rollup
from noa_perf.metrics.exceptions import RollupUnavailable
from noa_perf.metrics.recorder import Tally
from noa_perf.metrics.rollup import MAX_AGE, MAX_PENDING, Writer
from tests.metrics.conftest import migrate


def total(database, clock):
    now = clock.time()
    return rollup.totals("route", now - 86_400, now + 10, database=database).count


def busy(writer, tally, clock, times, apart=10.0):
    for _ in range(times):
        tally.add("route", ("/",))
        writer.flush()
        clock.advance(apart)


@pytest.fixture(autouse=True)
def _every_line_of_the_log(caplog):
    caplog.set_level(logging.INFO, "noa_perf.metrics")


@pytest.fixture
def tally():
    return Tally()


def test_a_locked_database_is_tried_again_and_nothing_is_lost(sqlite_database, clock, tally, caplog):
    writer = Writer(tally, clock, sqlite_database)
    lock = sqlite3.connect(connections[sqlite_database].settings_dict["NAME"], isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")

    busy(writer, tally, clock, 5)
    assert writer.waiting == 5
    lock.execute("ROLLBACK")
    lock.close()
    clock.advance(60)
    busy(writer, tally, clock, 1)

    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "is not locked" in caplog.records[0].message
    assert (writer.waiting, writer.lost, writer.problem) == (0, 0, None)
    assert total(sqlite_database, clock) == 6


def test_tries_are_spaced_out(django_db_blocker, clock, tally):
    writer = Writer(tally, clock, "nowhere")

    busy(writer, tally, clock, 60, apart=1.0)

    assert writer.failures == 3  # at 0, 10 and 30 seconds


def test_an_unmigrated_database_is_named_with_its_cure(empty_database, clock, tally, caplog):
    writer = Writer(tally, clock, empty_database)

    busy(writer, tally, clock, 3)

    (record,) = caplog.records
    assert "tables are missing, or of an earlier release, on database 'apart'" in record.message
    assert "manage.py migrate noa_perf_metrics --database=apart" in record.message
    assert "missing" in writer.problem.message

    migrate(empty_database)
    assert writer.flush(force=True)
    assert total(empty_database, clock) == 3


def test_an_alias_that_does_not_exist_is_named(clock, tally):
    writer = Writer(tally, clock, "nowhere")

    busy(writer, tally, clock, 1)

    assert "no database 'nowhere'" in writer.problem.message
    assert 'NOA_PERF["METRICS"]["DATABASE"]' in writer.problem.cure


def test_a_database_that_cannot_be_opened(empty_database, clock, tally, tmp_path):
    connections[empty_database].settings_dict["NAME"] = str(tmp_path / "no" / "such" / "folder")
    writer = Writer(tally, clock, empty_database)

    busy(writer, tally, clock, 2)

    assert "cannot be used (OperationalError)" in writer.problem.message


def test_what_waits_is_bounded(clock, tally):
    writer = Writer(tally, clock, "nowhere")

    busy(writer, tally, clock, MAX_PENDING + 8)

    assert writer.waiting == MAX_PENDING
    assert writer.lost == 8
    assert tally.drain_counts()["rollup_lost_total", ()].count == 8


def test_what_waits_too_long_is_given_up(clock, tally):
    writer = Writer(tally, clock, "nowhere")
    busy(writer, tally, clock, 1)

    clock.advance(MAX_AGE)
    writer.flush()

    assert (writer.waiting, writer.lost) == (0, 1)


def test_failures_are_counted_for_prometheus(clock, tally):
    writer = Writer(tally, clock, "nowhere")

    busy(writer, tally, clock, 1)

    assert tally.drain_counts()["rollup_failures_total", ()].count == 1


def test_an_error_after_the_write_counts_nothing_twice(database, clock, tally, monkeypatch):
    writer = Writer(tally, clock, database)
    write = writer._write

    def write_and_lose_the_answer(starts):
        write(starts)
        raise ConnectionResetError

    monkeypatch.setattr(writer, "_write", write_and_lose_the_answer)
    tally.add("route", ("/",))
    assert not writer.flush()
    monkeypatch.undo()

    assert writer.flush(force=True)
    assert total(database, clock) == 1


def test_reading_without_tables_says_the_cure(empty_database):
    with pytest.raises(RollupUnavailable, match=r"manage\.py migrate noa_perf_metrics --database=apart"):
        rollup.read("route", 0, 10, database=empty_database)


def test_tables_dropped_and_made_anew(database, clock, tally):
    writer = Writer(tally, clock, database)
    busy(writer, tally, clock, 1)
    with connections[database].schema_editor() as editor:
        from tests.metrics.conftest import MODELS

        for model in MODELS:
            editor.delete_model(model)
    busy(writer, tally, clock, 1)
    migrate(database)
    clock.advance(60)
    busy(writer, tally, clock, 1)

    now = clock.time()
    (line,) = rollup.read("route", now - 600, now, database=database)
    assert line.total.count == 2
    assert line.labels == {"route": "/"}  # told anew after a failure


def test_a_database_locked_by_another_transaction_is_waited_for(database, clock, tally, caplog):
    """PostgreSQL would wait for ever; a site sets ``lock_timeout``, and the error that comes is like any other."""
    writer = Writer(tally, clock, database)
    busy(writer, tally, clock, 1)
    if connections[database].vendor != "postgresql":
        return
    with connections[database].cursor() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")
    other = connections.create_connection(database)
    with other.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE noa_perf_metrics_figure IN ACCESS EXCLUSIVE MODE")
        busy(writer, tally, clock, 1)
        assert writer.problem is not None
        cursor.execute("ROLLBACK")
    other.close()
    assert writer.flush(force=True)
    assert total(database, clock) == 2


def test_reading_where_there_is_no_such_database():
    with pytest.raises(RollupUnavailable, match="no database 'nowhere'"):
        rollup.read("route", 0, 10, database="nowhere")


def test_the_log_names_no_address(clock, tally, caplog, sqlite_database, monkeypatch):
    writer = Writer(tally, clock, sqlite_database)

    def refuse(starts):
        raise OperationalError('connection to server at "10.1.2.3" failed for user "ann"')

    monkeypatch.setattr(writer, "_write", refuse)
    busy(writer, tally, clock, 1)

    (record,) = caplog.records
    assert "10.1.2.3" not in caplog.text
    assert "OperationalError" in record.message
