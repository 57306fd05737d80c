"""What later tests rely on: servers that behave, and that leave nothing behind however the run ends."""

from __future__ import annotations

import http.server
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import psycopg
import pytest
import redis as driver

from tests.servers import base, sweep
from tests.servers.base import MissingServer, Server, Watchdog
from tests.servers.mariadb import Mariadb
from tests.servers.node import Node
from tests.servers.pgbouncer import Pgbouncer
from tests.servers.postgres import Postgres
from tests.servers.proxy import Proxy
from tests.servers.redis import Redis, RedisCluster, RedisSentinel, caught_up
from tests.servers.registry import get
from tests.servers.s3 import S3
from tests.servers.sweep import processes_in
from tests.servers.varnish import Varnish

# Once: what is tested here are servers and ways to start and end them.
pytestmark = [pytest.mark.server, pytest.mark.once]

S = TypeVar("S", bound=Server)


@pytest.fixture(scope="module")
def postgres() -> Postgres:
    return get(Postgres)


def until(condition, what: str) -> None:
    deadline = time.monotonic() + base.READY_WITHIN
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_a_server_is_started_once(postgres):
    assert get(Postgres) is postgres


def test_standbys_stream_and_refuse_writes(postgres):
    postgres.query("primary", "CREATE TABLE streamed (x int)")
    postgres.query("primary", "INSERT INTO streamed VALUES (1)")
    for standby in ("standby1", "standby2"):
        postgres.catch_up(standby)
        assert postgres.query(standby, "SELECT x FROM streamed") == [(1,)]
        assert postgres.query(standby, "SELECT pg_is_in_recovery()") == [(True,)]
    postgres.query("primary", "DROP TABLE streamed")


def test_a_paused_standby_stays_behind_and_catches_up(postgres):
    postgres.query("primary", "CREATE TABLE paused (x int)")
    postgres.catch_up("standby1")
    postgres.pause("standby1")
    try:
        postgres.query("primary", "INSERT INTO paused VALUES (1)")
        postgres.catch_up("standby2")
        assert postgres.query("standby2", "SELECT x FROM paused") == [(1,)]
        assert postgres.query("standby1", "SELECT x FROM paused") == []
    finally:
        postgres.resume("standby1")
    postgres.catch_up("standby1")
    assert postgres.query("standby1", "SELECT x FROM paused") == [(1,)]
    postgres.query("primary", "DROP TABLE paused")


@pytest.mark.parametrize("extension", sorted(Postgres.extensions))
def test_extensions_are_there(postgres, extension):
    postgres.query("primary", f"CREATE EXTENSION IF NOT EXISTS {extension}")


@contextmanager
def own(cls: type[S]) -> Iterator[S]:
    """A set of servers that a test may break."""
    watchdog = Watchdog()
    server = cls(watchdog)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        watchdog.dismiss()
    assert not server.folder.exists()


def test_a_promoted_standby_takes_writes_when_the_primary_is_dead():
    with own(Postgres) as server:
        server.query("primary", "CREATE TABLE kept (x int)")
        server.catch_up("standby1")
        os.killpg(server.processes["primary"].pid, signal.SIGKILL)

        server.promote("standby1")

        server.query("standby1", "INSERT INTO kept VALUES (1)")
        assert server.query("standby1", "SELECT x FROM kept") == [(1,)]


@pytest.fixture(scope="module")
def mariadb() -> Mariadb:
    return get(Mariadb)


@pytest.fixture
def shop(mariadb) -> Iterator[Mariadb]:
    """The pair with an empty database ``shop``."""
    mariadb.query("primary", "CREATE OR REPLACE DATABASE shop")
    mariadb.query("primary", "CREATE TABLE shop.line (x int)")
    mariadb.catch_up("replica")
    yield mariadb
    mariadb.query("primary", "DROP DATABASE shop")
    mariadb.catch_up("replica")


