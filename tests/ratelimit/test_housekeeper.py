"""Beside requests: others' lists and bans, the audit, retention; faults, forks, and the end of the thread."""

from __future__ import annotations

import datetime as dt
import gc
import logging
import os
import threading
import time

import pytest
from django.core import mail
from django.db import connection
from django.utils import timezone

from noa_perf.core.clock import ManualClock
from noa_perf.core.redis import clients, parse
from noa_perf.ratelimit import housekeeper as module
from noa_perf.ratelimit.bans import Terms
from noa_perf.ratelimit.models import Ban, ListEntry
from noa_perf.ratelimit.storages.bans import RedisBans
from tests.ratelimit.houses import ADA, abuse, visit
from tests.ratelimit.test_bans import guard
from tests.servers import get
from tests.servers.redis import Redis

pytestmark = pytest.mark.django_db

CLIENT = f"ip:{ADA}"
HOUR = 3_600.0
TERMS = Terms("crawl", HOUR, 2.0, 8 * HOUR, 24 * HOUR)
GUARD = 30.0


@pytest.fixture
def clock():
    return ManualClock(wall=time.time())


def deny(value="203.0.113.0/24", **more):
    return ListEntry.objects.create(list="deny", kind="network", value=value, reason="test", **more)


def until(true, what):
    end = time.monotonic() + GUARD
    while time.monotonic() < end:
        if true():
            return
        time.sleep(0.01)
    raise AssertionError(f"{what} did not come")


def test_a_change_of_the_table_holds_after_the_next_tick(clock):
    own = abuse(clock)
    entry = deny()
    assert visit(own) is None
    own.housekeeper.tick()
    assert visit(own).reason == "deny"
    entry.delete()
    own.housekeeper.tick()
    assert visit(own) is None


def test_a_quiet_tick_asks_twice(clock, django_assert_num_queries):
    own = abuse(clock)
    deny()
    own.bans.ban(CLIENT, TERMS)
    own.housekeeper.tick()
    own.housekeeper.tick()
    own.housekeeper._delete_at = float("inf")
    with django_assert_num_queries(2):
        own.housekeeper.tick()


def test_bans_of_rules_are_written_down(clock):
    own = abuse(clock)
    own.bans.ban(CLIENT, TERMS)
    own.housekeeper.tick()

    row = Ban.objects.get()
    assert (row.client, row.rule, row.tier, row.created_by, row.released) == (CLIENT, "crawl", 1, None, None)
    assert row.until - row.begun == dt.timedelta(hours=1)
    assert row.begun.timestamp() == pytest.approx(clock.time())
    assert not own.bans.unwritten


class TestWithoutRedis:
    """The table is what tells processes of each other's bans."""

    def test_a_ban_and_its_release_reach_the_others(self, clock):
        one, other = abuse(clock), abuse(clock)
        one.bans.ban(CLIENT, TERMS)
        one.housekeeper.tick()
        other.housekeeper.tick()
        assert visit(other).retry_after == pytest.approx(HOUR)

        Ban.objects.update(released=timezone.now())
        other.housekeeper.tick()
        one.housekeeper.tick()
        assert visit(other) is None
        assert visit(one) is None

    def test_what_ends_by_itself_is_not_forgiven(self, clock):
        own = abuse(clock)
        own.bans.ban(CLIENT, TERMS)
        own.housekeeper.tick()
        clock.advance(HOUR)
        own.housekeeper.tick()
        assert own.bans.ban(CLIENT, TERMS).tier == 2

    def test_of_two_rows_the_longer_holds(self, clock):
        own = abuse(clock)
        for hours in (3, 5, 4):
            end = dt.datetime.fromtimestamp(clock.time(), dt.UTC) + dt.timedelta(hours=hours)
            Ban.objects.create(client=CLIENT, until=end)
        own.housekeeper.tick()
        assert visit(own).retry_after == pytest.approx(5 * HOUR)

    def test_a_ban_of_its_own_is_not_lost_before_it_is_written(self, clock):
        own = abuse(clock)
        own.bans.ban(CLIENT, TERMS)
        Ban.objects.create(client="user:17", until=timezone.now() + dt.timedelta(hours=1))
        own.housekeeper.tick()
        assert visit(own).reason == "ban"


@pytest.mark.server
def test_through_redis_bans_reach_the_others_and_are_written_once(clock):
    found = clients(parse(get(Redis).urls()["primary"]))
    found.get().flushall()
    one, other = (abuse(clock, RedisBans(guard(found), "test", clock)) for _ in range(2))
    one.bans.ban(CLIENT, TERMS)
    for own in (one, other, one, other):
        own.housekeeper.tick()
    assert visit(other).reason == "ban"
    assert Ban.objects.count() == 1

    other.bans.release(CLIENT)
    one.housekeeper.tick()
    assert visit(one) is None


