"""Orders reach every process, once each; who may give them is asked, and what was ordered is kept."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest
from django.contrib.admin.models import LogEntry
from django.db import DatabaseError
from django.test import Client

from noa_perf.core.clock import ManualClock
from noa_perf.pool import databases, orders
from noa_perf.pool.models import PoolOrder
from noa_perf.pool.orders import Obedience
from tests.dashboard.conftest import staff
from tests.pool.watched import watching

pytestmark = pytest.mark.django_db
PAGE = "/admin/noa_perf_pool/poolorder/"


@pytest.fixture
def make():
    with watching() as (_, make):
        yield make


@pytest.fixture
def clock():
    return ManualClock()


def order(clock, action, value=None, alias="shop", ago=0.0):
    at = datetime.fromtimestamp(clock.time() - ago, UTC)
    return PoolOrder.objects.create(alias=alias, action=action, value=value, at=at)


def warm(one):
    one.pool.release(one.pool.acquire())
    return one


def test_a_drain_is_obeyed_once(make, clock):
    one, other, process = warm(make("shop")), warm(make("other")), Obedience(clock)
    process.obey()
    order(clock, "drain", ago=3_600)  # written by a host whose clock is wrong, and seen by nobody yet
    process.obey()
    assert one.driver.open_now == []
    assert len(other.driver.open_now) == 1
    warm(one)
    process.obey()
    assert len(one.driver.open_now) == 1


def test_each_process_obeys(make, clock):
    one, first, second = warm(make("shop")), Obedience(clock), Obedience(clock)
    order(clock, "drain")
    first.obey()
    warm(one)
    second.obey()
    assert one.driver.open_now == []


def test_a_drain_from_before_the_process_began_is_none_of_its_business(make, clock):
    one = warm(make("shop"))
    order(clock, "drain", ago=1)
    process = Obedience(clock)
    process.obey()
    process.obey()
    assert len(one.driver.open_now) == 1


def test_the_last_size_holds_for_processes_that_begin_later_and_for_pools_that_are_made_later(make, clock):
    order(clock, "resize", 3, ago=60)
    order(clock, "resize", 4, ago=30)
    one, process = make("shop"), Obedience(clock)
    process.obey()
    assert one.pool.limit == 4
    one.close()
    again = make("shop")
    process.obey()
    assert again.pool.limit == 4


def test_a_size_is_obeyed_once_and_taken_back_by_one_without_a_number(make, clock):
    one, process = make("shop", max_size=10), Obedience(clock)
    order(clock, "resize", 3)
    process.obey()
    one.pool.resize(5)
    process.obey()
    assert one.pool.limit == 5
    order(clock, "resize")
    process.obey()
    assert one.pool.limit == 10


def test_a_forked_child_begins_anew(make, clock):
    process = Obedience(clock)
    process.obey()
    order(clock, "drain")
    clock.advance(1)
    one = warm(make("shop"))
    process.begin_anew()
    process.obey()
    assert len(one.driver.open_now) == 1


def test_old_orders_go_but_for_the_size_that_holds(clock):
    two_days = 2 * 86_400
    for action, value in (("drain", None), ("resize", 3), ("resize", 4)):
        order(clock, action, value, ago=two_days)
    order(clock, "resize", 9, alias="other", ago=two_days)
    fresh = order(clock, "drain")
    process = Obedience(clock)
    process.obey()
    assert PoolOrder.objects.count() == 5
    clock.advance(orders.DELETE_EVERY)
    process.obey()
    assert {(one.alias, one.value) for one in PoolOrder.objects.all()} == {("shop", 4), ("other", 9), ("shop", None)}
    assert PoolOrder.objects.filter(pk=fresh.pk).exists()


def test_a_table_that_is_missing_is_said_once_with_the_cure(monkeypatch, clock, caplog):
    def away():
        raise DatabaseError("secret")

    monkeypatch.setattr(orders, "orders", away)
    process = Obedience(clock)
    with caplog.at_level(logging.WARNING, "noa_perf.pool"):
        process.obey()
        process.obey()
    (record,) = caplog.records
    assert "migrate --database=default" in record.getMessage()
    assert "secret" not in record.getMessage()


@pytest.fixture
def shop(monkeypatch):
    monkeypatch.setattr(databases, "aliases", lambda: ["shop"])
    monkeypatch.setattr(databases, "load", lambda alias: None)


def test_an_order_needs_the_permission(shop):
    assert staff("view_dashboard").get(PAGE).status_code == 403
    assert Client().get(PAGE).status_code == 302
    assert staff("operate_dashboard").get(PAGE).status_code == 200


def test_an_order_is_given_once_it_is_confirmed_and_is_kept(shop, caplog):
    client = staff("operate_dashboard")
    asked = client.post(PAGE, {"alias": "shop", "action": "resize", "value": "7"})
    assert "Yes, order it" in asked.content.decode()
    assert not PoolOrder.objects.exists()

    with caplog.at_level(logging.INFO, "noa_perf.audit"):
        done = client.post(PAGE, {"alias": "shop", "action": "resize", "value": "7", "confirmed": "1"}, follow=True)

    row = PoolOrder.objects.get()
    assert (row.alias, row.action, row.value) == ("shop", "resize", 7)
    assert row.who.startswith("staff")
    assert "Every process obeys" in done.content.decode()
    assert LogEntry.objects.get().object_repr == "shop"
    assert "ordered resize 7 of pool shop" in caplog.text


@pytest.mark.parametrize(
    "data",
    [
        {"alias": "nowhere", "action": "drain"},
        {"alias": "shop", "action": "drop"},
        {"alias": "shop", "action": "resize", "value": "0"},
        {"alias": "shop", "action": "resize", "value": "99999999"},
        {"alias": "shop", "action": "drain", "value": "3"},
    ],
)
def test_what_makes_no_sense_is_not_ordered(shop, data):
    page = staff("operate_dashboard").post(PAGE, {**data, "confirmed": "1"})
    assert page.status_code == 200
    assert "errorlist" in page.content.decode()
    assert not PoolOrder.objects.exists()


def test_a_get_changes_nothing_and_a_post_needs_its_token(shop):
    client = staff("operate_dashboard")
    client.get(PAGE, {"alias": "shop", "action": "drain", "confirmed": "1"})
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    assert strict.post(PAGE, {"alias": "shop", "action": "drain", "confirmed": "1"}).status_code == 403
    assert not PoolOrder.objects.exists()


def test_a_site_without_pools_is_told_so():
    assert "No database has a pool" in staff("operate_dashboard").get(PAGE).content.decode()


def test_the_index_leads_there_only_who_may(shop):
    assert PAGE in staff("operate_dashboard").get("/admin/").content.decode()
    assert PAGE not in staff("view_dashboard").get("/admin/").content.decode()
