from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
import time
import warnings
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import redis as driver
from asgiref.sync import async_to_sync

from noa_perf.core.clock import ManualClock
from noa_perf.core.redis import (
    ERRORS,
    Clients,
    Script,
    classify,
    clients,
    fast_batch,
    fast_call,
    fast_get,
    fast_mget,
    parse,
)
from noa_perf.core.redis.pools import Pool, PoolBusy, SentinelPool
from tests.servers import get
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis, RedisCluster, RedisSentinel, RedisServer
from tests.servers.test_harness import own

pytestmark = pytest.mark.server

TOPOLOGIES = {Redis: "primary", RedisCluster: "cluster", RedisSentinel: "sentinel"}


@pytest.fixture(params=TOPOLOGIES, ids=lambda cls: cls.name)
def anywhere(request) -> Iterator[Clients]:
    """Clients of each kind of Redis, empty."""
    yield from served(get(request.param))


@pytest.fixture
def server() -> Redis:
    return get(Redis)


@pytest.fixture
def alone(server) -> Iterator[Clients]:
    """Clients of a Redis that stands alone, empty."""
    yield from served(server)


def served(server: RedisServer) -> Iterator[Clients]:
    found = Clients(parse(server.urls()[TOPOLOGIES[type(server)]]))
    found.get().flushall()
    yield found
    found.close()


@pytest.fixture
def proxied(server) -> Iterator[tuple[Proxy, Clients]]:
    """Clients of a Redis behind a proxy; ``a`` and ``b`` hold their own names."""
    with Proxy(server.ports["primary"]) as proxy:
        found = Clients(parse(f"redis://127.0.0.1:{proxy.port}"))
        found.get().flushall()
        found.get().mset({"a": "A", "b": "B"})
        yield proxy, found
        found.close()


