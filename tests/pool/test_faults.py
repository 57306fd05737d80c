"""What goes wrong with servers, for real: nobody who had not begun a transaction sees it, and nothing is left open."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from django.db.utils import DatabaseError, InterfaceError, OperationalError

from noa_perf.pool import registry
from noa_perf.pool.exceptions import PoolTimeout
from tests.pool.engines import GUARD, Engine, Threads, until
from tests.servers.base import processes_below
from tests.servers.proxy import CHUNK, Proxy

pytestmark = pytest.mark.server

ROOT = Path(__file__).parent.parent.parent


class Lingering(Proxy):
    """Passes on what a server says before it closes, and says that it closed to whoever sends more."""

    def __init__(self, target: int) -> None:
        self.ended = threading.Event()
        self._over: set[tuple[socket.socket, socket.socket]] = set()
        super().__init__(target)

    def __enter__(self) -> Lingering:
        return self

    def _requests(self, pair: tuple[socket.socket, socket.socket]) -> None:
        client, server = pair
        with suppress(OSError):
            while (data := client.recv(CHUNK)) and pair not in self._over:
                server.sendall(data)
        self._drop(pair)

    def _replies(self, pair: tuple[socket.socket, socket.socket]) -> None:
        client, server = pair
        with suppress(OSError):
            while data := server.recv(CHUNK):
                client.sendall(data)
        self._over.add(pair)
        self.ended.set()


class TestKilled:
    def test_idle_ones(self, engine: Callable[..., Engine]) -> None:
        one = engine(max_size=5)
        held = Threads()
        gate = threading.Barrier(5)
        held.start(lambda: one.request(lambda: (one.scalar("SELECT 1"), gate.wait(GUARD))), 5)
        held.join()
        assert one.kill() == 5
        for _ in range(10):
            assert one.ask() == 1
        assert one.pool.figures.recycled["dead"] >= 1

    def test_between_two_statements_of_a_request(self, engine: Callable[..., Engine]) -> None:
        one = engine()

        def work() -> None:
            one.scalar("SELECT 1")
            one.kill()
            until(lambda: not one.backends())
            assert one.scalar("SELECT 2") == 2

        one.request(work)

    def test_before_a_write(self, engine: Callable[..., Engine]) -> None:
        one = engine()
        one.ask("CREATE TABLE kept (x int)")
        one.kill()
        until(lambda: not one.backends())
        one.ask("INSERT INTO kept VALUES (1)")
        assert one.ask("SELECT count(*) FROM kept") == 1

    def test_before_a_transaction(self, engine: Callable[..., Engine]) -> None:
        one = engine()
        one.ask("CREATE TABLE kept (x int)")

        def work() -> None:
            one.scalar("SELECT 1")
            one.kill()
            until(lambda: not one.backends())
            one.connection.set_autocommit(False)
            one.scalar("INSERT INTO kept VALUES (1)")
            one.connection.commit()
            one.connection.set_autocommit(True)

        one.request(work)
        assert one.ask("SELECT count(*) FROM kept") == 1

    def test_within_a_transaction_it_is_told(self, engine: Callable[..., Engine]) -> None:
        one = engine()
        one.ask("CREATE TABLE kept (x int)")

        def work() -> None:
            one.connection.set_autocommit(False)
            one.scalar("INSERT INTO kept VALUES (1)")
            one.kill()
            until(lambda: not one.backends())
            one.scalar("INSERT INTO kept VALUES (2)")

        with pytest.raises(DatabaseError):
            one.request(work)
        assert one.ask("SELECT count(*) FROM kept") == 0

    @pytest.mark.parametrize("how", ["statement", "driver"])
    def test_within_a_transaction_that_django_does_not_know_it_is_told(
        self, engine: Callable[..., Engine], vendor: str, how: str
    ) -> None:
        one = engine(max_size=2)
        one.ask("CREATE TABLE kept (x int)")
        kept: list[Any] = []

        def work() -> None:
            one.connection.ensure_connection()
            if how == "statement":
                one.scalar("BEGIN")
            elif vendor == "postgresql":
                kept.append(one.connection.connection.transaction())
                kept[0].__enter__()
            else:
                one.connection.connection.autocommit(False)
            one.scalar("INSERT INTO kept VALUES (1)")
            one.kill()
            with pytest.raises(OperationalError):
                one.scalar("SELECT 1")
            with pytest.raises((OperationalError, InterfaceError)):
                one.scalar("INSERT INTO kept VALUES (2)")

        one.request(work)
        assert one.ask("SELECT count(*) FROM kept") == 0

    def test_with_a_session_that_was_changed_it_is_told(self, engine: Callable[..., Engine], vendor: str) -> None:
        one = engine()

        def work() -> None:
            one.scalar("SET statement_timeout = 12345" if vendor == "postgresql" else "SET max_statement_time = 12")
            one.kill()
            until(lambda: not one.backends())
            one.scalar("SELECT 1")

        with pytest.raises(DatabaseError):
            one.request(work)
        assert one.ask() == 1

    def test_before_a_write_by_a_backend_that_says_so_and_closes_later(
        self, engine: Callable[..., Engine], vendor: str
    ) -> None:
        if vendor != "postgresql":
            return  # MariaDB says nothing
        one = engine(max_size=1)
        one.ask("CREATE TABLE kept (x int)")
        one.connection.close_pool()
        with Lingering(one.server.ports["primary"]) as proxy:
            one.settings["PORT"] = str(proxy.port)
            del one.connections[one.alias]

            def work() -> None:
                one.scalar("SELECT 1")
                one.kill()
                assert proxy.ended.wait(GUARD)
                one.scalar("INSERT INTO kept VALUES (1)")

            one.request(work)
            assert one.ask("SELECT count(*) FROM kept") == 1
            one.connection.close_pool()

    def test_with_an_isolation_level_of_its_own_it_is_told(self, engine: Callable[..., Engine], vendor: str) -> None:
        if vendor != "postgresql":
            return  # where a statement sets it
        from psycopg import IsolationLevel

        one = engine()

        def work() -> None:
            one.scalar("SELECT 1")
            one.connection.connection.isolation_level = IsolationLevel.SERIALIZABLE
            one.kill()
            until(lambda: not one.backends())
            one.scalar("SELECT 1")

        with pytest.raises(DatabaseError):
            one.request(work)
        assert one.ask() == 1

    def test_all_at_once_under_two_hundred_threads(self, engine: Callable[..., Engine]) -> None:
        one = engine(max_size=20, timeout=GUARD)
        done = threading.Event()
        asked = [0]
        guard = threading.Lock()

        def work() -> None:
            while not done.is_set():
                assert one.ask() == 1
                with guard:
                    asked[0] += 1

        threads = Threads()
        threads.start(work, 200)
        for _ in range(3):
            before = asked[0]
            until(lambda before=before: asked[0] > before + 400)  # type: ignore[misc]
            assert one.kill() > 0
        before = asked[0]
        until(lambda: asked[0] > before + 400)
        done.set()
        threads.join()
        assert one.pool.figures.recycled["dead"] > 0
        assert one.pool.state().used == 0
        assert len(one.backends()) <= 20


class TestAway:
    @pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["stopped", "killed"])
    def test_a_restart_is_waited_for(self, engine: Callable[..., Engine], vendor: str, how: signal.Signals) -> None:
        one = engine(max_size=5, timeout=GUARD)
        how = signal.SIGTERM if vendor == "mysql" and how == signal.SIGINT else how
        threads = Threads()
        done = threading.Event()

        def work() -> None:
            while not done.is_set():
                assert one.ask() == 1

        threads.start(work, 10)
        until(lambda: one.pool.state().uses > 50)
        one.server.end("primary", how)
        one.server.begin("primary", one.server.ports["primary"])
        before = one.pool.state().uses
        until(lambda: one.pool.state().uses > before + 50)
        done.set()
        threads.join()
        until(lambda: len(one.backends()) <= 5)

    def test_one_that_stays_away_is_told_within_the_timeout(self, engine: Callable[..., Engine], vendor: str) -> None:
        one = engine(timeout=2.0)  # longer than the gate stays shut, for the last request
        assert one.ask() == 1
        one.server.end("primary", signal.SIGINT if vendor == "postgresql" else signal.SIGTERM)
        try:
            began = time.monotonic()
            with pytest.raises(PoolTimeout, match=r"'default'.*cannot be reached"):
                one.ask()
            assert time.monotonic() - began < GUARD
        finally:
            one.server.begin("primary", one.server.ports["primary"])
        assert one.ask() == 1

    def test_one_that_stands_still_is_found_out(self, engine: Callable[..., Engine]) -> None:
        one = engine(max_size=3, timeout=3.0, ping_after=0.0, ping_timeout=0.2)
        assert one.ask() == 1
        frozen = processes_below(one.server.processes["primary"].pid)
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(OperationalError):
                one.ask()
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
        assert one.ask() == 1
        assert one.pool.figures.recycled["silent"] == 1
        until(lambda: len(one.backends()) == one.pool.state().open)


class TestRefused:
    def secured(self, one: Engine, password: Any, vendor: str) -> Engine:
        if vendor == "postgresql":
            one.server.query("primary", f"GRANT ALL ON DATABASE {one.name} TO secured")
        one.settings["USER"] = "secured"
        if callable(password):
            one.settings["OPTIONS"]["noa_pool"]["password"] = password
        else:
            one.settings["PASSWORD"] = password
        return one

    def rotate(self, one: Engine, vendor: str, password: str) -> None:
        if vendor == "postgresql":
            one.server.query("primary", f"ALTER ROLE secured PASSWORD '{password}'")
        else:
            one.server.query("primary", f"SET PASSWORD FOR 'secured'@'127.0.0.1' = PASSWORD('{password}')")

    @pytest.fixture(autouse=True)
    def _put_back(self, engine: Callable[..., Engine], vendor: str) -> Iterator[None]:
        yield
        self.rotate(engine(), vendor, "first")

    def test_a_wrong_password_is_told_at_once(self, engine: Callable[..., Engine], vendor: str) -> None:
        one = self.secured(engine(timeout=GUARD), "wrong", vendor)
        with pytest.raises(OperationalError, match=r"(?i)password"):
            one.ask()
        assert one.pool.figures.timeouts == 0

    def test_after_a_rotation_those_that_are_open_go_on(self, engine: Callable[..., Engine], vendor: str) -> None:
        one = self.secured(engine(max_size=2, timeout=0.5), "first", vendor)

        def work() -> None:
            one.scalar("SELECT 1")
            self.rotate(one, vendor, "second")
            threads = Threads()
            threads.start(one.ask)
            with pytest.raises(PoolTimeout, match=r"(?i)cannot be reached.*password"):
                threads.join()

        one.request(work)
        assert one.ask() == 1

    def test_a_callable_is_asked_for_the_new_one(self, engine: Callable[..., Engine], vendor: str) -> None:
        now = ["first"]
        one = self.secured(engine(max_size=2, min_size=0), lambda: now[0], vendor)
        assert one.ask() == 1
        self.rotate(one, vendor, "second")
        now[0] = "second"
        one.pool.drain()
        assert one.ask() == 1

    def test_a_server_that_others_have_filled(self, engine: Callable[..., Engine], vendor: str) -> None:
        one = self.secured(engine(max_size=3, timeout=GUARD), "first", vendor)
        assert one.ask() == 1
        taken = self.fill(one, vendor)
        try:
            threads = Threads()
            threads.start(lambda: [one.ask() for _ in range(20)], 6)
            assert threads.join() == [[1] * 20] * 6, "the one that is open serves them all"
            one.pool.drain()
            until(lambda: not one.backends())
            taken += self.fill(one, vendor)
            one.settings["OPTIONS"]["noa_pool"] = {"timeout": 0.3, "max_size": 3}
            with pytest.raises(PoolTimeout, match=r"(?i)cannot be reached.*(too many|slots)"):
                one.ask()
        finally:
            for connection in taken:
                connection.close()
        until(lambda: self.serves(one))

    def serves(self, one: Engine) -> bool:
        try:
            return bool(one.ask() == 1)
        except PoolTimeout:
            return False

    def fill(self, one: Engine, vendor: str) -> list[Any]:
        taken: list[Any] = []
        try:
            while True:
                taken.append(self.other(one, vendor))
        except Exception:  # noqa: BLE001  (full, in whatever words)
            return taken

    def other(self, one: Engine, vendor: str) -> Any:
        port = one.server.ports["primary"]
        if vendor == "postgresql":
            import psycopg

            return psycopg.connect(f"host=127.0.0.1 port={port} user=secured password=first dbname=postgres")
        import MySQLdb

        return MySQLdb.connect(host="127.0.0.1", port=port, user="secured", password="first")


class TestOwners:
    def test_a_thread_that_dies_holding(self, engine: Callable[..., Engine]) -> None:
        one = engine(max_size=2, timeout=GUARD)
        for _ in range(10):
            threads = Threads()
            threads.start(lambda: one.scalar("SELECT 1"))
            threads.join()
        assert len(one.backends()) <= 2
        until(lambda: one.pool.state().used == 0)
        assert one.pool.figures.orphans >= 8

    def test_one_that_dies_in_a_transaction_leaves_none_open(self, engine: Callable[..., Engine]) -> None:
        one = engine(max_size=1, timeout=GUARD)
        one.ask("CREATE TABLE kept (x int)")

        def work() -> None:
            one.connection.set_autocommit(False)
            one.scalar("INSERT INTO kept VALUES (1)")

        threads = Threads()
        threads.start(work)
        threads.join()
        assert one.ask("SELECT count(*) FROM kept") == 0


def databases(one: Engine) -> dict[str, str]:
    settings = {name: value for name, value in one.settings.items() if name != "TEST"}
    more = {"PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "tests.pool.site_settings"}
    return {**os.environ, "POOL_DATABASES": json.dumps({"default": settings}), **more}


def run(one: Engine, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.pool.site", *arguments],
        cwd=ROOT,
        env=databases(one),
        capture_output=True,
        text=True,
        check=False,
        timeout=GUARD * 2,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


class TestProcesses:
    @pytest.mark.parametrize("url", ["/one?sleep=0.01", "/awaited?sleep=0.01"])
    def test_two_hundred_requests_at_once_on_asgi_hold_no_more_than_the_pool(
        self, engine: Callable[..., Engine], url: str
    ) -> None:
        one = engine(max_size=10, timeout=GUARD)
        told = run(one, "crowd", url, "200")
        assert (told["answers"], told["same"]) == (200, True)
        assert told["sessions"] <= 10
        assert told["state"]["used"] == told["state"]["waiting"] == 0

    def test_who_hangs_up_holds_nothing(self, engine: Callable[..., Engine]) -> None:
        one = engine(max_size=3, timeout=GUARD)
        told = run(one, "cancel", "/awaited?sleep=0.3", "20")
        assert told["state"]["used"] == told["state"]["waiting"] == 0
        assert (told["answers"], told["same"]) == (20, True)
        until(lambda: not one.backends())

    def test_an_interpreter_ends_though_threads_wait(self, engine: Callable[..., Engine]) -> None:
        one = engine(max_size=2, timeout=0.5)
        done = subprocess.run(
            [sys.executable, "-m", "tests.pool.site", "exit"],
            cwd=ROOT,
            env=databases(one),
            capture_output=True,
            text=True,
            check=False,
            timeout=GUARD,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["state"]["waiting"] == 4
        until(lambda: not one.backends())

    def test_a_fork_with_a_warm_pool(self, engine: Callable[..., Engine], vendor: str) -> None:
        one = engine(max_size=3)
        session = "SELECT pg_backend_pid()" if vendor == "postgresql" else "SELECT connection_id()"
        mine = one.scalar(session)
        threads = Threads()
        threads.start(one.ask)
        threads.join()
        before = set(one.backends())
        assert len(before) == 2
        told = self.in_child(lambda: [one.ask(session), one.scalar(session)])
        assert not set(told) & before
        assert one.scalar(session) == mine, "the parent's goes on"
        one.connection.close()
        for _ in range(4):
            assert one.ask() == 1
        until(lambda: set(one.backends()) == before)

    def in_child(self, work: Callable[[], Any]) -> Any:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writing, json.dumps(work()).encode())
            except BaseException as error:  # noqa: BLE001  (told to the parent)
                os.write(writing, json.dumps([repr(error)]).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as told:
            answer = json.loads(told.read())
        os.waitpid(child, 0)
        return answer

    def test_a_child_leaves_the_parents_pool_alone_though_its_wrapper_idled(
        self, engine: Callable[..., Engine]
    ) -> None:
        one = engine(max_size=1)
        one.ask()
        pool = one.pool

        def work() -> list[bool]:
            one.ask()
            return [one.pool is pool, registry.named(one.alias)[0].pool is one.pool]

        assert self.in_child(work) == [False, True]

    def test_a_child_of_a_transaction_is_not_in_it(self, engine: Callable[..., Engine]) -> None:
        one = engine(max_size=3)
        one.ask("CREATE TABLE kept (x int)")
        one.connection.set_autocommit(False)
        one.scalar("INSERT INTO kept VALUES (1)")
        assert self.in_child(lambda: [one.ask("SELECT count(*) FROM kept")]) == [0]
        one.connection.commit()
        one.connection.set_autocommit(True)
        assert one.ask("SELECT count(*) FROM kept") == 1

    def test_gunicorn_with_preload(self, engine: Callable[..., Engine]) -> None:
        import http.client

        from tests.servers.base import free_port

        one = engine(max_size=3)
        port = free_port()
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "tests.pool.site:wsgi", "--preload", "--workers=3", "--threads=2"),
                *(f"--bind=127.0.0.1:{port}", "--worker-class=gthread", "--log-level=error"),
            ],
            cwd=ROOT,
            env={**databases(one), "POOL_WARM": "1"},
        )

        def ask() -> dict[str, Any]:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=GUARD)) as connection:
                connection.request("GET", "/one")
                told: dict[str, Any] = json.loads(connection.getresponse().read())
            return told

        def up() -> bool:
            try:
                ask()
            except OSError:
                return False
            return True

        try:
            until(up)
            told = [ask() for _ in range(100)]
            assert all(answer["same"] for answer in told)
            sessions: dict[int, set[int]] = {}
            for answer in told:
                sessions.setdefault(answer["session"], set()).add(answer["process"])
            assert all(len(processes) == 1 for processes in sessions.values()), "no session is shared"
            assert len({process for processes in sessions.values() for process in processes}) > 1
        finally:
            server.terminate()
            server.wait(GUARD)
        until(lambda: not one.backends())

    def test_celerys_prefork(self, engine: Callable[..., Engine]) -> None:
        from tests.servers.redis import Redis
        from tests.servers.registry import get

        one = engine(max_size=3)
        site = {**databases(one), "POOL_BROKER": get(Redis).urls()["primary"]}
        command = [sys.executable, "-m", "celery", "-A", "tests.pool.worker", "worker", "--pool=prefork"]
        more = ["--concurrency=3", "--loglevel=ERROR", "--without-gossip", "--without-mingle"]
        worker = subprocess.Popen([*command, *more], cwd=ROOT, env={**site, "POOL_WARM": "1"})
        try:
            ask = [sys.executable, "-m", "tests.pool.worker", "60"]
            done = subprocess.run(
                ask, cwd=ROOT, env=site, capture_output=True, text=True, check=False, timeout=GUARD * 2
            )
            assert done.returncode == 0, done.stderr
            told = json.loads(done.stdout)
        finally:
            worker.terminate()
            worker.wait(GUARD)
        assert len(told) == 60
        assert all(answer["same"] for answer in told)
        sessions: dict[int, set[int]] = {}
        for answer in told:
            sessions.setdefault(answer["session"], set()).add(answer["process"])
        assert all(len(processes) == 1 for processes in sessions.values()), "no session is shared"
        until(lambda: not one.backends())
