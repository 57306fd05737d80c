"""Allow and deny lists: the longest prefix, then allow before deny; settings and table; changes are seen."""

from __future__ import annotations

import datetime as dt
from ipaddress import ip_address, ip_network

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from noa_perf.ratelimit import lists
from noa_perf.ratelimit.conf import settings as own
from noa_perf.ratelimit.lists import Lists
from noa_perf.ratelimit.models import ListEntry

ADA = ip_address("203.0.113.7")


def of(*entries: str):
    return Lists(tuple(entry.split()) for entry in entries)  # type: ignore[misc]


def test_of_networks_the_longest_prefix_decides():
    found = of("deny network 203.0.113.0/24", "allow network 203.0.113.7/32", "allow network 203.0.0.0/16")

    assert found.look(ADA) == "allow"
    assert found.look(ip_address("203.0.113.8")) == "deny"
    assert found.look(ip_address("203.0.1.1")) == "allow"
    assert found.look(ip_address("198.51.100.1")) is None


@pytest.mark.parametrize("order", [("allow", "deny"), ("deny", "allow")])
def test_where_both_name_one_network_it_is_let_in(order):
    assert of(*(f"{listed} network 203.0.113.0/24" for listed in order)).look(ADA) == "allow"


def test_of_kinds_allow_comes_first():
    found = of("deny network 203.0.113.7/32", "allow user 17", "deny key ab", "deny user 18")

    assert found.look(ADA, user="17") == "allow"
    assert found.look(ADA, user="17", key="ab") == "allow"
    assert found.look(ADA, user="19") == "deny"
    assert found.look(ip_address("198.51.100.1"), user="18") == "deny"
    assert found.look(None, None, "ab") == "deny"
    assert found.look(None) is None


def test_says_whom_it_is_worth_while_to_find_out():
    assert not any((of().has_networks, of().has_users, of().has_keys))
    assert of("deny user 17").has_users
    assert of("deny user 17", "allow key ab").size == 2


networks = st.ip_addresses(v=4, network="10.0.0.0/28").flatmap(
    lambda address: st.integers(26, 32).map(lambda bits: str(ip_network(f"{address}/{bits}", strict=False)))
)


@given(st.lists(st.tuples(st.sampled_from(["allow", "deny"]), networks)), st.ip_addresses(v=4, network="10.0.0.0/28"))
def test_agrees_with_what_is_read_one_by_one(entries, address):
    best = max(
        (
            (ip_network(cidr).prefixlen, listed == "allow", listed)
            for listed, cidr in entries
            if address in ip_network(cidr)
        ),
        default=(0, False, None),
    )

    assert Lists((listed, "network", cidr) for listed, cidr in entries).look(address) == best[2]


def test_settings_are_read_and_their_faults_are_named(settings):
    settings.NOA_PERF = {"RATELIMIT": {"ALLOW": ("10.0.0.0/8", "user:1"), "DENY": ("203.0.113.7/24", "198.51.100.1")}}

    assert sorted(lists.of_settings(own())) == [
        ("allow", "network", "10.0.0.0/8"), ("allow", "user", "1"), ("deny", "network", "198.51.100.1/32"),
    ]  # fmt: skip
    (fault,) = lists.problems(own())
    assert (fault.setting, fault.entry) == ("DENY", "203.0.113.7/24")
    assert "203.0.113.0/24" in fault.message


def add(value, listed="deny", kind="network", **more):
    return ListEntry.objects.create(list=listed, kind=kind, value=value, reason="test", **more)


def allow(entry):
    entry.list = "allow"
    entry.save()


def allow_in_part(entry):
    entry.list = "allow"
    entry.save(update_fields=["list"])


def allow_by_bulk(entry):
    entry.list = "allow"
    ListEntry.objects.bulk_update([entry], ["list"])


@pytest.mark.django_db
class TestTable:
    def test_settings_and_table_hold_together(self, settings):
        settings.NOA_PERF = {"RATELIMIT": {"ALLOW": ("203.0.113.7",)}}
        add("203.0.113.0/24")

        found = lists.read(own(), None, timezone.now().timestamp()).lists

        assert found.look(ADA) == "allow"
        assert found.look(ip_address("203.0.113.8")) == "deny"

    def test_nothing_is_read_anew_while_nothing_has_changed(self, django_assert_num_queries):
        add("203.0.113.0/24")
        now = timezone.now().timestamp()
        known = lists.read(own(), None, now)

        with django_assert_num_queries(1):
            assert lists.read(own(), known, now) is known

    @pytest.mark.parametrize(
        "change",
        [
            lambda entry: add("198.51.100.0/24"),
            lambda entry: entry.delete(),
            allow,
            allow_in_part,
            lambda entry: ListEntry.objects.update(list="allow"),
            lambda entry: ListEntry.objects.bulk_create([ListEntry(list="deny", value="198.51.100.0/24")]),
            allow_by_bulk,
            lambda entry: (entry.delete(), add("198.51.100.0/24")),
        ],
        ids=["added", "deleted", "saved", "in part", "update", "bulk_create", "bulk_update", "replaced"],
    )
    def test_every_change_is_seen(self, change):
        entry = add("203.0.113.0/24")
        before = lists.read(own(), None, 0)

        change(entry)

        after = lists.read(own(), before, 0)
        assert after is not before
        assert (after.lists.look(ADA), after.lists.size) != (before.lists.look(ADA), before.lists.size)

    def test_an_entry_ends_by_itself(self):
        soon = timezone.now() + dt.timedelta(hours=1)
        add("198.51.100.0/24", expires=soon - dt.timedelta(hours=2))
        add("203.0.113.0/24", expires=soon)
        known = lists.read(own(), None, timezone.now().timestamp())

        assert known.lists.size == 1
        assert known.expires == soon.timestamp()
        later = lists.read(own(), known, soon.timestamp())
        assert later.lists.size == 0

    def test_who_made_it_may_go(self):
        ada = User.objects.create_user("ada")
        entry = add("203.0.113.0/24", created_by=ada)
        ada.delete()
        entry.refresh_from_db()
        assert entry.created_by is None

    @pytest.mark.slow
    def test_twenty_thousand_are_read_with_three_queries(self, django_assert_num_queries):
        rows = (f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}/32" for n in range(20_000))
        ListEntry.objects.bulk_create([ListEntry(list="deny", value=value) for value in rows], batch_size=10_000)

        with django_assert_num_queries(3):
            found = lists.read(own(), None, 0).lists

        assert found.size == 20_000
        assert found.look(ip_address("10.0.70.3")) == "deny"
        assert found.look(ip_address("10.200.0.0")) is None
