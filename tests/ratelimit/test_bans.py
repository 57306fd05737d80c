"""Bans: in one process and, through Redis, in all; tiers, escalation, release; with Redis emptied, killed and away."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_perf.core.breaker import BreakerPolicy
from noa_perf.core.clock import SYSTEM, ManualClock
from noa_perf.core.redis import Clients, Guard, clients, parse
from noa_perf.ratelimit import signals
from noa_perf.ratelimit.bans import Bans
from noa_perf.ratelimit.conf import RateLimitSettings
from noa_perf.ratelimit.deny_cache import Ban, DenyCache
from noa_perf.ratelimit.exceptions import StorageDown
from noa_perf.ratelimit.storages import bans as stored
from noa_perf.ratelimit.storages.bans import MemoryBans, RedisBans, Terms, Wider
from tests.servers import get
from tests.servers.redis import Redis, RedisCluster

ADA, BOB = "ip:203.0.113.7", "ip:203.0.113.8"
HOUR = 3_600.0
TERMS = Terms("crawl", HOUR, 2.0, 5 * HOUR, memory=24 * HOUR)
WIDER = Wider("ip:203.0.113.0/24", 3, HOUR)


# What a process knows


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def local(clock) -> DenyCache:
    return DenyCache(clock, limit=100)


def ban(client: str, ends: float = HOUR) -> Ban:
    return Ban(client, "crawl", 1, ends)


def test_finds_the_ban_of_an_address_and_of_the_network_around_it(local):
    local.put([ban(ADA), ban("ip:198.51.100.0/24"), ban("ip:2001:db8::/64"), ban("user:17")])

    assert local.of_address(ip_address("203.0.113.7")) == ban(ADA)
    assert local.of_address(ip_address("198.51.100.200")) == ban("ip:198.51.100.0/24")
    assert local.of_address(ip_address("2001:db8::5")) == ban("ip:2001:db8::/64")
    assert local.of_address(ip_address("2001:db8:0:1::5")) is None
    assert local.of_address(ip_address("203.0.113.8")) is None
    assert local.of("user:17") == ban("user:17")
    assert local.of("user:18") is None


def test_a_ban_ends_by_itself_and_one_that_lasts_longer_around_it_holds(local, clock):
    local.put([ban(ADA, 10), ban("ip:203.0.113.0/24", 20)])
    clock.advance(10)
    assert local.of(ADA) is None
    assert local.of_address(ip_address("203.0.113.7")) == ban("ip:203.0.113.0/24", 20)

    clock.advance(10)
    assert local.of_address(ip_address("203.0.113.7")) is None
    local.tidy()
    assert len(local) == 0
    assert not local.knows("network")


def test_of_too_many_the_soonest_to_end_are_forgotten(local):
    local.put(ban(f"user:{number}", 1_000 - number) for number in range(101))

    kept = {one.client for one in local.bans()}
    assert "user:0" in kept
    assert "user:100" not in kept
    assert 80 < len(kept) <= 100


def test_says_of_which_kinds_anybody_is_banned(local):
    assert not local.knows("user")
    local.put([ban("user:17"), ban("user:17", 20)])
    assert local.knows("user")
    assert not local.knows("key")
    local.drop(["user:17", "user:18"])
    assert not local.knows("user")


addresses = st.ip_addresses(v=4, network="10.0.0.0/29").map(str)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.one_of(addresses, addresses.map(lambda one: f"{one.rpartition('.')[0]}.0/29"))),
        st.tuples(st.just("drop"), addresses),
    )
)


@given(actions, st.ip_addresses(v=4, network="10.0.0.0/29"))
def test_agrees_with_a_plain_set(actions, address):
    local, plain = DenyCache(ManualClock()), set()
    for action, client in actions:
        if action == "put":
            local.put([ban(f"ip:{client}")])
            plain.add(client)
        else:
            local.drop([f"ip:{client}"])
            plain.discard(client)

    assert (local.of_address(address) is not None) == bool(plain & {str(address), "10.0.0.0/29"})
    assert len(local) == len(plain)


# Where they are kept: memory and Redis behave alike


class Shared:
    """A Redis, its clock being the server's own: time is passed by what is written."""

    def __init__(self, found: Clients) -> None:
        self.clients = found

    def bans(self, clock: Any = SYSTEM, **more: Any) -> RedisBans:
        return RedisBans(guard(self.clients), "test", clock, **more)


