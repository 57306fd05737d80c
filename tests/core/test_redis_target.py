from __future__ import annotations

import subprocess
import sys

import pytest

from noa_perf.core.redis import Address, RedisSettingsError, RedisTarget, parse, problems
from noa_perf.core.redis.target import MAX_CONNECTIONS, TIMEOUT, WAIT, Options


def one(location: object, **options: object) -> tuple[Address, dict[str, object]]:
    """Return the address of a standalone target of one server, and all keyword arguments of its connections."""
    target = parse(location, options)
    assert target.mode == "standalone"
    (address,) = target.addresses
    return address, {**target.options, **address.options}


def told(location: object, **options: object) -> list[str]:
    return [problem.message for problem in problems(location, options, setting="C")]


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "options"),
    [
        ("redis://cache", "cache", 6379, False, {}),
        ("redis://cache:6380/2", "cache", 6380, False, {"db": 2}),
        ("redis://", "localhost", 6379, False, {}),
        ("redis:///3", "localhost", 6379, False, {"db": 3}),
        ("rediss://cache:6380/", "cache", 6380, True, {}),
        ("valkey://cache/2", "cache", 6379, False, {"db": 2}),
        ("valkeys://cache:6380", "cache", 6380, True, {}),
        ("redis://:p%40ss@cache/0", "cache", 6379, False, {"password": "p@ss", "db": 0}),
        ("redis://joe:p%2Fq@cache", "cache", 6379, False, {"username": "joe", "password": "p/q"}),
        ("redis://[::1]:6380/1", "::1", 6380, False, {"db": 1}),
        ("redis://[::1]/1", "::1", 6379, False, {"db": 1}),
        ("redis://cache/1?db=4&socket_timeout=1.5", "cache", 6379, False, {"db": 4, "socket_timeout": 1.5}),
        ("redis://cache?ssl_check_hostname=no&client_name=x", "cache", 6379, False, {
            "ssl_check_hostname": False, "client_name": "x",
        }),
    ],
)  # fmt: skip
def test_a_url_says_where_and_how(url, host, port, tls, options):
    address, found = one(url)
    assert (address.host, address.port, address.tls, found) == (host, port, tls, options)


def test_a_unix_socket():
    address, options = one("unix://joe:secret@/run/redis.sock?db=2")
    assert address.path == "/run/redis.sock"
    assert options == {"username": "joe", "password": "secret", "db": 2}


@pytest.mark.parametrize(
    "location",
    [
        ["redis://a", "redis://b", "redis://c"],
        ("redis://a", "redis://b", "redis://c"),
        "redis://a,redis://b;redis://c",
        "redis://a, redis://b , redis://c,",
    ],
)
def test_of_several_urls_the_first_is_the_primary(location):
    target = parse(location)
    assert [address.host for address in target.addresses] == ["a", "b", "c"]
    assert target.replicas


def test_the_options_of_django_redis():
    _, options = one(
        "redis://cache/1",
        CLIENT_CLASS="django_redis.client.DefaultClient",
        USERNAME="joe",
        PASSWORD="secret",
        SOCKET_TIMEOUT=5,
        SOCKET_CONNECT_TIMEOUT="2.5",
        SERIALIZER="django_redis.serializers.json.JSONSerializer",
        COMPRESSOR="django_redis.compressors.zlib.ZlibCompressor",
        IGNORE_EXCEPTIONS=True,
        CONNECTION_POOL_KWARGS={"ssl_cert_reqs": None, "max_connections": 7},
    )
    assert options == {
        "username": "joe",
        "password": "secret",
        "socket_timeout": 5.0,
        "socket_connect_timeout": 2.5,
        "ssl_cert_reqs": None,
        "db": 1,
    }
    assert not told("redis://cache", SERIALIZER="x", IGNORE_EXCEPTIONS=True)


def test_the_options_of_djangos_own_backend():
    target = parse("redis://cache", {"db": "10", "pool_class": "my.Pool", "health_check_interval": 30, "encoding": "x"})
    assert dict(target.options) == {"db": 10, "health_check_interval": 30, "encoding": "x"}
    assert target.pool_class == "my.Pool"


