"""Beside the real django-redis: what it wrote is read, what it is set to is understood."""

from __future__ import annotations

import datetime as dt
import decimal
import pickle
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import caches
from django.core.checks import run_checks
from django.test import override_settings
from django_redis.cache import RedisCache as DjangoRedisCache  # type: ignore[import-untyped]

from noa_perf.cache import moving, options, registry
from noa_perf.cache.backend import TieredCache
from noa_perf.cache.codecs.codec import Codec
from noa_perf.cache.exceptions import CacheError, NotCacheable, Refused
from noa_perf.core import redis
from noa_perf.core.redis import parse
from tests.cache import sites
from tests.library.models import Author
from tests.servers import get
from tests.servers.redis import Redis, RedisSentinel

SERIALIZERS = {
    name: f"django_redis.serializers.{module}.{name}"
    for name, module in (("PickleSerializer", "pickle"), ("JSONSerializer", "json"), ("MSGPackSerializer", "msgpack"))
}
COMPRESSORS = {
    name: f"django_redis.compressors.{name}.{cls}"
    for name, cls in (
        ("identity", "IdentityCompressor"), ("zlib", "ZlibCompressor"), ("gzip", "GzipCompressor"),
        ("lzma", "LzmaCompressor"), ("lz4", "Lz4Compressor"), ("zstd", "ZStdCompressor"),
    )
}  # fmt: skip
VALUES: dict[str, Any] = {
    "n": 5, "negative": -3, "huge": 2**70, "text": "Grüße", "long": "text that repeats " * 500, "none": None,
    "true": True, "float": 1.5, "list": [1, "a", [2]], "dict": {"a": {"b": [1]}},
    "rows": [{"id": n} for n in range(99)],
}  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:django_redis")


@pytest.fixture
def url() -> Iterator[str]:
    sites.forget()  # what an earlier test's cache refused is counted where the same URL and options meet again
    yield get(Redis).urls()["primary"]
    sites.forget()


def settings(url: Any, **given: Any) -> dict[str, Any]:
    """Return an entry of CACHES but for its BACKEND."""
    number = next(sites._numbers)
    return {"KEY_PREFIX": f"move{number}", "TIMEOUT": 300, "OPTIONS": given}


@pytest.mark.server
@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_what_django_redis_wrote_is_read(url, serializer, compressor):
    given = {"SERIALIZER": SERIALIZERS[serializer], "COMPRESSOR": COMPRESSORS[compressor]}
    params = settings(url, **given)
    theirs: Any = DjangoRedisCache(url, params)
    values = {name: value for name, value in VALUES.items()}
    for name, value in values.items():
        theirs.set(name, value)
    trusted = {"trust_pickles": True} if serializer == "PickleSerializer" else {}
    ours = TieredCache(url, {**params, "OPTIONS": {**given, **trusted, "memory": {"staleness": 0}}})
    assert ours.get_many(values) == values
    for name, value in values.items():
        assert ours.get(name) == value == theirs.get(name)
        assert type(ours.get(name)) is type(value)
    assert ours.stack.refused == {}
    assert ours.ttl("n") in {299, 300}
    ours.set_many(values)
    assert ours.get_many(values) == values


@pytest.mark.server
def test_pickles_of_django_redis_are_not_read_unless_they_are_trusted(url):
    params = settings(url)
    theirs: Any = DjangoRedisCache(url, params)
    theirs.set("k", [1])
    theirs.set("n", 1)
    ours = TieredCache(url, params)
    assert ours.get("k") is None
    assert ours.get("n") == 1
    assert ours.stack.refused == {"unsigned": 1}