def test_pgbouncer_gives_each_transaction_one_of_its_connections():
    bouncer = get(Pgbouncer)
    url = bouncer.urls()["bouncer"]
    with psycopg.connect(url, autocommit=True) as one, psycopg.connect(url, autocommit=True) as other:
        asked = [each.execute("SELECT pg_backend_pid()").fetchone() for each in (one, other, one)]
    assert len(set(asked)) == 1


def test_a_replica_follows_and_refuses_writes(shop):
    shop.query("primary", "INSERT INTO shop.line VALUES (1)", user="site")
    shop.catch_up("replica")

    assert shop.query("replica", "SELECT x FROM shop.line") == [("1",)]
    with pytest.raises(RuntimeError, match="read-only"):
        shop.query("replica", "INSERT INTO shop.line VALUES (2)", user="site")


def test_a_paused_replica_stays_behind_and_catches_up(shop):
    shop.pause("replica")
    try:
        shop.query("primary", "INSERT INTO shop.line VALUES (1)")
        # It has received what it does not replay.
        (position,) = shop.query("primary", "SELECT @@gtid_binlog_pos")[0]
        until(lambda: position in received(shop), f"{position} received")
        assert shop.query("replica", "SELECT x FROM shop.line") == []
    finally:
        shop.resume("replica")
    shop.catch_up("replica")
    assert shop.query("replica", "SELECT x FROM shop.line") == [("1",)]


def received(server: Mariadb) -> str:
    return " ".join(value for row in server.query("replica", "SHOW SLAVE STATUS") for value in row)


def test_a_promoted_replica_takes_writes_when_the_primary_is_dead():
    with own(Mariadb) as server:
        server.query("primary", "CREATE DATABASE shop; CREATE TABLE shop.line (x int)")
        server.catch_up("replica")
        os.killpg(server.processes["primary"].pid, signal.SIGKILL)

        server.promote("replica")

        server.query("replica", "INSERT INTO shop.line VALUES (1)", user="site")
        assert server.query("replica", "SELECT x FROM shop.line") == [("1",)]


@pytest.fixture(scope="module")
def redis() -> Redis:
    return get(Redis)


def test_redis_answers_and_is_configured(redis):
    before = redis.config("primary", "maxmemory-policy", "allkeys-lru")
    try:
        assert before == "noeviction"
        assert redis.query("primary", "SET", "k", "é") == "OK"
        assert redis.query("primary", "GET", "k") == "é"
    finally:
        redis.config("primary", "maxmemory-policy", before)
        redis.query("primary", "FLUSHALL")


def test_a_killed_redis_refuses_and_a_restarted_one_is_empty():
    with own(Redis) as server:
        server.query("primary", "SET", "k", 1)
        port = server.ports["primary"]

        server.kill("primary")
        with pytest.raises(driver.ConnectionError):
            server.query("primary", "PING")
        server.restart("primary")

        assert server.ports["primary"] == port
        assert server.query("primary", "GET", "k") is None


def test_a_frozen_redis_answers_when_it_is_thawed(redis, monkeypatch):
    monkeypatch.setattr("tests.servers.redis.ANSWERS_WITHIN", 0.1)
    redis.freeze("primary")
    try:
        with pytest.raises(driver.TimeoutError):
            redis.query("primary", "PING")
    finally:
        redis.thaw("primary")
    assert redis.query("primary", "PING") == "PONG"


@pytest.fixture(scope="module")
def cluster() -> RedisCluster:
    return get(RedisCluster)


def test_a_slot_of_the_cluster_moves(cluster):
    slot = cluster.query("node1", "CLUSTER", "KEYSLOT", "{moved}a")
    source = cluster.owner("{moved}a")
    target = next(role for role in cluster.roles if role != source)
    cluster.query(source, "SET", "{moved}a", 1)

    cluster.begin_move(slot, source, target)
    with pytest.raises(driver.exceptions.AskError):
        cluster.query(source, "GET", "{moved}b")
    cluster.move_keys(slot, source, target)
    cluster.end_move(slot, source, target)
    try:
        with pytest.raises(driver.exceptions.MovedError):
            cluster.query(source, "GET", "{moved}a")
        assert cluster.query(target, "GET", "{moved}a") == "1"
    finally:
        cluster.move_slot(slot, target, source)
        cluster.query(source, "DEL", "{moved}a")