@contextmanager
def no_warnings() -> Iterator[None]:
    """Fail on whatever is left open."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        gc.collect()  # what other tests have left
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert not [str(one.message) for one in caught]


def identity(client: Any) -> int:
    return int(client.client_id())


def test_equal_targets_share_their_clients(server):
    url = server.urls()["primary"]
    assert clients(parse(url)) is clients(parse(url, {}))
    assert clients(parse(url)) is not clients(parse(url, {"DB": 3, "SOCKET_TIMEOUT": 1}))


def test_threads_that_come_at_once_get_one_client(alone):
    for _ in range(50):
        alone.close()
        barrier = threading.Barrier(8)

        def ask(barrier: threading.Barrier = barrier) -> Any:
            barrier.wait()
            return alone.get()

        with ThreadPoolExecutor(8) as pool:
            assert len({id(one.result()) for one in [pool.submit(ask) for _ in range(8)]}) == 1


def test_reads_and_writes_everywhere(anywhere):
    client = anywhere.get()
    client.set("k", b"\x00\xff")
    assert client.get("k") == b"\x00\xff"
    assert anywhere.get() is client

    async def main() -> None:
        client = anywhere.on_loop()
        assert client is anywhere.on_loop()
        assert await client.get("k") == b"\x00\xff"
        assert sorted(await asyncio.gather(*(client.incr("n") for _ in range(20)))) == list(range(1, 21))

    asyncio.run(main())


def test_timeouts_are_short_and_nothing_is_tried_again(anywhere):
    client = anywhere.get()
    if anywhere.target.mode == "cluster":
        client = client.get_redis_connection(client.get_primaries()[0])
    pool = client.connection_pool
    kwargs = pool.connection_kwargs
    assert (kwargs["socket_timeout"], kwargs["socket_connect_timeout"]) == (0.25, 0.25)
    connection = pool.make_connection()
    assert connection.retry._retries == 0
    assert connection.health_check_interval == 0


def test_replicas_are_read_from_and_several_share_the_load():
    target = parse(["redis://a:1", "redis://b:2", "redis://c:3"])
    found = Clients(target)
    assert found.get().connection_pool.connection_kwargs["host"] == "a"
    assert {found.get("replica").connection_pool.connection_kwargs["host"] for _ in range(100)} == {"b", "c"}
    alone = Clients(parse("redis://a:1"))
    assert alone.get("replica") is alone.get()


def test_the_sentinels_name_primary_and_replica():
    server = get(RedisSentinel)
    found = Clients(parse(server.urls()["sentinel"]))
    assert isinstance(found.get().connection_pool, SentinelPool)
    assert found.get().role()[0] == b"master"
    assert found.get("replica").role()[0] == b"slave"

    async def main() -> None:
        assert (await found.on_loop().execute_command("ROLE"))[0] == b"master"
        assert (await found.on_loop("replica").execute_command("ROLE"))[0] == b"slave"

    asyncio.run(main())
    found.close()


def test_databases_and_users(server):
    server.query("primary", "ACL", "SETUSER", "joe", "on", ">secret", "~*", "+@all", "-flushall")
    try:
        base = f"127.0.0.1:{server.ports['primary']}"
        joe = Clients(parse(f"redis://joe:secret@{base}/5")).get()
        joe.set("k", 1)
        assert joe.execute_command("ACL", "WHOAMI") == b"joe"
        assert server.query("primary", "GET", "k", db=5) == "1"
        with pytest.raises(ERRORS) as caught:
            joe.flushall()
        assert classify(caught.value) == "refused"
        with pytest.raises(ERRORS) as caught:
            Clients(parse(f"redis://{base}", {"USERNAME": "joe", "PASSWORD": "wrong"})).get().ping()
        assert classify(caught.value) == "down"
    finally:
        server.query("primary", "ACL", "DELUSER", "joe")
        server.query("primary", "FLUSHALL")


@pytest.mark.parametrize("url", ["unix:///nowhere.sock?db=1", "redis://127.0.0.1:1", "redis://no-such-host.invalid",
                                 "redis+sentinel://127.0.0.1:1/noa", "redis+cluster://127.0.0.1:1"])  # fmt: skip
def test_where_nobody_answers_it_is_down(url):
    found = Clients(parse(url))
    with pytest.raises(ERRORS) as caught:
        found.get().get("k")
    assert classify(caught.value) == "down"

    async def main() -> None:
        with pytest.raises(ERRORS) as caught:
            await found.on_loop().get("k")
        assert classify(caught.value) == "down"

    with no_warnings():
        asyncio.run(main())


def test_tls_that_the_server_does_not_speak(server):
    found = Clients(parse(f"rediss://127.0.0.1:{server.ports['primary']}"))
    with pytest.raises(ERRORS) as caught:
        found.get().get("k")
    assert classify(caught.value) in {"down", "timeout"}


class OwnPool(driver.BlockingConnectionPool):
    """A pool that a site brings."""


def test_a_sites_own_pool_is_used_and_redis_pys_gives_way_to_ours(server):
    url = server.urls()["primary"]
    own = Clients(parse(url, {"CONNECTION_POOL_CLASS": f"{__name__}.OwnPool", "SOCKET_TIMEOUT": 2}))
    client = own.get()
    assert type(client.connection_pool).__name__ == "OwnPool"
    client.set("k", "v")
    assert fast_get(client, b"k") == b"v"
    assert fast_mget(client, [b"k", b"none"]) == [b"v", None]
    assert fast_call(client, "DEL", "k") == 1
    theirs = Clients(parse(url, {"pool_class": "redis.BlockingConnectionPool"}))
    assert type(theirs.get().connection_pool) is Pool
    own.close()


def test_connections_are_bounded_and_the_wait_for_one_too(server):
    options = {"CONNECTION_POOL_KWARGS": {"max_connections": 1, "timeout": 0.5}}
    found = Clients(parse(server.urls()["primary"], options))
    pool = found.get().connection_pool
    held = pool.get_connection()
    for ask in (lambda: found.get().get("nobody's"), lambda: fast_get(found.get(), b"k")):
        with pytest.raises(PoolBusy, match=r"All 1 connections to Redis were in use for 0\.5 s; raise max_"):
            ask()
    threading.Timer(0.02, pool.release, [held]).start()
    assert found.get().get("nobody's") is None

    async def main() -> None:
        client = found.on_loop()
        held = await client.connection_pool.get_connection()
        with pytest.raises(PoolBusy):
            await client.get("nobody's")
        asyncio.get_running_loop().call_later(0.02, lambda: asyncio.ensure_future(client.connection_pool.release(held)))
        assert await client.get("nobody's") is None
        assert await asyncio.gather(*(client.get("nobody's") for _ in range(10))) == [None] * 10

    with no_warnings():
        asyncio.run(main())
    found.close()


def test_what_is_released_twice_is_lent_once(alone):
    pool = alone.get().connection_pool
    connection = pool.get_connection()
    pool.release(connection)
    pool.release(connection)
    assert pool.get_connection() is not pool.get_connection()


def test_a_connection_that_the_server_closed_costs_no_error(anywhere):
    client = anywhere.get()
    script = Script("return redis.call('INCR', KEYS[1])")
    for call in (lambda: client.incr("n"), lambda: script.run(client, ["n"]), lambda: fast_call(client, "INCR", "n")):
        call()
        for connection in anywhere.connections().values():
            connection.connect()
            connection.send_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")
            connection.disconnect()
        time.sleep(0.05)
        call()
    assert client.get("n") == b"6"


def test_a_restart_costs_no_error():
    with own(Redis) as server:
        found = Clients(parse(server.urls()["primary"]))
        client = found.get()
        client.set("k", 1)
        fast_get(client, b"k")

        async def main() -> None:
            a = found.on_loop()
            await asyncio.gather(*(a.get("k") for _ in range(5)))
            server.kill("primary")
            with pytest.raises(ERRORS) as caught:
                fast_get(client, b"k")
            assert classify(caught.value) == "down"
            server.restart("primary")
            assert fast_get(client, b"k") is None
            assert client.incr("k") == 1
            await asyncio.sleep(0.01)  # a loop that is held up cannot see that a connection was closed
            assert await asyncio.gather(*(a.get("k") for _ in range(5))) == [b"1"] * 5

        asyncio.run(main())
        found.close()


def interrupted(proxy: Proxy, call: Any, error: type[BaseException]) -> None:
    """Let a signal raise ``error`` while ``call`` waits for its reply, as a task's time limit and Ctrl-C do."""

    def handler(number: int, frame: Any) -> None:
        raise error

    before = signal.signal(signal.SIGALRM, handler)
    proxy.delay = 0.15
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(error):
            call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        proxy.delay = 0


