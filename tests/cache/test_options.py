from __future__ import annotations

from typing import Any

import pytest
from django.core.cache.backends.base import default_key_func

from noa_perf.cache import options
from noa_perf.cache.backend import TieredCache
from noa_perf.cache.options import OWN, of_redis, parse, pattern, problems, size
from noa_perf.core.redis import RedisSettingsError
from tests.cache import sites
from tests.cache.sites import made


def parsed(**given: Any) -> options.CacheOptions:
    return parse({"OPTIONS": given}, "C")


def wrong(**given: Any) -> list[str]:
    return [f"{one.kind}: {one.message}" for one in problems({"OPTIONS": given}, "C")]


@pytest.mark.parametrize(
    ("text", "many"),
    [
        (5, 5), ("5", 5), ("5B", 5), ("1K", 1000), ("1kb", 1000), ("1KiB", 1024), ("1.5 MiB", 1_572_864),
        ("2MB", 2_000_000), (" 1 GiB ", 2**30), ("1GB", 10**9), (0, None), (-1, None), ("", None), ("0MiB", None),
        ("much", None), ("-1", None), ("1TiB", None), ("0.1B", None),
    ],
)  # fmt: skip
def test_sizes(text, many):
    assert size(text) == many


def test_what_is_not_said():
    found = parsed()
    assert (found.max_entries, found.max_bytes, found.evict) == (10_000, 64 * 2**20, 1)
    assert (found.staleness, found.stale_when_down, found.copies) == (1.0, 30.0, True)
    assert (found.codec, found.serializer, found.compress, found.compress_from) == ("auto", "", "auto", 512)
    assert (found.max_value_bytes, found.trust_pickles, found.sign, found.budget) == (32 * 2**20, False, False, 1.0)
    assert found.breaker.failures == 5
    assert parse({}, "C") == found
    assert hash(found) == hash(parsed())
    assert wrong() == []


def test_what_is_said():
    found = parsed(
        memory={"max_entries": 5, "max_bytes": "1MiB", "staleness": 0, "isolation": "shared", "expiry_jitter": 0.5},
        codec="json", compress="zlib", max_value_bytes="1KiB", sign=True, breaker={"failures": 1, "cooldown": 60},
    )  # fmt: skip
    assert (found.max_entries, found.max_bytes, found.staleness, found.copies) == (5, 2**20, 0.0, False)
    assert (found.codec, found.compress, found.max_value_bytes, found.sign) == ("json", "zlib", 1024, True)
    assert (found.breaker.failures, found.breaker.cooldown, found.breaker.max_cooldown) == (1, 60, 60)
    assert found.expiry_jitter == 0.5


def test_without_memory_redis_is_always_asked():
    assert parsed(memory=None).staleness == 0
    assert wrong(memory=None) == []


@pytest.mark.parametrize(
    ("given", "entries", "evict"),
    [
        ({"MAX_ENTRIES": 30, "CULL_FREQUENCY": 3}, 30, 10),
        ({"MAX_ENTRIES": 30}, 30, 10),
        ({"MAX_ENTRIES": 2, "CULL_FREQUENCY": 5}, 2, 1),
        ({"MAX_ENTRIES": 30, "CULL_FREQUENCY": 0}, 30, 0),
        ({"MAX_ENTRIES": "30"}, 10_000, 1),
        ({"MAX_ENTRIES": 30, "CULL_FREQUENCY": "x"}, 30, 10),
    ],
)
def test_djangos_two_options(given, entries, evict):
    found = parsed(**given)
    assert (found.max_entries, found.evict) == (entries, evict)