def test_a_node_that_is_started_again_belongs_to_the_cluster_still():
    with own(RedisCluster) as server:
        role = server.owner("k")
        server.query(role, "SET", "k", 1)

        server.kill(role)
        server.restart(role)
        server.wait_until(server.whole, "the cluster")

        assert server.owner("k") == role
        assert server.query(role, "GET", "k") is None


def test_the_sentinels_put_the_replica_in_a_dead_primarys_place():
    with own(RedisSentinel) as server:
        server.query("primary", "SET", "k", 1)
        caught_up(server)

        assert server.failover() == "replica"
        server.query("replica", "SET", "l", 2)
        server.restart("primary")
        server.wait_until(server.ready, "the old primary as a replica")
        caught_up(server)

        assert server.query("primary", "MGET", "k", "l") == ["1", "2"]
        with pytest.raises(driver.ReadOnlyError):
            server.query("primary", "SET", "k", 3)


@pytest.fixture
def proxied(redis) -> Iterator[tuple[Proxy, driver.Connection]]:
    """A proxy before Redis, and a connection through it that waits half a second at most."""
    with Proxy(redis.ports["primary"]) as proxy:
        connection = driver.Connection(port=proxy.port, protocol=2, socket_timeout=0.5, socket_connect_timeout=0.5)
        yield proxy, connection
        connection.disconnect()


def ask(connection: driver.Connection, *command: str) -> Any:
    connection.send_command(*command)
    return connection.read_response()


def test_the_proxy_passes_on_and_delays(proxied):
    proxy, connection = proxied
    assert ask(connection, "PING") == b"PONG"

    proxy.delay = 0.05
    begun = time.monotonic()
    assert ask(connection, "PING") == b"PONG"
    assert time.monotonic() - begun >= 0.05
    assert proxy.accepted == 1


def test_the_proxy_cuts_a_reply_in_two(proxied):
    proxy, connection = proxied
    ask(connection, "SET", "cut", "x" * 100)

    proxy.fault = "cut"
    with pytest.raises(driver.ConnectionError):
        ask(connection, "GET", "cut")


def test_the_proxy_swallows_the_reply_of_what_was_done(proxied, redis):
    proxy, connection = proxied
    assert ask(connection, "DEL", "swallowed") in {0, 1}

    proxy.fault = "swallow"
    with pytest.raises(driver.TimeoutError):
        ask(connection, "SET", "swallowed", "1")
    assert redis.query("primary", "GET", "swallowed") == "1"


def test_the_proxy_refuses_and_accepts_again(proxied):
    proxy, connection = proxied
    ask(connection, "PING")

    proxy.refuse()
    with pytest.raises(driver.ConnectionError):
        ask(connection, "PING")
    connection.disconnect()
    with pytest.raises(driver.ConnectionError):
        connection.connect()
    proxy.accept()

    assert ask(connection, "PING") == b"PONG"


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that the servers' own users come through to; pytest's are closed to them, anew with each session."""
    with tempfile.TemporaryDirectory(prefix="noa-harness-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@contextmanager
def run_of(
    name: str, place: Path, python: str = sys.executable, **how: Any
) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Start a server as a run of its own, with its folder in ``place``; yield the run and that folder."""
    before = set(place.glob("noa-perf-*"))
    run = subprocess.Popen(
        [python, "-m", "tests.servers", name],
        stdout=subprocess.PIPE,
        env={**how.pop("env", os.environ), "TMPDIR": str(place)},
        text=True,
        start_new_session=True,
        **how,
    )
    assert run.stdout is not None
    try:
        assert re.match(rf"{name} (primary|node1): \w+://", run.stdout.readline())
        (folder,) = (one for one in place.glob(f"noa-perf-{name}-*") if one not in before)
        assert list(processes_in(folder))
        yield run, folder
    finally:
        run.terminate()
        run.wait(base.READY_WITHIN)
        run.stdout.close()