class TimeLimit(Exception):
    """What a worker raises from a signal handler."""


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeLimit])
@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.get("a"),
        lambda client: fast_get(client, b"a"),
        lambda client: fast_mget(client, [b"a", b"a"]),
        lambda client: fast_call(client, "GET", "a"),
        lambda client: Script("return redis.call('GET', KEYS[1])").run(client, ["a"], again=True),
        lambda client: client.pipeline(transaction=True).get("a").get("a").execute(),
    ],
    ids=["get", "fast_get", "fast_mget", "fast_call", "script", "pipeline"],
)
def test_an_interrupted_call_leaves_its_reply_to_nobody(proxied, error, call):
    proxy, found = proxied
    client = found.get()
    interrupted(proxy, lambda: call(client), error)
    for _ in range(3):
        assert client.get("b") == b"B"
        assert fast_get(client, b"b") == b"B"
    assert len(client.connection_pool._in_use_connections) == 0
    assert client.connection_pool._room.qsize() == found.target.max_connections


def test_an_interrupt_between_sending_and_reading_leaves_its_reply_to_nobody(alone, monkeypatch):
    client = alone.get()
    client.mset({"a": "A", "b": "B"})
    reading = driver.Connection.read_response

    def interrupt(*args: Any, **kwargs: Any) -> None:
        monkeypatch.setattr(driver.Connection, "read_response", reading)
        raise KeyboardInterrupt

    monkeypatch.setattr(driver.Connection, "read_response", interrupt)
    with pytest.raises(KeyboardInterrupt):
        client.get("a")
    assert client.get("b") == b"B"


def test_who_handles_an_error_of_its_own_keeps_its_connection(alone):
    client = alone.get()
    first = identity(client)
    try:
        raise KeyError("the site's own")
    except KeyError:
        assert identity(client) == first
        fast_get(client, b"k")
        with pytest.raises(driver.ResponseError):
            client.execute_command("NO SUCH")
        assert identity(client) == first
    assert identity(client) == first

    async def main() -> None:
        client = alone.on_loop()
        first = await client.client_id()
        try:
            raise KeyError("the site's own")
        except KeyError:
            assert await client.client_id() == first
        assert await client.client_id() == first

    asyncio.run(main())