@pytest.mark.server
def test_numbers_and_locks_are_shared_both_ways(url):
    params = settings(url, memory={"staleness": 0})
    theirs: Any = DjangoRedisCache(url, {**params, "OPTIONS": {}})
    ours = TieredCache(url, params)
    ours.set("n", 5)
    assert theirs.incr("n") == 6
    assert ours.incr("n") == 7
    assert theirs.get("n") == 7
    assert theirs.ttl("n") == ours.ttl("n")
    with theirs.lock("job", timeout=10):
        assert not ours.lock("job").acquire(blocking=False)
    with ours.lock("job", timeout=10):
        assert not theirs.lock("job").acquire(blocking=False)
    theirs.set("menu:1", [1])
    assert ours.keys("menu:*") == theirs.keys("menu:*") == ["menu:1"]
    assert ours.delete_pattern("menu:*") == 1
    assert theirs.get("menu:1") is None


@pytest.mark.server
def test_what_ours_wrote_is_an_error_to_django_redis(url):
    """The reason why the guide wants another KEY_PREFIX for a rolling deploy."""
    params = settings(url)
    theirs: Any = DjangoRedisCache(url, {**params, "OPTIONS": {"IGNORE_EXCEPTIONS": True}})
    TieredCache(url, params).set("k", [1])
    with pytest.raises(pickle.UnpicklingError):
        theirs.get("k")


@pytest.mark.server
def test_what_djangos_own_backend_wrote_is_read(url):
    params = settings(url)
    from django.core.cache.backends.redis import RedisCache

    theirs = RedisCache(url, {**params, "OPTIONS": {}})
    values = {**VALUES, "moment": dt.datetime(2024, 1, 1, tzinfo=dt.UTC), "author": Author(pk=1, name="Ann")}
    theirs.set_many(values)
    ours = TieredCache(url, {**params, "OPTIONS": {"trust_pickles": True}})
    assert ours.get_many(values) == values
    serializer = "django.core.cache.backends.redis.RedisSerializer"
    assert options.parse({"OPTIONS": {"serializer": serializer}}, "C").serializer == ""


def test_what_django_valkey_wrote_is_read():
    codec = Codec(trust_pickles=True)
    for entry, value in {b"1.5": 1.5, b"-2.5e-07": -2.5e-07, b"inf": float("inf"), b"1e+16": 1e16}.items():
        assert codec.load(codec.decode("k", entry)) == value
    theirs = pickle.dumps(["x" * 99])
    import bz2

    for entry in (bz2.compress(theirs), zlib.compress(theirs)):
        assert codec.load(codec.decode("k", entry)) == ["x" * 99]


# Serializers that run no code


def serializer_of(named: str) -> Any:
    own = options.parse({"OPTIONS": {"SERIALIZER": named}}, "C")
    return options.custom_serializer(own.serializer, {})


def test_json_loses_what_it_lost_before():
    codec = Codec("shop", custom=serializer_of(SERIALIZERS["JSONSerializer"]))

    def back(value: Any) -> Any:
        return codec.load(codec.decode("k", codec.encode("k", value).payload))

    assert back((1, 2)) == [1, 2]
    assert back({1: dt.date(2024, 1, 1)}) == {"1": "2024-01-01"}
    assert back(decimal.Decimal("1.10")) == "1.10"
    with pytest.raises(NotCacheable, match="'k' with the codec 'JSONSerializer'"):
        codec.encode("k", {1})


def test_msgpack_loses_what_it_lost_before():
    codec = Codec("shop", custom=serializer_of(SERIALIZERS["MSGPackSerializer"]))
    assert codec.load(codec.decode("k", codec.encode("k", {1: (1, 2)}).payload)) == {1: [1, 2]}
    with pytest.raises(NotCacheable, match="'MessagePackSerializer'"):
        codec.encode("k", dt.date(2024, 1, 1))


def test_neither_ever_unpickles():
    for name in ("JSONSerializer", "MSGPackSerializer"):
        codec = Codec(custom=serializer_of(SERIALIZERS[name]))
        with pytest.raises(Refused):
            codec.load(codec.decode("k", pickle.dumps([1])))