def test_with_redis_away_lists_are_read_all_the_same(clock):
    away = clients(parse("redis://127.0.0.1:1"))
    own = abuse(clock, RedisBans(guard(away), "test", clock))
    deny()
    own.housekeeper.tick()
    assert visit(own).reason == "deny"
    assert own.housekeeper.faults == {"bans of others": 1}


@pytest.mark.django_db(transaction=True)
def test_with_the_database_away_what_is_known_holds(clock, caplog):
    own = abuse(clock)
    deny()
    own.housekeeper.tick()

    def away(execute, sql, params, many, context):
        raise OSError("the address of a database")

    with caplog.at_level(logging.WARNING), connection.execute_wrapper(away):
        own.bans.ban("user:17", TERMS)
        own.housekeeper.tick()
        own.housekeeper.tick()
    assert visit(own).reason == "deny"
    assert own.housekeeper.faults == {"lists": 2, "audit of bans": 2, "bans in the database": 2}
    assert len(caplog.records) == 3
    assert "the address" not in caplog.text
    assert len(own.bans.unwritten) == 1

    own.housekeeper.tick()
    assert Ban.objects.get().client == "user:17"


def test_what_is_old_is_deleted_and_nothing_else(clock):
    now = dt.datetime.fromtimestamp(clock.time(), dt.UTC)
    days = dt.timedelta(days=1)
    for name, more in {
        "old": {"until": now - 31 * days},
        "released": {"until": now + 9 * days, "released": now - 31 * days},
        "over": {"until": now - 29 * days},
        "active": {"until": now + days},
    }.items():
        Ban.objects.create(client=f"user:{name}", begun=now - 60 * days, **more)
    deny("10.0.0.0/8", expires=now - 31 * days)
    deny("10.1.0.0/16")
    own = abuse(clock)

    clock.advance(module.DELETE_EVERY)
    own.housekeeper.tick()

    assert {row.client for row in Ban.objects.all()} == {"user:over", "user:active"}
    assert ListEntry.objects.get().value == "10.1.0.0/16"


# The thread


def housekeepers():
    return [thread for thread in threading.enumerate() if thread.name == "noa_perf.ratelimit"]


@pytest.fixture
def live(monkeypatch, settings):
    """Let threads start, with nothing to be asked of a database that is not theirs."""
    monkeypatch.delattr(mail, "outbox")
    monkeypatch.setattr(module.Housekeeper, "_read_lists", lambda self, own: None)
    monkeypatch.setattr(module.Housekeeper, "_read_bans", lambda self, own: None)
    monkeypatch.setattr(module, "write", lambda own: 0)
    yield
    gc.collect()
    until(lambda: not housekeepers(), "the end of the threads")


def test_no_thread_is_started_in_tests(clock):
    own = abuse(clock)
    visit(own)
    assert not housekeepers()


def test_the_first_request_starts_one_thread_and_it_ends_with_its_owner(clock, live):
    own = abuse(clock, refresh_seconds=0.1)
    visit(own)
    visit(own)
    assert len(housekeepers()) == 1
    until(lambda: own.housekeeper.ticks >= 2, "the second tick")


def test_where_no_thread_can_be_started_the_next_request_tries_again(clock, live, monkeypatch):
    own = abuse(clock, refresh_seconds=0.1)
    with monkeypatch.context() as crowded:
        crowded.setattr(threading.Thread, "start", full)
        assert visit(own) is None
    visit(own)
    until(lambda: own.housekeeper.ticks, "the first tick")


def full(thread):
    raise RuntimeError("can't start new thread")


def test_it_ends_when_the_app_is_switched_off(clock, live, settings):
    own = abuse(clock, refresh_seconds=0.1)
    visit(own)
    settings.NOA_PERF = {"RATELIMIT": {"ENABLED": False}}
    until(lambda: not housekeepers(), "its end")
    settings.NOA_PERF = {}
    visit(own)
    assert len(housekeepers()) == 1


def test_a_child_starts_a_thread_of_its_own(clock, live):
    own = abuse(clock, refresh_seconds=0.1)
    visit(own)
    until(lambda: own.housekeeper.ticks, "a tick")
    child = os.fork()
    if child == 0:
        before, ticks = len(housekeepers()), own.housekeeper.ticks
        visit(own)
        until(lambda: own.housekeeper.ticks > ticks, "a tick in the child")
        os._exit(0 if before == 0 and len(housekeepers()) == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(housekeepers()) == 1


def test_at_the_end_of_a_process_what_waits_is_written(clock, monkeypatch):
    own = abuse(clock)
    own.bans.ban(CLIENT, TERMS)
    module._farewell()
    assert Ban.objects.count() == 0

    own.housekeeper._is_running = True
    module._farewell()
    assert Ban.objects.count() == 1