def test_a_late_reply_is_read_by_nobody(proxied):
    proxy, found = proxied
    client = found.get()
    for call in (lambda: client.get("a"), lambda: fast_get(client, b"a"), lambda: fast_mget(client, [b"a"])):
        proxy.delay = 0.5
        begun = time.monotonic()
        with pytest.raises(ERRORS) as caught:
            call()
        assert classify(caught.value) == "timeout"
        assert time.monotonic() - begun < 0.5
        proxy.delay = 0
        assert fast_get(client, b"b") == b"B"
        assert client.get("b") == b"B"


@pytest.mark.parametrize("topology", [Redis, RedisCluster, RedisSentinel])
def test_a_cancelled_task_leaves_its_reply_to_nobody(topology):
    server = get(topology)
    found = Clients(parse(server.urls()[TOPOLOGIES[topology]], {"SOCKET_TIMEOUT": 5}))
    role = server.owner("{k}a") if isinstance(server, RedisCluster) else getattr(server, "primary", lambda: "primary")()

    async def main() -> None:
        client = found.on_loop()
        await client.set("{k}a", "A")
        await client.set("{k}b", "B")
        server.freeze(role)
        try:
            tasks = [asyncio.ensure_future(client.get("{k}a")) for _ in range(5)]
            await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert all(task.cancelled() for task in tasks)
        finally:
            server.thaw(role)
        assert await asyncio.gather(*(client.get("{k}b") for _ in range(10))) == [b"B"] * 10
        await client.delete("{k}a", "{k}b")

    with no_warnings():
        asyncio.run(main())