def test_a_pool_class_may_be_given_itself():
    assert parse("redis://", {"CONNECTION_POOL_CLASS": Options}).pool_class == "noa_perf.core.redis.target.Options"


def test_what_the_url_says_goes_before_the_options():
    address, _ = one("redis://:in-url@cache/3", PASSWORD="in-options", DB=1)
    assert dict(address.options) == {"password": "in-url", "db": 3}


def test_the_pool_is_bounded_and_so_is_the_wait_for_it():
    target = parse("redis://cache")
    assert (target.max_connections, target.wait) == (MAX_CONNECTIONS, WAIT)
    target = parse("redis://cache", {"CONNECTION_POOL_KWARGS": {"max_connections": 5, "timeout": 20}})
    assert (target.max_connections, target.wait) == (5, 20.0)
    assert not target.options
    assert TIMEOUT == 0.25


DJANGO_REDIS_SENTINEL = {
    "SENTINELS": [("s1", 26379), ("s2", "26380")],
    "SENTINEL_KWARGS": {"password": "of the Sentinels"},
}


@pytest.mark.parametrize(
    "options",
    [
        {"CLIENT_CLASS": "django_redis.client.SentinelClient"},
        {"CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory"},
        {},
    ],
)
def test_sentinels_as_django_redis_names_them(options):
    target = parse("redis://My_Service/2", {**DJANGO_REDIS_SENTINEL, **options, "PASSWORD": "of the data"})
    assert target.mode == "sentinel"
    assert [(one.host, one.port) for one in target.addresses] == [("s1", 26379), ("s2", 26380)]
    assert target.service == "My_Service"
    assert target.replicas == ("CLIENT_CLASS" in options)
    assert dict(target.options) == {"db": 2, "password": "of the data"}
    assert dict(target.sentinel_options) == {"password": "of the Sentinels"}


def test_two_urls_of_one_service_ask_for_reads_from_replicas():
    location = ["redis://service/0?is_master=1", "redis://service/0?is_master=0"]
    target = parse(location, DJANGO_REDIS_SENTINEL)
    assert target.replicas
    assert dict(target.options) == {"db": 0}


@pytest.mark.parametrize(("scheme", "tls"), [("redis+sentinel", False), ("rediss+sentinel", True)])
def test_sentinels_in_one_url(scheme, tls):
    target = parse(f"{scheme}://joe:secret@s1:1,[::1]:2,s3/service/4?socket_timeout=1")
    assert target.mode == "sentinel"
    assert [(one.host, one.port) for one in target.addresses] == [("s1", 1), ("::1", 2), ("s3", 26379)]
    assert target.tls == tls
    assert all(one.tls == tls for one in target.addresses)
    assert target.service == "service"
    assert dict(target.options) == {"username": "joe", "password": "secret", "db": 4, "socket_timeout": 1.0}
    assert not target.replicas
    assert parse("redis+sentinel://s1/service?replicas=yes").replicas


@pytest.mark.parametrize(("scheme", "tls"), [("redis+cluster", False), ("rediss+cluster", True)])
def test_a_cluster_in_one_url(scheme, tls):
    target = parse(f"{scheme}://:secret@n1:1,n2:2,n3/", {"SOCKET_TIMEOUT": 1})
    assert target.mode == "cluster"
    assert [(one.host, one.port) for one in target.addresses] == [("n1", 1), ("n2", 2), ("n3", 6379)]
    assert target.tls == tls
    assert dict(target.options) == {"password": "secret", "socket_timeout": 1.0}