@pytest.mark.parametrize(
    ("named", "ours"),
    [
        ("django_redis.serializers.pickle.PickleSerializer", ""),
        ("django_valkey.serializers.pickle.PickleSerializer", ""),
        ("django.core.cache.backends.redis.RedisSerializer", ""),
        ("django_valkey.serializers.json.JSONSerializer", "JSONSerializer"),
        ("django_valkey.serializers.msgspec.MsgSpecJsonSerializer", "JSONSerializer"),
        ("django_valkey.serializers.msgspec.MsgSpecMsgPackSerializer", "MessagePackSerializer"),
        ("tests.cache.sites.Shouting", "Shouting"),
    ],
)
def test_each_serializer_has_a_meaning(named, ours):
    for name in ("SERIALIZER", "serializer"):
        assert options.parse({"OPTIONS": {name: named}}, "C").serializer.rpartition(".")[2] == ours
    assert options.parse({"OPTIONS": {"SERIALIZER": named, "codec": "pickle"}}, "C").serializer == ""


@pytest.mark.parametrize(
    ("named", "ours"),
    [
        *((f"django_redis.compressors.{name}.X", name) for name in ("zlib", "lz4", "zstd")),
        ("django_redis.compressors.identity.IdentityCompressor", "none"),
        ("django_redis.compressors.lzma.LzmaCompressor", "auto"),
        ("django_valkey.compressors.brotli.BrotliCompressor", "auto"),
        ("shop.Squeezer", "auto"),
    ],
)
def test_each_compressor_has_a_meaning(named, ours):
    assert options.parse({"OPTIONS": {"COMPRESSOR": named}}, "C").compress == ours
    assert options.parse({"OPTIONS": {"COMPRESSOR": named, "compress": "none"}}, "C").compress == "none"


# Told by a check


def told(given: dict[str, Any], location: Any = "redis://cache:6379/1", **beside: Any) -> list[str]:
    """Return what the checks say of an entry of CACHES."""
    entry = {"BACKEND": registry.BACKEND, "LOCATION": location, "OPTIONS": given}
    with override_settings(CACHES={"default": entry}, **beside):
        found = run_checks(tags=["caches"])
        assert all(one.hint for one in found)
        return [f"{str(one.id).rpartition('.')[2]} {one.msg}" for one in found]


UNDERSTOOD: list[dict[str, Any]] = [
    {"CLIENT_CLASS": "django_redis.client.DefaultClient"},
    {"SERIALIZER": SERIALIZERS["JSONSerializer"], "COMPRESSOR": COMPRESSORS["zlib"]},
    {"PASSWORD": "x", "SOCKET_TIMEOUT": 5, "SOCKET_CONNECT_TIMEOUT": 5},
    {"CONNECTION_POOL_KWARGS": {"max_connections": 100, "retry_on_error": []}},
    {"CONNECTION_POOL_CLASS": "redis.connection.BlockingConnectionPool"},
    {"CONNECTION_POOL_CLASS": "redis.BlockingConnectionPool", "CONNECTION_POOL_KWARGS": {"timeout": 20}},
    {"IGNORE_EXCEPTIONS": True},
    {"LOG_IGNORED_EXCEPTIONS": True},
    {"CLOSE_CONNECTION": False},
    {"MAX_ENTRIES": 1000, "CULL_FREQUENCY": 3},
    {"db": 3, "pool_class": "redis.ConnectionPool", "username": "joe"},
    {"SENTINELS": [("a", 26379)], "SENTINEL_KWARGS": {"socket_timeout": 1},
     "CLIENT_CLASS": "django_redis.client.SentinelClient",
     "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory"},
    {"REVERSE_KEY_FUNCTION": "tests.cache.test_redis_api.forwards"},
]  # fmt: skip


@pytest.mark.parametrize("given", UNDERSTOOD, ids=" ".join)
def test_what_has_a_meaning_is_not_told_of(given):
    assert [one for one in told(given) if not one.startswith("W005")] == []  # understood, and longer than is good
    assert parse("redis://cache", options.of_redis({"OPTIONS": given})).addresses