def guard(found: Clients, **breaker: Any) -> Guard:
    return Guard(
        found.target,
        breaker=BreakerPolicy(**{"failures": 1_000, **breaker}),
        logger=logging.getLogger("noa_perf.ratelimit"),
        what="The Redis of the bans",
        setting='NOA_PERF["RATELIMIT"]["STORAGE"]',
        consequence="Bans are this process's own meanwhile.",
    )


def emptied(url: str) -> Clients:
    found = clients(parse(url))
    found.get().flushall()
    return found


@pytest.fixture
def shared() -> Shared:
    return Shared(emptied(get(Redis).urls()["primary"]))


@pytest.fixture(
    params=[
        "memory",
        pytest.param("redis", marks=pytest.mark.server),
        pytest.param("cluster", marks=pytest.mark.server),
    ]
)
def store(request) -> Any:
    if request.param == "memory":
        return MemoryBans()
    server = get(Redis if request.param == "redis" else RedisCluster)
    return Shared(emptied(server.urls()["primary" if request.param == "redis" else "cluster"])).bans()


def left(ban: Ban) -> float:
    return ban.ends - SYSTEM.monotonic()


def test_a_ban_is_made_once(store):
    (first,) = store.ban(ADA, TERMS)
    (again,) = store.ban(ADA, TERMS)

    assert (first.is_new, again.is_new) == (True, False)
    assert (again.ban.client, again.ban.rule, again.ban.tier) == (ADA, "crawl", 1)
    assert left(again.ban) == pytest.approx(HOUR, abs=60)


def test_each_further_ban_lasts_longer_up_to_the_longest(store):
    lengths = []
    for _ in range(5):
        (made,) = store.ban(ADA, TERMS, "set")
        lengths.append((made.ban.tier, round(left(made.ban) / HOUR, 1)))

    assert lengths == [(1, 1), (2, 2), (3, 4), (4, 5), (5, 5)]


def test_the_longer_of_two_holds_where_that_is_asked(store):
    store.ban(ADA, TERMS)
    (kept,) = store.ban(ADA, Terms("told", 60.0), "longest")
    assert kept.ban.rule == "crawl"

    (replaced,) = store.ban(ADA, Terms("told", 9 * HOUR, longest=9 * HOUR), "longest")
    assert (replaced.ban.rule, replaced.is_new) == ("told", True)


def test_a_short_ban_by_hand_does_not_shorten_what_is_remembered(store):
    store.ban(ADA, TERMS)
    store.ban(ADA, Terms("manual", 0.001, longest=0.001), "set")
    assert store.ban(ADA, TERMS, "set")[0].ban.tier == 3


def test_a_release_forgives(store):
    store.ban(ADA, TERMS)
    assert store.release(ADA)
    assert not store.release(ADA)

    (made,) = store.ban(ADA, TERMS)
    assert (made.is_new, made.ban.tier) == (True, 1)


def test_a_network_is_banned_once_enough_of_its_addresses_are(store):
    for number in (1, 2, 2):
        assert len(store.ban(f"ip:203.0.113.{number}", TERMS, "once", WIDER)) == 1

    address, network = store.ban("ip:203.0.113.3", TERMS, "once", WIDER)
    assert address.ban.client == "ip:203.0.113.3"
    assert (network.ban.client, network.ban.rule, network.is_new) == ("ip:203.0.113.0/24", "crawl", True)
    _, network = store.ban("ip:203.0.113.4", TERMS, "once", WIDER)
    assert not network.is_new


def test_who_was_released_counts_for_no_network(store):
    for number in (1, 2):
        store.ban(f"ip:203.0.113.{number}", TERMS, "once", WIDER)
    store.release("ip:203.0.113.1", WIDER.network)
    assert len(store.ban("ip:203.0.113.3", TERMS, "once", WIDER)) == 1
    assert len(store.ban("ip:203.0.113.4", TERMS, "once", WIDER)) == 2


def test_a_network_that_was_released_needs_as_many_anew(store):
    for number in (1, 2, 3):
        store.ban(f"ip:203.0.113.{number}", TERMS, "once", WIDER)
    assert store.release(WIDER.network)
    for number, made in ((4, 1), (5, 1), (6, 2)):
        assert len(store.ban(f"ip:203.0.113.{number}", TERMS, "once", WIDER)) == made


def test_memory_forgets_former_bans_in_time(clock):
    store = MemoryBans(clock)
    store.ban(ADA, TERMS)
    clock.advance(25 * HOUR - 1)
    assert store.ban(ADA, TERMS)[0].ban.tier == 2
    clock.advance(26 * HOUR)
    assert store.ban(ADA, TERMS)[0].ban.tier == 1