@pytest.mark.parametrize(
    ("location", "options", "message"),
    [
        (None, {}, 'C["LOCATION"] is neither a URL nor a list of URLs.'),
        ([1], {}, 'C["LOCATION"] is neither a URL nor a list of URLs.'),
        ("", {}, 'C["LOCATION"] is empty.'),
        ("http://cache", {}, 'C["LOCATION"] holds a URL that begins with none of redis://'),
        ("cache:6379", {}, 'C["LOCATION"] holds a URL that begins with none of redis://'),
        ("redis://cache:port", {}, 'C["LOCATION"] holds a port that is none.'),
        ("redis://cache:70000", {}, 'C["LOCATION"] holds a port that is none.'),
        ("redis://cache/one", {}, 'C["LOCATION"], its db, is not a whole number.'),
        ("redis://cache?socket_timeout=long", {}, 'C["LOCATION"], its socket_timeout, is not a number of seconds.'),
        ("redis://cache", {"DB": "one"}, 'C["OPTIONS"]["DB"] is not a whole number.'),
        ("redis://cache", {"DB": True}, 'C["OPTIONS"]["DB"] is not a whole number.'),
        ("redis://cache", {"SOCKET_TIMEOUT": -1}, 'C["OPTIONS"]["SOCKET_TIMEOUT"] is not a number of seconds.'),
        ("redis://cache", {"CONNECTION_POOL_KWARGS": 5}, 'C["OPTIONS"]["CONNECTION_POOL_KWARGS"] is not a dict.'),
        (
            "redis://cache",
            {"CONNECTION_POOL_KWARGS": {"max_connections": "many"}},
            'C["OPTIONS"]["CONNECTION_POOL_KWARGS"]["max_connections"] is not a whole number.',
        ),
        ("redis://s", {"CLIENT_CLASS": "x.SentinelClient"}, 'C["OPTIONS"]["SENTINELS"] names no Sentinel.'),
        ("redis://s", {"SENTINELS": "s1:26379"}, 'C["OPTIONS"]["SENTINELS"] names no Sentinel.'),
        ("redis://s", {"SENTINELS": ["s1"]}, 'C["OPTIONS"]["SENTINELS"] holds something else than (host, port).'),
        (
            "redis://s",
            {"SENTINELS": [("s1", 1)], "SENTINEL_KWARGS": "password"},
            'C["OPTIONS"]["SENTINEL_KWARGS"] is not a dict.',
        ),
        ("unix:///s", {"SENTINELS": [("s1", 1)]}, 'C["LOCATION"] is a Unix socket.'),
        ("redis+sentinel://s1:26379", {}, 'C["LOCATION"] names no service for the Sentinels.'),
        ("redis+cluster://n1/2", {}, 'C["LOCATION"] names a database, and a Cluster has only one.'),
        ("redis+cluster://n1", {"DB": 2}, 'C["OPTIONS"]["DB"] names a database, and a Cluster has only one.'),
        (["redis+cluster://n1", "redis+cluster://n2"], {}, 'C["LOCATION"] holds several cluster URLs.'),
        (["redis://a", "redis+cluster://n2"], {}, 'C["LOCATION"] mixes schemes.'),
    ],
)
def test_what_cannot_be_used_is_named_with_its_cure(location, options, message):
    assert any(one.startswith(message) for one in told(location, **options))
    assert all(problem.hint for problem in problems(location, options))
    with pytest.raises(RedisSettingsError) as caught:
        parse(location, options, setting="C")
    assert message in str(caught.value)
    assert caught.value.problems


def test_all_that_is_wrong_is_said_at_once():
    assert len(told("redis://cache:port", DB="one", SOCKET_TIMEOUT="long")) == 3


def test_options_that_are_no_dict():
    assert [one.message for one in problems("redis://", ["x"], setting="C")] == ['C["OPTIONS"] is list.']  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"PARSER_CLASS": "redis.connection._HiredisParser"}, 'C["OPTIONS"]["PARSER_CLASS"] is ignored.'),
        ({"parser_class": "x"}, 'C["OPTIONS"]["parser_class"] is ignored.'),
        ({"PASWORD": "x"}, "C[\"OPTIONS\"]['PASWORD'] is ignored."),
        (
            {"CONNECTION_POOL_KWARGS": {"retry_on_timeout": True}},
            'C["OPTIONS"]["CONNECTION_POOL_KWARGS"]["retry_on_timeout"] is ignored.',
        ),
    ],
)
def test_what_is_ignored_is_told_and_stops_nothing(options, message):
    (problem,) = problems("redis://cache", options, setting="C")
    assert (problem.kind, problem.message) == ("unknown", message)
    assert not parse("redis://cache", options).options