def assert_gone(folder: Path) -> None:
    until(lambda: not list(processes_in(folder)), "processes left")
    until(lambda: not folder.exists(), "folder left")


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("postgres", signal.SIGKILL),
        ("postgres", signal.SIGINT),
        ("postgres", signal.SIGTERM),
        ("mariadb", signal.SIGKILL),
        ("pgbouncer", signal.SIGTERM),
        ("redis", signal.SIGTERM),
        ("redis_cluster", signal.SIGKILL),
        ("redis_sentinel", signal.SIGKILL),
    ],
)
def test_nothing_is_left_however_the_run_ends(place, name, number):
    with run_of(name, place) as (run, folder):
        run.send_signal(number)
        run.wait(base.READY_WITHIN)

    assert_gone(folder)


def watchdog_of(run: subprocess.Popen[str]) -> int:
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == run.pid and "watchdog.py" in (path / "cmdline").read_text():
                return int(path.name)
    raise AssertionError("no watchdog")


def test_what_is_left_without_a_watchdog_is_swept_by_the_next_run(place):
    with run_of("postgres", place) as (run, left):
        os.kill(watchdog_of(run), signal.SIGKILL)
        run.kill()
        run.wait(base.READY_WITHIN)
    assert list(processes_in(left))

    with run_of("mariadb", place) as (_, alive):
        assert_gone(left)
        with run_of("postgres", place):
            assert list(processes_in(alive))


def test_folders_that_nobody_signed_and_those_of_the_living_are_left_alone(tmp_path):
    unsigned, living, dead = (tmp_path / f"noa-perf-{name}" for name in ("unsigned", "living", "dead"))
    for folder in (unsigned, living, dead):
        folder.mkdir()
    sweep.sign(living)
    (dead / sweep.OWNER).write_text(f"{os.getpid()} 1")  # our number, and another process's time

    sweep.sweep(tmp_path)

    assert [folder.exists() for folder in (unsigned, living, dead)] == [True, True, False]


@pytest.mark.parametrize(
    ("cls", "role"),
    [(Postgres, "primary"), (Mariadb, "primary"), (RedisCluster, "node1"), (RedisSentinel, "primary")],
)
def test_a_port_that_was_taken_meanwhile_is_left_for_another(monkeypatch, cls, role):
    free = base.free_port
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        taken = squatter.getsockname()[1]
        offered = iter([taken])
        monkeypatch.setattr(base, "free_port", lambda: next(offered, None) or free())
        with own(cls) as server:
            assert server.ports[role] != taken
            assert next(offered, None) is None


def test_another_run_on_the_port_is_not_taken_for_ours(monkeypatch, postgres):
    free = base.free_port
    offered = iter([postgres.ports["primary"]])
    monkeypatch.setattr(base, "free_port", lambda: next(offered, None) or free())

    with own(Postgres) as server:
        assert server.ports["primary"] != postgres.ports["primary"]


def test_a_server_that_dies_of_something_else_is_not_tried_again(monkeypatch):
    asked = []

    class Dying(Server):
        name = "dying"
        programs: ClassVar[dict[str, str]] = {"false": "coreutils"}

        def start(self) -> None:
            def start(port: int) -> None:
                asked.append(port)
                self.spawn("one", "false")
                self.wait_until(lambda: False, "one")

            self.settle("one", start)

    with pytest.raises(RuntimeError, match="did not come up"), own(Dying):
        pass
    assert len(asked) == 1