def test_memory_counts_for_a_network_only_what_was_of_late(clock):
    store = MemoryBans(clock)
    for number in range(5):
        assert len(store.ban(f"ip:203.0.113.{number}", TERMS, "once", WIDER)) == 1
        clock.advance(HOUR / 2)


def test_memory_is_bounded(clock):
    store = MemoryBans(clock, limit=10)
    for number in range(100):
        store.ban(f"ip:10.0.{number}.1", TERMS, "once", Wider(f"ip:10.0.{number}.0/24", 2, HOUR))

    assert (len(store._tiers), len(store._in_force), len(store._banned)) == (10, 10, 10)


@pytest.mark.server
class TestRedis:
    def test_every_key_is_gone_in_time_and_lies_in_one_slot(self, shared):
        shared.bans().ban(ADA, TERMS, "once", WIDER)

        client = shared.clients.get()
        keys = client.keys("*")
        assert len(keys) == 6
        assert all(b"{bans}" in key and client.pttl(key) > 0 for key in keys)
        assert client.pttl("test:{bans}:tier:" + ADA) <= 25 * HOUR * 1000

    def test_former_bans_are_forgotten_with_their_key(self, shared):
        store = shared.bans()
        store.ban(ADA, TERMS)
        shared.clients.get().delete("test:{bans}:tier:" + ADA)
        assert store.ban(ADA, TERMS, "set")[0].ban.tier == 1

    def test_however_many_there_were_a_ban_lasts_the_longest_time(self, shared):
        shared.clients.get().set("test:{bans}:tier:" + ADA, 99_999)
        (made,) = shared.bans().ban(ADA, TERMS)
        assert (made.ban.tier, round(left(made.ban) / HOUR)) == (100_000, 5)

    def test_is_bounded(self, shared):
        store = shared.bans(limit=5)
        for number in range(20):
            store.ban(f"user:{number}", Terms("crawl", HOUR + number, longest=2 * HOUR))

        kept = shared.clients.get().hkeys("test:{bans}:now")
        assert sorted(kept) == sorted(f"user:{number}".encode() for number in range(15, 20))

    def test_what_is_over_is_removed_with_the_next_ban(self, shared):
        store = shared.bans()
        store.ban(ADA, TERMS)
        shared.clients.get().zadd("test:{bans}:ends", {ADA: 1})
        store.ban(BOB, TERMS)
        assert shared.clients.get().hkeys("test:{bans}:now") == [BOB.encode()]

    def test_another_process_learns_what_has_changed(self, shared):
        one, other = shared.bans(), shared.bans()
        one.ban(ADA, TERMS)
        assert [found.client for found in other.news().bans] == [ADA]
        assert other.news().bans == []

        one.ban(BOB, TERMS)
        one.release(ADA)
        news = other.news()
        assert ([found.client for found in news.bans], news.released, news.complete) == ([BOB], [ADA], False)

    def test_what_was_banned_and_released_and_banned_again_is_banned(self, shared):
        one, other = shared.bans(), shared.bans()
        one.ban(ADA, TERMS)
        other.news()
        one.release(ADA)
        one.ban(ADA, TERMS)
        news = other.news()
        assert ([found.client for found in news.bans], news.released) == ([ADA], [])

    def test_who_has_missed_too_much_reads_all(self, shared, monkeypatch):
        monkeypatch.setattr(stored, "CHANGES", 3)
        monkeypatch.setattr(stored, "PAGE", 2)
        one, other = shared.bans(), shared.bans()
        one.ban(ADA, TERMS)
        other.news()
        one.release(ADA)
        for number in range(600):
            one.ban(f"user:{number}", TERMS)

        news = other.news()
        assert news.complete
        assert {found.client for found in news.bans} == {f"user:{number}" for number in range(600)}
        assert not other.news().complete

    async def test_bans_on_an_event_loop_too(self, shared):
        (made,) = await shared.bans().aban(ADA, TERMS)
        assert made.is_new
        assert not shared.bans().ban(ADA, TERMS)[0].is_new

    def test_many_at_once_make_one(self, shared):
        store = shared.bans()

        async def race():
            return await asyncio.gather(*(store.aban(ADA, TERMS) for _ in range(20)))

        assert sum(made[0].is_new for made in asyncio.run(race())) == 1


# Processes that share a Redis