def test_a_slip_of_the_pen_is_guessed():
    (problem,) = problems("redis://cache", {"PASWORD": "x"})
    assert problem.hint == 'Did you mean "PASSWORD"?'


def test_equal_settings_are_one_target_and_others_are_not():
    def target(**options: object) -> RedisTarget:
        return parse("redis://cache/1", {"CONNECTION_POOL_KWARGS": {"socket_keepalive_options": {1: 2}, **options}})

    assert target() == target()
    assert hash(target(x=[1, {2}])) == hash(target(x=[1, {2}]))
    assert target(a=1, b=2) == target(b=2, a=1)
    assert target(x=True) != target(x=1)
    assert target(x=object) != target()
    assert parse("redis://cache/1") != parse("redis://cache/2")


def test_the_longest_call_counts_each_wait():
    assert parse("redis://cache").longest_call == WAIT + 2 * TIMEOUT
    assert parse("redis://cache").longest_exchange == 2 * TIMEOUT
    options = {"SOCKET_TIMEOUT": 2, "SOCKET_CONNECT_TIMEOUT": 1, "timeout": 4}
    assert parse("redis://cache", options).longest_call == 7
    assert parse("redis://cache?socket_timeout=3", options).longest_call == 8
    assert parse(["redis://cache?socket_timeout=3", "redis://b?socket_timeout=9"], options).longest_call == 14
    for name in ("SOCKET_TIMEOUT", "SOCKET_CONNECT_TIMEOUT", "timeout"):
        assert parse("redis://cache", {**options, name: None}).longest_call == 0


@pytest.mark.parametrize("url", ["redis://cache?socket_timeout=9", "redis+sentinel://cache/noa", "redis+cluster://a,b"])
def test_within_lowers_each_wait_that_is_longer(url):
    options = {"SOCKET_TIMEOUT": 5, "SOCKET_CONNECT_TIMEOUT": None, "timeout": None, "DB": 0}
    target = parse(url, options)
    lowered = target.within(0.25)
    assert lowered.longest_call == 0.75
    assert target.longest_call == 0
    assert lowered.within(0.25) is lowered
    assert lowered.within(0.5) is lowered
    assert lowered.within(0.1).longest_call == pytest.approx(0.3)
    short = parse("redis://cache", {"SOCKET_TIMEOUT": 0.1})
    assert short.within(0.25) is short
    assert {**short.within(0.05).sentinel_options} == {"socket_connect_timeout": 0.05, "socket_timeout": 0.05}


def test_no_secret_is_shown():
    target = parse("redis://joe:secret@cache", {"PASSWORD": "secret", "SENTINEL_KWARGS": {"password": "secret"}})
    assert "secret" not in repr(target) + str(target)
    with pytest.raises(RedisSettingsError) as caught:
        parse("redis://joe:secret@cache:port/x?db=secret", {"PASSWORD": "secret"})
    assert "secret" not in str(caught.value)


def test_without_redis_py_all_can_be_imported_and_the_extra_is_named():
    code = """
import sys
sys.modules["redis"] = None
from noa_perf.core import redis
assert redis.ERRORS == ()
assert redis.classify(OSError()) == "down"
target = redis.parse("redis://cache")
try:
    redis.clients(target).get()
except redis.MissingRedis as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "Redis needs redis-py. Install it: pip install noa-perf[redis]\n"


@pytest.mark.parametrize("url", ["redis://h", "redis+sentinel://h/mymaster", "redis+cluster://h"])
def test_waiting_gives_each_wait_as_long_where_the_settings_say_nothing(url):
    patient = parse(url).waiting(2.0)
    assert patient.longest_call == pytest.approx(6.0)
    assert {**patient.sentinel_options} == {"socket_connect_timeout": 2.0, "socket_timeout": 2.0}
    assert parse(url).waiting(0.1).longest_call == pytest.approx(0.3)

    said = parse(url, {"socket_timeout": 0.5, "socket_connect_timeout": None, "timeout": 9.0}).waiting(2.0)
    assert said.options["socket_timeout"] == 0.5
    assert said.longest_call == pytest.approx(4.5)
