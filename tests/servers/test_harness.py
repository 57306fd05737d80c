"""What later tests rely on: servers that behave, and that leave nothing behind however the run ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, TypeVar

import pytest

from tests.servers import base
from tests.servers.base import MissingServer, Server, Watchdog
from tests.servers.mariadb import Mariadb
from tests.servers.postgres import Postgres
from tests.servers.registry import get

pytestmark = pytest.mark.server

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


def processes_in(folder: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if str((path / "cwd").readlink()).startswith(folder):
                found.append((path / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("postgres", signal.SIGKILL),
        ("postgres", signal.SIGINT),
        ("postgres", signal.SIGTERM),
        ("mariadb", signal.SIGKILL),
    ],
)
def test_nothing_is_left_however_the_run_ends(tmp_path, name, number):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    for folder in (tmp_path, *tmp_path.parents[:-1]):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o711)  # the server's own user has to come through
    run = subprocess.Popen(
        [sys.executable, "-m", "tests.servers", name],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
        start_new_session=True,
    )
    assert run.stdout is not None
    assert re.match(rf"{name} primary: \w+://", run.stdout.readline())
    (folder,) = map(str, tmp_path.glob(f"noa-perf-{name}-*"))
    assert processes_in(folder)

    run.send_signal(number)
    run.wait(base.READY_WITHIN)
    run.stdout.close()

    until(lambda: not processes_in(folder), f"processes left: {processes_in(folder)}")
    until(lambda: not Path(folder).exists(), "folder left")


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