@pytest.fixture
def heard() -> Iterator[list[Any]]:
    found: list[Any] = []

    def note(sender: Any, signal: Any, **named: Any) -> None:
        found.append(named.get("ban") or named["client"])

    signals.banned.connect(note)
    signals.released.connect(note)
    yield found
    signals.banned.disconnect(note)
    signals.released.disconnect(note)


def everything(shared: Shared) -> str:
    """Return all that Redis holds, as text."""
    client = shared.clients.get()
    read = {b"hash": client.hgetall, b"zset": lambda key: client.zrange(key, 0, -1), b"string": client.get}
    return str([(key, read[client.type(key)](key)) for key in client.keys("*")])


def process(shared: Shared | None, **settings: Any) -> Bans:
    return Bans(RateLimitSettings(**settings), shared.bans() if shared else None)


def test_alone_a_process_bans_releases_and_tells(heard):
    bans = process(None)
    made = bans.ban(ADA, TERMS)
    bans.refresh()

    assert bans.local.of(ADA) == made
    assert heard == [made]
    (entry,) = bans.unwritten
    assert entry.until - entry.begun == pytest.approx(HOUR)
    assert bans.release(ADA)
    assert bans.local.of(ADA) is None
    assert not bans.release(ADA)


def test_a_ban_that_was_there_is_neither_written_nor_told_of_again(heard):
    bans = process(None)
    bans.ban(ADA, TERMS)
    bans.ban(ADA, TERMS)
    assert len(bans.unwritten) == len(heard) == 1


def test_networks_are_banned_where_the_settings_say_so():
    bans = process(None, escalate_after=2)
    bans.ban(ADA, TERMS)
    bans.ban(BOB, TERMS)
    assert bans.local.of_address(ip_address("203.0.113.99")) is not None
    bans.ban("user:17", TERMS)
    assert len(bans.unwritten) == 4

    assert process(None).ban(ADA, TERMS)


def test_what_is_released_is_not_written_down_as_in_force():
    bans = process(None)
    bans.ban(ADA, TERMS)
    bans.ban(BOB, TERMS)
    bans.release(ADA)
    assert [entry.ban.client for entry in bans.unwritten] == [BOB]


def test_what_a_person_says_replaces_what_there_was():
    bans = process(None)
    bans.ban(ADA, TERMS)
    bans.impose(ADA, Terms("manual", 60.0, longest=60.0))

    found = bans.local.of(ADA)
    assert found is not None
    assert found.rule == "manual"
    assert left(found) <= 60
    assert len(bans.unwritten) == 1


