"""What the cache promises when writes, notes, clears and timeouts cross; each story driven step by step."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
import tracemalloc
from enum import Enum
from typing import Any

import pytest
from django.core.cache import caches
from django.test import override_settings

from noa_perf.cache import options
from noa_perf.cache.backend import TieredCache
from noa_perf.cache.exceptions import CacheError
from noa_perf.cache.groups import group_of
from noa_perf.cache.journal import Journal
from noa_perf.cache.tiers.memory import MOST_GROUPS, MOST_SPACES, Bounds, Memory
from noa_perf.core.redis import Unavailable
from noa_perf.metrics.recorder import OTHER
from tests.cache.test_faults import GUARD, at, cache_at, until
from tests.library.models import Author
from tests.servers import get
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis


@pytest.fixture
def server():
    return get(Redis)


@pytest.fixture
def url(server):
    return server.urls()["primary"]


@pytest.fixture
def quiet():
    """A journal whose replay never comes through."""
    return Journal(lambda journal: False)


def test_a_write_strikes_no_deletion_that_was_noted_after_it_was_sent(quiet):
    before = quiet.serial
    quiet.note(["k"], "")
    quiet.written("k", before)
    assert quiet.holds("k")
    quiet.written("k", quiet.serial)
    assert not quiet.holds("k")


@pytest.mark.server
def test_the_same_through_the_stories(url):
    cache = cache_at(url)
    spot = cache._spot("k", None)
    writing = cache.stack.write(spot, "older", None)
    next(writing)  # sent, and on its way
    deleting = cache.stack.delete(spot)
    next(deleting)
    with pytest.raises(StopIteration):
        deleting.throw(Unavailable("down"))
    with pytest.raises(StopIteration):
        writing.send(b"OK")
    assert cache.stack.journal.holds(spot.key) or cache.get("k") is None
    until(lambda: not len(cache.stack.journal), "the replay")
    assert cache.get("k") is None


def test_a_clear_that_waits_covers_what_it_matches_and_nothing_else(quiet):
    quiet.note_clear("p:[0-9]*:*")
    quiet.note(["p:1:a", "p:beta:a"], "p:[0-9]*:*")
    assert quiet.holds("p:1:a")
    assert quiet.holds("p:beta:a")
    assert len(quiet) == 2


def test_a_thread_that_cannot_start_is_tried_again(monkeypatch):
    replayed = threading.Event()

    def replay(journal):
        journal.done(journal.pending()[0])
        replayed.set()
        return True

    journal = Journal(replay)
    with monkeypatch.context() as broken:
        broken.setattr(threading.Thread, "start", lambda self: (_ for _ in ()).throw(RuntimeError("no more threads")))
        journal.note(["k"], "")
    assert journal.holds("k")
    assert replayed.wait(GUARD)


def test_an_error_while_replaying_ends_no_thread(caplog):
    tried = []

    def replay(journal):
        tried.append(1)
        if len(tried) < 3:
            raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no")
        journal.done(journal.pending()[0])
        return True

    journal = Journal(replay)
    journal.note(["k"], "")
    until(lambda: not len(journal), "the replay")
    assert len(tried) == 3
    assert sum("could not be replayed" in record.message for record in caplog.records) == 1


def test_many_notes_share_a_thread():
    def replay(journal):
        journal.done(journal.pending()[0])
        return True

    journal = Journal(replay)
    before = threading.active_count()
    for number in range(50):
        journal.note([str(number)], "")
        until(lambda: not len(journal), "the replay")
    assert threading.active_count() <= before + 1


@pytest.mark.server
def test_a_value_is_not_kept_past_its_own_timeout(server):
    with Proxy(server.ports["primary"]) as proxy:
        writer, reader = (
            cache_at(at(proxy), prefix="own"),
            cache_at(at(proxy), prefix="own", memory={"staleness": 60.0}),
        )
        writer.set("code", "1234", 0.3)
        writer.set("many", "1234", 0.3)
        assert reader.get("code") == "1234"
        assert reader.get_many(["many", "none"]) == {"many": "1234"}
        until(lambda: reader.get("code") is None, "expiry")
        until(lambda: reader.get_many(["many"]) == {}, "expiry")
        writer.set("code", "5678", 0.3)
        assert reader.get("code") == "5678"
        proxy.refuse()
        until(lambda: reader.get("code") is None, "expiry while Redis is away")


@pytest.mark.server
@pytest.mark.parametrize("isolation", ["copy", "shared"])
def test_the_bytes_that_are_counted_are_those_that_are_taken(url, isolation):
    memory = {"max_bytes": "8MiB", "isolation": isolation, "staleness": 600.0}
    cache = cache_at(url, prefix=f"bytes-{isolation}", memory=memory)
    value = ["the same text again and again " * 5_000 + str(number) for number in range(4)]
    tracemalloc.start()
    try:
        for number in range(60):
            cache.set(f"page:{number}", value)
            cache.get(f"page:{number}")
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        cache.clear()
    assert cache.stack.memory.bytes <= 8 * 2**20
    assert taken < 2 * 8 * 2**20


def test_versions_without_end_make_no_spaces_without_end():
    cache = TieredCache("versions", {"OPTIONS": {}})
    for version in range(3 * MOST_SPACES):
        cache.get("k", version=version)
    assert len(cache.stack.memory.spaces()) <= MOST_SPACES + 2
    cache.set("k", "value", version=10_000)
    assert cache.get("k", version=10_000) == "value"
    assert cache.get("k", version=10_001) is None
    cache.clear()
    assert cache.get("k", version=10_000) is None


def test_groups_without_end_are_counted_for_none():
    memory = Memory(Bounds(max_entries=10))
    memory.group = lambda key: key
    space = memory.space(("", "1"))
    for number in range(2 * MOST_GROUPS):
        memory.put(space, str(number), (1, None, 9e9, 9e9), 10)
        space[str(number)].hits += 1
    assert len(memory.collect()[0]) <= MOST_GROUPS + 1


@pytest.mark.parametrize(
    ("key", "group"),
    [
        ("product:7:detail", "product"),
        ("alice", OTHER),
        ("secretTokenAbc", OTHER),
        ("bob@example.com:cart", OTHER),
        ("template.cache.menu.9f3a", "template.cache.menu"),
        ("views.decorators.cache.cache_page..GET.0123", "views.decorators.cache.cache_page"),
        (":1:raw", OTHER),
        ("a" * 40 + ":1", OTHER),
    ],
)
def test_a_group_is_the_word_before_a_separator(key, group):
    assert group_of(key) == group


class Page(str, Enum):  # noqa: UP042  (its text is not its value's, which is the point)
    banner = "banner"


def test_a_key_that_equals_another_and_is_written_otherwise_is_another():
    cache = TieredCache("enum", {"OPTIONS": {}})
    cache.set("banner", "x")
    cache.set(Page.banner, "y")
    assert cache.get("banner") == "x"
    assert cache.get(Page.banner) == "y"
    assert cache.get(["no", "key"]) is None


def hashed(key, prefix, version):
    return f"{prefix}:{version}:{hashlib.md5(key.encode()).hexdigest()}"


@pytest.mark.server
@pytest.mark.parametrize(
    "key_func",
    [lambda key, prefix, version: f"{version}:{key}", lambda key, prefix, version: f"{prefix}{version}{key}"],
    ids=["no prefix", "no separator"],
)
def test_what_cannot_tell_its_own_keys_deletes_none(url, key_func):
    cache = TieredCache(url, {"KEY_PREFIX": "p", "KEY_FUNCTION": key_func, "OPTIONS": {}})
    cache.set("k", "value")
    with pytest.raises(CacheError, match="KEY_FUNCTION"):
        cache.clear()
    assert cache.get("k") == "value"


@pytest.mark.server
@pytest.mark.parametrize(
    "key_func",
    [
        hashed,
        lambda key, prefix, version: f"{prefix}[{version}]{key}",
        lambda key, prefix, version: f"C-{prefix}-{key}",
    ],
    ids=["hashed", "brackets", "no version"],
)
def test_what_can_tell_them_deletes_all_and_no_others(url, key_func):
    cache = TieredCache(url, {"KEY_PREFIX": "mine", "KEY_FUNCTION": key_func, "OPTIONS": {}})
    other = TieredCache(url, {"KEY_PREFIX": "minex", "KEY_FUNCTION": key_func, "OPTIONS": {}})
    for one in (cache, other):
        one.set("k", "value")
    cache.clear()
    assert cache.get("k") is None
    assert other.get("k") == "value"


@pytest.mark.server
def test_a_version_that_is_no_number_is_cleared_too(url):
    cache = TieredCache(url, {"KEY_PREFIX": "v", "VERSION": "beta", "OPTIONS": {"memory": None}})
    numbered = TieredCache(url, {"KEY_PREFIX": "v", "OPTIONS": {"memory": None}})
    cache.set("k", "value")
    numbered.set("k", "value")
    cache.clear()
    assert cache.get("k") is None
    assert numbered.get("k") == "value"


@pytest.mark.server
def test_what_is_deleted_and_not_yet_replayed_cannot_be_touched(server):
    with Proxy(server.ports["primary"]) as proxy:
        cache = cache_at(at(proxy))
        cache.set("k", "value")
        cache.stack.journal._replay = lambda journal: False
        proxy.refuse()
        cache.delete("k")
        proxy.accept()
        assert not cache.touch("k", 60)


def test_what_the_settings_mean_is_read_once(monkeypatch):
    entry = {"BACKEND": "noa_perf.cache.backend.TieredCache", "LOCATION": "once", "OPTIONS": {}}
    reads = []
    real = options.parse

    def parse(*given: Any) -> Any:
        reads.append(1)
        return real(*given)

    monkeypatch.setattr("noa_perf.cache.options.parse", parse)
    with override_settings(CACHES={"default": entry}):
        made: list[Any] = [caches.create_connection("default") for _ in range(5)]
        stacks = {id(cache.stack) for cache in made}
    assert len(stacks) == 1
    assert len(reads) == 1


def test_for_ever_is_infinitely_long():
    cache = TieredCache("infinite", {"OPTIONS": {}})
    cache.set("k", "value", float("inf"))
    assert cache.get("k") == "value"


@pytest.mark.django_db(transaction=True)
def test_an_async_view_may_store_what_is_still_to_be_fetched():
    cache = TieredCache("lazy", {"OPTIONS": {}})
    Author.objects.create(name="Ann")

    async def view():
        await cache.aset("page", {"authors": Author.objects.all()})
        await cache.aset_many({"two": [Author.objects.all()]})
        assert await cache.aadd("three", Author.objects.all())
        return await cache.aget("page"), await cache.aget("two"), await cache.aget("three")

    page, two, three = asyncio.run(view())
    assert [[one.name for one in rows] for rows in (page["authors"], two[0], three)] == [["Ann"]] * 3


def test_a_child_tells_of_what_it_counted_alone():
    cache = TieredCache("counted", {"OPTIONS": {}})
    cache.get("product:1")
    cache.stack.refused["corrupt"] = 3
    child = os.fork()
    if child == 0:
        own = cache.stack
        told = own.groups.drain() or own.told.since("refused", own.refused) or own.memory.collect()[0]
        os._exit(bool(told))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert cache.stack.groups.drain()["product"].misses == 1


def test_what_is_of_no_use_is_counted_each_time_and_logged_once(caplog):
    caplog.set_level(logging.WARNING, "noa_perf.cache")
    cache = TieredCache("refused", {"OPTIONS": {}})
    for _ in range(3):
        cache.stack._refuse("corrupt")
    assert cache.stack.refused == {"corrupt": 3}
    assert [record.message.count("corrupt") for record in caplog.records if record.name == "noa_perf.cache"] == [1]