def in_child(call: Any) -> int:
    """Return how a child ended that ran ``call``: 0 if that returned true."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if call() else 2
        finally:
            os._exit(code)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -1


def test_a_child_uses_no_connection_of_its_parents(anywhere):
    client = anywhere.get()
    client.set("k", "parent")
    if not hasattr(client, "connection_pool"):
        assert in_child(lambda: anywhere.get() is not client and anywhere.get().get("k") == b"parent") == 0
        assert client.get("k") == b"parent"
        return
    mine = identity(client)
    fast_get(client, b"k")

    def child() -> bool:
        kept, anew = identity(client), identity(clients(anywhere.target).get())
        return mine not in {kept, anew} and fast_get(client, b"k") == b"parent"

    for _ in range(3):
        assert in_child(child) == 0
        assert identity(client) == mine
        assert fast_get(client, b"k") == b"parent"


def test_a_child_is_not_held_up_by_what_the_parents_threads_held(server):
    found = Clients(parse(server.urls()["primary"], {"CONNECTION_POOL_KWARGS": {"max_connections": 1}}))
    pool = found.get().connection_pool
    held = pool.get_connection()
    with found._discovery._lock, pool._lock, pool._fork_lock:

        def child() -> bool:
            answered = found.get().ping() and Clients(found.target).get().ping()
            pool.release(held)  # the parent's: nobody gets it here
            return answered and pool.get_connection() is not held

        assert in_child(child) == 0
    pool.release(held)
    assert found.get().ping()
    found.close()


def test_a_childs_end_does_not_close_the_parents_connection(alone):
    client = alone.get()
    mine = identity(client)
    assert in_child(lambda: gc.collect() >= 0) == 0
    assert identity(client) == mine


def open_connections(server: Redis) -> int:
    return int(server.info("primary", "clients")["connected_clients"])


def until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    "run", [lambda main: asyncio.run(main()), lambda main: async_to_sync(main)()], ids=["run", "async_to_sync"]
)
def test_a_loop_that_ends_closes_its_clients(anywhere, run):
    async def main() -> None:
        await asyncio.gather(*(anywhere.on_loop().get("k") for _ in range(5)))
        await anywhere.on_loop("replica").get("k")

    with no_warnings():
        for _ in range(3):
            run(main)


def test_nothing_stays_open_at_the_server(alone, server):
    before = open_connections(server)

    async def main() -> None:
        await asyncio.gather(*(alone.on_loop().get("k") for _ in range(5)))
        assert open_connections(server) > before

    asyncio.run(main())
    until(lambda: open_connections(server) == before)


def test_loops_have_clients_of_their_own(alone):
    async def main() -> int:
        await alone.on_loop().ping()
        return id(alone.on_loop())

    with ThreadPoolExecutor(4) as pool:
        barrier = threading.Barrier(4)

        async def together() -> int:
            barrier.wait()
            found = await main()
            barrier.wait()
            return found

        assert len({one.result() for one in [pool.submit(asyncio.run, together()) for _ in range(4)]}) == 4


def test_a_loop_that_goes_on_after_its_shutdown_gets_new_clients(alone):
    loop = asyncio.new_event_loop()

    async def main() -> Any:
        client = alone.on_loop()
        await client.ping()
        return client

    first = loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    with pytest.warns(ResourceWarning, match="scheduled after"):  # asyncio's own opinion of such loops
        assert loop.run_until_complete(main()) is not first
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def test_a_loop_that_nobody_has_is_not_kept_alive(alone):
    loop = asyncio.new_event_loop()
    gone = weakref.ref(loop)

    async def main() -> Any:
        client = alone.on_loop()
        await client.ping()
        return weakref.ref(client)

    client = loop.run_until_complete(main())
    loop.close()
    del loop
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # whoever skips the shutdown leaves sockets open
        gc.collect()
    assert gone() is None
    assert client() is None


def test_a_failover_is_followed():
    with own(RedisSentinel) as server:
        found = Clients(parse(server.urls()["sentinel"]))
        client = found.get()
        script = Script("return redis.call('INCR', KEYS[1])")
        client.set("k", 1)
        fast_get(client, b"k")
        script.run(client, ["n"])

        async def main() -> None:
            a = found.on_loop()
            await a.set("k", 1)
            server.kill("primary")
            for ask in (lambda: client.set("k", 2), lambda: fast_get(client, b"k")):
                with pytest.raises(ERRORS) as caught:
                    ask()
                assert classify(caught.value) in {"down", "timeout"}
            with pytest.raises(ERRORS):
                await a.set("k", 2)
            assert server.failed_over("primary") == "replica"

            assert client.set("k", 3)
            assert fast_get(client, b"k") == b"3"
            assert script.run(client, ["m"]) == 1
            assert await a.set("k", 4)
            assert await script.arun(a, ["m"]) == 2
            assert server.query("replica", "GET", "k") == "4"

        asyncio.run(main())
        found.close()


def test_a_primary_that_was_put_down_is_left():
    with own(RedisSentinel) as server:
        found = Clients(parse(server.urls()["sentinel"]))
        client = found.get()
        client.set("k", 1)
        server.query("sentinel1", "SENTINEL", "FAILOVER", "noa")
        server.failed_over("primary")

        kinds = set()

        def arrived() -> bool:
            try:
                client.set("k", 2)
            except ERRORS as error:
                kinds.add(classify(error))
            return bool(server.query("replica", "GET", "k") == "2")

        until(arrived)
        assert kinds <= {"down", "timeout", "readonly"}
        found.close()


def test_a_slot_that_moves_costs_nothing():
    server = get(RedisCluster)
    found = Clients(parse(server.urls()["cluster"]))
    client = found.get()
    script = Script("return redis.call('GET', KEYS[1])")
    slot = server.query("node1", "CLUSTER", "KEYSLOT", "{s}")
    source = server.owner("{s}")
    target = next(role for role in server.roles if role != source)
    client.set("{s}k", "v")

    async def everything() -> None:
        a = found.on_loop()
        assert fast_get(client, b"{s}k") == b"v"
        assert fast_mget(client, [b"{s}k", b"{s}none", b"other"]) == [b"v", None, None]
        assert script.run(client, ["{s}k"]) == b"v"
        assert client.get("{s}none") is None
        assert await a.get("{s}k") == b"v"
        assert await script.arun(a, ["{s}k"]) == b"v"

    async def main() -> None:
        await everything()
        server.begin_move(slot, source, target)
        await everything()
        server.move_keys(slot, source, target)
        await everything()
        server.end_move(slot, source, target)
        await everything()

    try:
        asyncio.run(main())
    finally:
        server.move_slot(slot, target, source)
        client.delete("{s}k")
        found.close()


def test_a_node_that_dies_and_comes_back():
    with own(RedisCluster) as server:
        found = Clients(parse(server.urls()["cluster"]))
        client = found.get()
        role = server.owner("k")
        client.set("k", 1)
        server.kill(role)
        with pytest.raises(ERRORS) as caught:
            client.get("k")
        assert classify(caught.value) in {"down", "timeout"}
        server.restart(role)
        server.wait_until(server.whole, "the cluster")

        def answers() -> bool:
            try:
                return client.get("k") is None
            except ERRORS:
                return False

        until(answers)
        assert client.incr("k") == 1
        found.close()


@pytest.mark.parametrize("call", ["run", "arun"])
def test_a_script_that_the_server_forgot_is_sent_again(anywhere, call):
    script = Script("return {KEYS[1], ARGV[1], redis.call('INCR', KEYS[1])}")
    client = anywhere.get()
    assert len(script.sha) == 40
    if call == "run":
        for number in range(1, 5):
            assert script.run(client, ["k"], ["é"]) == [b"k", "é".encode(), number]
            if number % 2:
                client.script_flush()
        script.load(client)
        assert all(client.script_exists(script.sha))
        return

    async def main() -> None:
        client = anywhere.on_loop()
        for number in range(1, 5):
            assert await script.arun(client, ["k"], ["é"]) == [b"k", "é".encode(), number]
            if number % 2:
                await client.script_flush()
        await script.aload(client)

    asyncio.run(main())
    assert all(client.script_exists(script.sha))


def test_a_scripts_own_error_is_raised_once(alone):
    script = Script("redis.call('INCR', KEYS[1]); return redis.call('LPUSH', KEYS[1], 1)")
    with pytest.raises(ERRORS) as caught:
        script.run(alone.get(), ["k"])
    assert classify(caught.value) == "data"
    assert alone.get().get("k") == b"1"


@pytest.mark.parametrize("value", [b"", b"\r\n$3\r\n", b"x" * 3_000_000])
def test_the_lean_reads_return_what_is_there(anywhere, value):
    client = anywhere.get()
    client.set("k", value)
    assert fast_get(client, b"k") == value
    assert fast_get(client, b"none") is None
    assert fast_mget(client, [b"k", b"none"]) == [value, None]
    assert fast_call(client, "STRLEN", b"k", again=True) == len(value)


def test_an_error_that_redis_replies_is_raised_and_costs_no_connection(alone):
    client = alone.get()
    client.lpush("list", 1)
    first = identity(client)
    with pytest.raises(driver.ResponseError, match="WRONGTYPE"):
        fast_get(client, b"list")
    with pytest.raises(driver.ResponseError, match="WRONGTYPE"):
        fast_call(client, "INCR", "list")
    assert identity(client) == first


@pytest.mark.parametrize("fault", ["cut", "swallow"])
def test_a_write_that_failed_halfway_is_not_made_again(proxied, fault, server):
    proxy, found = proxied
    client = found.get()
    for times, call in enumerate((lambda: fast_call(client, "INCR", "n"), lambda: client.incr("n")), 1):
        proxy.fault = fault
        with pytest.raises(ERRORS) as caught:
            call()
        assert classify(caught.value) == {"cut": "down", "swallow": "timeout"}[fault]
        proxy.fault = ""
        assert server.query("primary", "GET", "n") == str(times)
        assert fast_get(client, b"b") == b"B"


def test_a_read_on_a_connection_that_was_closed_meanwhile_is_made_once_more(proxied):
    proxy, found = proxied
    client = found.get()
    for _ in range(3):
        assert fast_get(client, b"a") == b"A"
        proxy.sever()
    proxy.fault = "cut"
    taken = proxy.accepted
    with pytest.raises(driver.ConnectionError):
        fast_get(client, b"a")
    assert proxy.accepted - taken <= 2
    proxy.fault = ""
    proxy.refuse()
    with pytest.raises(driver.ConnectionError):
        fast_get(client, b"a")
    proxy.accept()
    assert fast_get(client, b"a") == b"A"


def test_a_full_memory_a_replica_and_a_wrong_type_are_told_apart(alone, server):
    client = alone.get()
    client.set("text", "x")
    script = Script("return redis.call('SET', KEYS[1], ARGV[1])")
    before = server.config("primary", "maxmemory", 1)
    try:
        for call in (lambda: client.set("k", 1), lambda: script.run(client, ["k"], [1])):
            with pytest.raises(ERRORS) as caught:
                call()
            assert classify(caught.value) == "oom"
    finally:
        server.config("primary", "maxmemory", before)
    with pytest.raises(ERRORS) as caught:
        client.incr("text")
    assert classify(caught.value) == "data"
    server.config("primary", "min-replicas-to-write", 1)
    try:
        with pytest.raises(ERRORS) as caught:
            client.set("k", 1)
        assert classify(caught.value) == "refused"
    finally:
        server.config("primary", "min-replicas-to-write", 0)
    replica = Clients(parse(get(RedisSentinel).urls()["sentinel"])).get("replica")
    with pytest.raises(ERRORS) as caught:
        replica.set("k", 1)
    assert classify(caught.value) == "readonly"


def test_a_listeners_connection_is_outside_the_pool(anywhere):
    lone = anywhere.connections(protocol=3, socket_timeout=2)
    for connection in lone.values():
        connection.connect()
        connection.send_command("CLIENT", "TRACKING", "ON", "BCAST")
        assert connection.read_response() == b"OK"
        connection.disconnect()


@pytest.fixture
def hanging() -> Iterator[str]:
    """A Cluster each of whose three nodes takes connections and says nothing."""
    nodes = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    yield "redis+cluster://" + ",".join(f"127.0.0.1:{node.getsockname()[1]}" for node in nodes)
    for node in nodes:
        node.close()


LIMITS = {"SOCKET_TIMEOUT": 0.1, "SOCKET_CONNECT_TIMEOUT": 0.1}
SLACK = 0.3
"""Seconds that a loaded machine may take on top."""


def timed(call: Any) -> float:
    begun = time.monotonic()
    with pytest.raises(ERRORS):
        call()
    return time.monotonic() - begun


def test_a_cluster_that_hangs_holds_nobody_for_long(hanging):
    found = Clients(parse(hanging, LIMITS))
    with ThreadPoolExecutor(20) as pool:
        waits = [one.result() for one in [pool.submit(timed, found.get) for _ in range(20)]]
    assert max(waits) < 2 * found.target.longest_exchange + SLACK


def test_tasks_are_not_held_by_one_either(hanging):
    found = Clients(parse(hanging, LIMITS))

    async def ask() -> float:
        begun = time.monotonic()
        with pytest.raises(ERRORS):
            await found.on_loop().get("k")
        return time.monotonic() - begun

    async def main() -> list[float]:
        first = await asyncio.gather(*(ask() for _ in range(20)))
        return [max(first), await ask()]

    with no_warnings():
        first, second = asyncio.run(main())
    assert first < 2 * found.target.longest_exchange + SLACK
    assert second < 0.05


def test_nodes_that_did_not_answer_are_asked_again_after_a_moment(hanging):
    clock = ManualClock()
    found = Clients(parse(hanging, LIMITS), clock)
    assert timed(found.get) >= 0.1
    assert timed(found.get) < 0.05
    clock.advance(0.2)
    assert timed(found.get) >= 0.1


def test_a_cluster_that_freezes_holds_a_call_for_a_bounded_time():
    with own(RedisCluster) as server:
        found = Clients(parse(server.urls()["cluster"], LIMITS))
        found.get().set("k", 1)
        for role in server.roles:
            server.freeze(role)
        try:
            waits = [timed(lambda: found.get().get("k")) for _ in range(3)]
        finally:
            for role in server.roles:
                server.thaw(role)
        assert max(waits) < 2 * found.target.longest_call + SLACK
        until(lambda: answers(lambda: found.get().get("k") == b"1"))
        found.close()


def answers(call: Any) -> bool:
    try:
        return bool(call())
    except ERRORS:
        return False


class Dripper:
    """A server that says OK to all but GET, MGET and SET: what it replies to these comes in parts, each late."""

    def __init__(self, parts: list[bytes], pause: float) -> None:
        self._parts, self._pause = parts, pause
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._take, daemon=True).start()

    def __enter__(self) -> Dripper:
        return self

    def __exit__(self, *told: object) -> None:
        self._server.close()

    def _take(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._answer, args=(self._server.accept()[0],), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            while asked := client.recv(65536):
                if b"GET" not in asked and b"SET" not in asked.replace(b"SETINFO", b""):
                    client.sendall(b"+OK\r\n" * asked.count(b"*"))
                    continue
                for part in self._parts:
                    client.sendall(part)
                    time.sleep(self._pause)


DRIPPING = [bytes([one]) for one in b"$40\r\n" + b"x" * 40 + b"\r\n"]


@pytest.mark.parametrize(
    ("parts", "call"),
    [
        (DRIPPING, lambda client: fast_get(client, b"k")),
        (DRIPPING, lambda client: fast_mget(client, [b"k"])),
        (DRIPPING, lambda client: fast_call(client, "GET", "k")),
        ([b"+OK\r\n"] * 40, lambda client: fast_batch(client, [("SET", "k", 1)] * 40)),
    ],
    ids=["get", "mget", "call", "batch"],
)
def test_a_reply_that_drips_ends_in_time(parts, call):
    with Dripper(parts, 0.05) as server:
        found = Clients(parse(server.url, {"SOCKET_TIMEOUT": 0.2}))
        pool = found.get().connection_pool
        begun = time.monotonic()
        with pytest.raises(ERRORS) as caught:
            call(found.get())
        assert classify(caught.value) == "timeout"
        assert time.monotonic() - begun < 0.7
        assert pool._room.qsize() == found.target.max_connections
        found.close()


def test_a_reply_in_parts_leaves_the_sockets_timeout_as_it_was():
    parts = [b"$2", b"\r\na", b"b\r\n"]
    with Dripper(parts, 0.01) as server:
        found = Clients(parse(server.url, {"SOCKET_TIMEOUT": 0.2}))
        assert fast_get(found.get(), b"k") == b"ab"
        (connection,) = found.get().connection_pool._available_connections
        assert connection._sock.gettimeout() == 0.2
        found.close()


def test_a_batch_is_answered_command_by_command(anywhere):
    client = anywhere.get()
    assert fast_batch(client, []) == []
    client.lpush("list", 1)
    stored, refused, found, none, many = fast_batch(
        client, [("SET", "k", b"v"), ("INCR", "list"), ("GET", "k"), ("GET", "none"), ("DEL", "k")]
    )
    assert stored
    assert isinstance(refused, driver.ResponseError)
    assert (found, none, many) == (b"v", None, 1)
    large = b"x" * 3_000_000
    assert len(fast_batch(client, [("SET", "k", large), ("GET", "k")])[1]) == len(large)
    assert len(fast_batch(client, [("GET", f"k{number}") for number in range(3000)])) == 3000


@pytest.mark.parametrize(
    "call",
    [
        lambda client: fast_call(client, "SET", "k", 1),
        lambda client: fast_batch(client, [("SET", "k", 1), ("GET", "k")]),
        lambda client: Script("return redis.call('SET', KEYS[1], 1)").run(client, ["k"]),
        lambda client: client.set("k", 1),
    ],
    ids=["call", "batch", "script", "set"],
)
def test_a_server_that_became_a_replica_is_left(server, call):
    with own(Redis) as other:
        found = Clients(parse(other.urls()["primary"]))
        client = found.get()
        pool = client.connection_pool
        held = [pool.get_connection() for _ in range(3)]
        for connection in held:
            pool.release(connection)
        other.query("primary", "REPLICAOF", "127.0.0.1", server.ports["primary"])
        with suppress(*ERRORS):
            call(client)
        assert [one for one in held if one._sock is not None] == []
        assert pool._room.qsize() == found.target.max_connections

        async def main() -> None:
            client = found.on_loop()
            await asyncio.gather(*(client.get("k") for _ in range(3)))
            with pytest.raises(ERRORS):
                await client.set("k", 1)
            assert not any(one.is_connected for one in client.connection_pool._available_connections)
            assert client.connection_pool._room._value == found.target.max_connections

        asyncio.run(main())
        found.close()