@pytest.mark.server
class TestProcesses:
    def test_a_ban_and_a_release_reach_all(self, shared):
        one, other = process(shared), process(shared)
        one.ban(ADA, TERMS)
        other.refresh()
        assert other.local.of_address(ip_address("203.0.113.7")) is not None
        assert not other.unwritten

        assert other.release(ADA)
        one.refresh()
        assert one.local.of(ADA) is None

    def test_a_release_reaches_who_has_missed_too_much(self, shared, monkeypatch):
        monkeypatch.setattr(stored, "CHANGES", 1)
        one, other = process(shared), process(shared)
        one.ban(ADA, TERMS)
        other.refresh()
        one.release(ADA)
        one.ban(BOB, TERMS)
        one.ban("user:17", TERMS)
        other.refresh()
        assert {found.client for found in other.local.bans()} == {BOB, "user:17"}

    def test_what_an_emptied_redis_has_forgotten_processes_have_not(self, shared):
        one, other = process(shared), process(shared)
        one.ban(ADA, TERMS)
        other.refresh()
        shared.clients.get().flushall()

        other.refresh()
        assert other.local.of(ADA) is not None
        one.ban(BOB, TERMS)
        other.refresh()
        assert {found.client for found in other.local.bans()} == {ADA, BOB}

    def test_a_redis_that_was_emptied_is_told_anew_for_those_who_come_later(self, shared, heard):
        one, other = process(shared), process(shared)
        one.ban(ADA, TERMS)
        other.ban("user:17", TERMS)
        for bans in (one, other):
            bans.refresh()
        shared.clients.get().flushall()
        for bans in (one, other, one, other):
            bans.refresh()

        late = process(shared)
        late.refresh()
        assert {found.client for found in late.local.bans()} == {ADA, "user:17"}
        (known,) = [found for found in late.local.bans() if found.client == ADA]
        assert (known.rule, round(left(known) / HOUR)) == ("crawl", 1)
        assert len(heard) == len(one.unwritten) + len(other.unwritten) == 2
        assert late.release(ADA)
        one.refresh()
        assert one.local.of(ADA) is None

    @pytest.mark.parametrize("since", [[], ["user:17"], ["user:17", "user:18"]])
    def test_what_a_failover_has_lost_hides_nothing_that_came_after_it(self, shared, since):
        one, other, client = process(shared), process(shared), shared.clients.get()
        for banned in ("ip:198.51.100.1", ADA):
            one.ban(banned, TERMS)
        before = {key: (client.dump(key), client.pttl(key)) for key in client.keys("*")}
        one.ban(BOB, TERMS)
        other.refresh()
        client.flushall()
        for key, (value, ends) in before.items():
            client.restore(key, ends, value)
        late = process(shared)
        late.release(ADA)
        for banned in since:
            late.ban(banned, TERMS)

        other.refresh()
        late.refresh()
        for bans in (other, late):
            assert {found.client for found in bans.local.bans()} == {"ip:198.51.100.1", BOB, *since}

    @pytest.mark.parametrize("looked", [True, False])
    @pytest.mark.parametrize("banned_since", [True, False])
    def test_what_an_emptied_redis_has_forgotten_can_be_released(self, shared, looked, banned_since):
        one, other = process(shared), process(shared)
        for client in (ADA, "user:17"):
            one.ban(client, TERMS)
        other.refresh()
        shared.clients.get().flushall()
        if looked:
            one.refresh()
            other.refresh()
        if banned_since:
            one.ban(BOB, TERMS)

        process(shared).release(ADA)  # as a command does
        for bans in (one, other):
            bans.refresh()
            assert {found.client for found in bans.local.bans()} == {"user:17", *([BOB] if banned_since else [])}
        client = shared.clients.get()
        assert all(client.pttl(key) > 0 for key in client.keys("*"))

    def test_who_is_erased_is_released_everywhere_and_named_nowhere(self, shared):
        one, other = (process(shared, escalate_after=9) for _ in range(2))
        for client in (ADA, BOB):
            one.ban(client, TERMS)
        other.refresh()
        assert "203.0.113.7" in everything(shared)

        assert process(shared).release(ADA, erase=True)
        assert "203.0.113.7" not in everything(shared)
        for bans in (one, other):
            bans.refresh()
            assert {found.client for found in bans.local.bans()} == {BOB}
        one.ban(ADA, TERMS)
        other.refresh()
        assert {found.client for found in other.local.bans()} == {ADA, BOB}

    def test_with_redis_killed_bans_hold_and_new_ones_are_told_when_it_is_back(self, heard):
        server = get(Redis)
        found = emptied(server.urls()["primary"])
        one, other = process(Shared(found)), process(Shared(found))
        one.ban(ADA, TERMS)
        server.kill("primary")
        try:
            assert one.local.of(ADA) is not None
            one.ban(BOB, TERMS)
            assert one.local.of(BOB) is not None
            assert len(heard) == 2
            for attempt in (one.refresh, lambda: one.release(ADA), lambda: one.impose(ADA, TERMS)):
                with pytest.raises(StorageDown):
                    attempt()
            assert one.local.of(ADA) is not None
        finally:
            server.restart("primary")

        one.refresh()
        other.refresh()
        assert one.local.of(ADA) is not None
        assert {found.client for found in other.local.bans()} == {ADA, BOB}
        assert len(one.unwritten) == 2

    async def test_on_an_event_loop_a_ban_holds_without_redis(self):
        bans = process(Shared(Clients(parse("redis://127.0.0.1:1"))))
        await bans.aban(ADA, TERMS)
        assert bans.local.of(ADA) is not None

    def test_a_release_drops_what_redis_was_not_told(self, shared):
        bans = process(shared)
        own, bans.shared = bans.shared, RedisBans(guard(Clients(parse("redis://127.0.0.1:1"))), "test")
        bans.ban(ADA, TERMS)
        bans.shared = own
        bans.release(ADA)
        bans.refresh()
        assert bans.local.of(ADA) is None
        assert len(process(shared).local) == 0


def in_child(work: Callable[[], bool]) -> bool:
    child = os.fork()
    if child == 0:
        os._exit(0 if work() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_child_knows_the_bans_and_tells_only_of_its_own():
    bans = process(None)
    bans.ban(ADA, TERMS)
    with bans.local._lock, bans._lock:  # as another thread may hold them
        assert in_child(lambda: bans.local.of(ADA) is not None and not bans.unwritten and bool(bans.ban(BOB, TERMS)))
    assert bans.local.of(BOB) is None