def start_in(place: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.servers", "postgres"]
    return subprocess.run(
        command, env={**os.environ, "TMPDIR": place}, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of two megabytes, where we may mount one."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", tmp_path], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def test_a_full_disk_is_named(small_disk):
    done = start_in(str(small_disk))

    assert done.returncode == 2
    assert re.fullmatch(rf"postgres needs \d+ MB, and {small_disk} has [12] left. Set TMPDIR to .*\n", done.stderr)
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_cannot_be_written_to_is_named(small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)

    done = start_in(str(small_disk))

    assert done.returncode == 2
    assert done.stderr.startswith(f"postgres cannot make a folder in {small_disk}: Read-only file system.")


def python_for(how: dict[str, Any]) -> str | None:
    """Return a Python that the user in ``how`` may run, with our packages: this one, or Debian's."""
    for python in (sys.executable, "/usr/bin/python3"):
        with suppress(PermissionError, FileNotFoundError):
            command = [python, "-c", "import tests.servers.registry"]
            if subprocess.run(command, check=False, capture_output=True, **how).returncode == 0:
                return python
    return None


@pytest.mark.parametrize("name", ["postgres", "mariadb", "redis_sentinel"])
def test_it_needs_no_root(place, name):
    """As nobody; where the tests are not root, all of them show it."""
    if os.geteuid() != 0:
        pytest.skip("not root: every test here shows it")
    nobody = pwd.getpwnam("nobody")
    path = {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), sysconfig.get_path("purelib")])}
    how: dict[str, Any] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "env": os.environ | path}
    python = python_for(how)
    if python is None:
        pytest.skip("nobody may not run a Python that has our packages")
    os.chown(place, nobody.pw_uid, nobody.pw_gid)

    with run_of(name, place, python, **how) as (_, folder):
        assert folder.stat().st_uid == nobody.pw_uid
    assert_gone(folder)


def test_an_endpoint_of_s3_keeps_what_it_is_given():
    client = get(S3).client()
    client.create_bucket(Bucket="harness")
    client.put_object(Bucket="harness", Key="a", Body=b"1")
    assert client.get_object(Bucket="harness", Key="a")["Body"].read() == b"1"
    # Releases move their pointer by this, so the endpoint has to know it.
    with pytest.raises(client.exceptions.ClientError, match=r"PreconditionFailed|412"):
        client.put_object(Bucket="harness", Key="a", Body=b"2", IfNoneMatch="*")


def test_varnish_asks_the_origin_that_it_is_put_before():
    varnish = get(Varnish)
    for text in (b"one", b"two"):

        class Origin(http.server.BaseHTTPRequestHandler):
            answer = text

            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(self.answer)))
                self.end_headers()
                self.wfile.write(self.answer)

            def log_message(self, *args):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin) as origin:
            threading.Thread(target=origin.serve_forever, daemon=True).start()
            varnish.put_before(f"http://127.0.0.1:{origin.server_address[1]}")
            with urllib.request.urlopen(varnish.urls()["varnish"], timeout=base.READY_WITHIN) as answer:
                assert answer.read() == text
            origin.shutdown()


def test_node_runs_what_npm_brought(tmp_path):
    node = get(Node)
    script = tmp_path / "a.js"
    script.write_text("console.log(require('lodash').sum([1, 2]))")
    (tmp_path / "node_modules").symlink_to(node.packages())
    assert node.run_script(script) == "3\n"
    script.write_text("throw new Error('as it should')")
    with pytest.raises(AssertionError, match="as it should"):
        node.run_script(script)


def test_a_missing_program_names_the_package():
    class Absent(Server):
        name = "absent"
        programs: ClassVar[dict[str, str]] = {"no-such-program": "no-such-package"}

    watchdog = Watchdog()
    try:
        with pytest.raises(MissingServer, match="apt-get install no-such-package"):
            Absent(watchdog)
        assert Absent.missing() == {"no-such-package"}
    finally:
        watchdog.dismiss()


def test_an_unknown_name_lists_the_known_ones():
    done = subprocess.run(
        [sys.executable, "-m", "tests.servers", "oracle"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "postgres" in done.stderr