def test_djangos_parameter_beside_options():
    assert parse({"max_entries": 7}, "C").max_entries == 7


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"memory": {"max_entires": 5}}, 'unknown: C["OPTIONS"]["memory"][\'max_entires\'] is not a setting'),
        ({"memory": {"max_entries": 0}}, 'value: C["OPTIONS"]["memory"][\'max_entries\'] is 0'),
        ({"memory": {"max_bytes": "lots"}}, "value: C[\"OPTIONS\"][\"memory\"]['max_bytes'] is 'lots'"),
        ({"memory": {"isolation": "deep"}}, "type: C[\"OPTIONS\"][\"memory\"]['isolation'] is 'deep'"),
        ({"memory": {"jitter": 1}}, 'value: C["OPTIONS"]["memory"][\'jitter\'] is 1'),
        ({"memory": 5}, "type: C[\"OPTIONS\"]['memory'] is 5"),
        ({"codec": "yaml"}, "type: C[\"OPTIONS\"]['codec'] is 'yaml'"),
        ({"compress_from": -1}, "value: C[\"OPTIONS\"]['compress_from'] is -1"),
        ({"max_value_bytes": "0"}, "value: C[\"OPTIONS\"]['max_value_bytes'] is '0'"),
        ({"sign": "yes"}, "type: C[\"OPTIONS\"]['sign'] is 'yes'"),
        ({"budget": None}, "type: C[\"OPTIONS\"]['budget'] is None"),
        ({"breaker": {"failures": 0}}, 'value: C["OPTIONS"]["breaker"][\'failures\'] is 0'),
        ({"breaker": {"failure": 3}}, 'unknown: C["OPTIONS"]["breaker"][\'failure\']'),
    ],
)
def test_what_is_wrong_is_told_and_keeps_its_default(given, told):
    (found,) = wrong(**given)
    assert found.startswith(told)
    assert parsed(**given) == parsed()
    assert problems({"OPTIONS": given}, "C")[0].hint


def test_options_that_are_no_dict():
    assert [one.kind for one in problems({"OPTIONS": ["x"]}, "C")] == ["section"]
    assert parse({"OPTIONS": ["x"]}, "C") == parsed()


def test_packages_that_are_missing(monkeypatch):
    monkeypatch.setattr(options, "installed", lambda package: False)
    assert [*map(str, wrong(codec="msgpack"))] == [
        "value: C[\"OPTIONS\"]['codec'] is 'msgpack', and msgpack is not installed."
    ]
    assert wrong(compress="lz4")[0].endswith("lz4 is not installed.")
    assert wrong(compress="zstd")[0].endswith("zstandard is not installed.")
    assert wrong(compress="zlib", codec="auto") == []
    assert parsed(compress="lz4").compress == "auto"


def test_what_is_for_redis():
    given = {name: None for name in OWN} | {"MAX_ENTRIES": 1, "SERIALIZER": "x", "PASSWORD": "p", "db": 1}
    assert of_redis({"OPTIONS": given}) == {"PASSWORD": "p", "db": 1}


def test_patterns_of_prefixes():
    assert pattern("shop", default_key_func, "1") == "shop:[0-9]*:*"
    assert pattern("shop", default_key_func, "be*ta") == r"shop:be\*ta:*"
    assert pattern("a*b", default_key_func, "1") == r"a\*b:[0-9]*:*"
    assert pattern("p", lambda key, prefix, version: f"{prefix}/{version}/{key}", "1") == "p/*"
    assert pattern("p", lambda key, prefix, version: key, "1") == ""
    assert pattern("", lambda key, prefix, version: f"{prefix}/{key}", "1") == ""
    assert pattern("p", lambda key, prefix, version: f"{version.upper()}", "1") == ""


def test_a_location_that_cannot_be_used_names_setting_and_cure():
    with pytest.raises(RedisSettingsError, match=r"CACHES\['default'\]\[\"LOCATION\"\] .*Write "):
        made("http://cache").get("k")
    with pytest.raises(RedisSettingsError, match="SOCKET_TIMEOUT"):
        made("redis://cache", SOCKET_TIMEOUT="long").set("k", 1)
    with pytest.raises(ModuleNotFoundError, match="'nobodys'"):
        made(SERIALIZER="nobodys.serializer").get_many(["k"])
    with pytest.raises(AttributeError, match="stacks"):
        made().stacks


def test_equal_settings_share_one_memory_and_other_prefixes_have_other_keys():
    one = TieredCache("shared", {"KEY_PREFIX": "a"})
    two = TieredCache("shared", {"KEY_PREFIX": "b"})
    assert one.stack is two.stack
    one.set("k", 1)
    assert two.get("k") is None
    assert TieredCache("other", {"KEY_PREFIX": "a"}).get("k") is None
    assert TieredCache("shared", {"KEY_PREFIX": "a", "OPTIONS": {"sign": True}}).stack is not one.stack
    sites.forget()


def test_entries_end_early_by_chance_where_that_is_asked_for():
    cache = made(memory={"expiry_jitter": 0.5})
    left = []
    for number in range(50):
        cache.set(f"k{number}", 1, 1000)
        left.append(cache.ttl(f"k{number}") or 0)
    assert all(499 <= one <= 1000 for one in left)
    assert max(left) - min(left) > 100