IGNORED: list[dict[str, Any]] = [
    {"PICKLE_VERSION": 4},
    {"COMPRESSOR": COMPRESSORS["gzip"]},
    {"COMPRESSOR": COMPRESSORS["lzma"]},
    {"IGNORE_EXCEPTIONS": False},
    {"LOG_IGNORED_EXCEPTIONS": False},
    {"CLOSE_CONNECTION": True},
    {"CLIENT_CLASS": "django_redis.client.HerdClient"},
    {"CLIENT_CLASS": "django_redis.client.ShardClient"},
    {"CLIENT_CLASS": "shop.redis.Client"},
    {"CONNECTION_FACTORY": "shop.redis.Factory"},
    {"REDIS_CLIENT_CLASS": "shop.redis.Client"},
    {"REDIS_CLIENT_KWARGS": {}},
    {"BASE_CLIENT_KWARGS": {}},
    {"PARSER_CLASS": "redis.connection._HiredisParser"},
    {"parser_class": "redis.connection._HiredisParser"},
    {"REPLICA_READ_ONLY": True},
    {"SOMETHING": 1},
    {"CONNECTION_POOL_KWARGS": {"decode_responses": True}},
]


@pytest.mark.parametrize("given", IGNORED, ids=str)
def test_what_has_none_is_told_with_its_cure(given):
    (one,) = told(given)
    (name,) = given
    assert one.startswith("W003 CACHES['default'][\"OPTIONS\"]")
    assert name in one


def test_settings_beside_caches():
    assert told({}, DJANGO_REDIS_IGNORE_EXCEPTIONS=True, DJANGO_REDIS_LOG_IGNORED_EXCEPTIONS=True) == []
    assert told({}, DJANGO_REDIS_CONNECTION_FACTORY="django_redis.pool.SentinelConnectionFactory") == []
    for name in moving.GLOBAL:
        for package in ("DJANGO_REDIS", "DJANGO_VALKEY"):
            value = (
                "shop.x" if name in {"LOGGER", "CONNECTION_FACTORY"} else {"CLOSE_CONNECTION": True}.get(name, False)
            )
            assert told({}, **{f"{package}_{name}": value}) == [f"W003 {package}_{name} is ignored."]


def test_settings_of_a_package_that_another_alias_uses_are_its_own():
    entries = {
        "default": {"BACKEND": registry.BACKEND},
        "other": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://cache"},
    }
    with override_settings(CACHES=entries, DJANGO_REDIS_LOGGER="x"):
        assert run_checks(tags=["caches"]) == []


@pytest.mark.server
def test_sentinel_settings_of_django_redis():
    server = get(RedisSentinel)
    places = [("127.0.0.1", server.ports[role]) for role in server.sentinels]
    entry = {
        "BACKEND": registry.BACKEND,
        "LOCATION": "redis://noa/0",
        "KEY_PREFIX": "sentinel",
        "OPTIONS": {"CLIENT_CLASS": "django_redis.client.SentinelClient", "SENTINELS": places},
    }
    with override_settings(
        CACHES={"default": entry}, DJANGO_REDIS_CONNECTION_FACTORY="django_redis.pool.SentinelConnectionFactory"
    ):
        cache: Any = caches["default"]
        assert cache.set("k", 1)
        assert cache.stack.link.failures == {}
        assert cache.ttl("k") == 300
    sites.forget()


@pytest.mark.server
async def test_a_raw_client(url):
    entry = {"BACKEND": registry.BACKEND, "LOCATION": url, "OPTIONS": {"memory": {"staleness": 0}, "codec": "auto"}}
    with override_settings(CACHES={"default": entry, "near": {"BACKEND": registry.BACKEND}}):
        client = registry.clients().get()
        client.hset("move:hash", "a", 1)
        assert await registry.clients("default").on_loop().hgetall("move:hash") == {b"a": b"1"}
        client.delete("move:hash")
        cache: Any = caches["default"]
        assert client is redis.clients(cache.stack.link.target).get()
        with pytest.raises(CacheError, match="'near'"):
            registry.clients("near")
