"""Both engines on servers of their own, with the server's count of its backends as the judge."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

from django.db.utils import ConnectionHandler

from noa_perf.pool import registry
from tests.servers.mariadb import MariadbAlone
from tests.servers.postgres import PostgresAlone
from tests.servers.registry import get

GUARD = 60.0
"""Seconds after which something hangs."""


def until(condition: Callable[[], Any], what: str = "it does not come true") -> None:
    """Return when ``condition`` holds."""
    deadline = time.monotonic() + GUARD
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


class Engine:
    """A database of its own, reached by a pooled engine."""

    vendor: str
    server: Any
    kill_all: str

    def __init__(self, alias: str = "default", **pool: Any) -> None:
        self.pool_options = pool
        self.alias = alias
        self.name = f"pool_{secrets.token_hex(4)}"
        self.make()
        self.settings = {**self.where(), "CONN_MAX_AGE": 0}
        self.settings["OPTIONS"] = {**self.settings.get("OPTIONS", {}), "noa_pool": pool or True}
        self.connections = ConnectionHandler(
            {"default": {}, alias: self.settings} if alias != "default" else {alias: self.settings}
        )

    def make(self) -> None:
        raise NotImplementedError

    def where(self) -> dict[str, Any]:
        raise NotImplementedError

    def backends(self) -> list[int]:
        """Return what the server says: who is connected on our behalf."""
        raise NotImplementedError

    def kill(self) -> int:
        """Kill all of them; return how many there were."""
        raise NotImplementedError

    @property
    def connection(self) -> Any:
        return self.connections[self.alias]

    @property
    def pool(self) -> Any:
        return self.connection.noa_pool

    def close(self) -> None:
        self.connection.close()
        self.connection.close_pool()
        until(lambda: not self.backends(), "connections are left open")
        self.drop()

    def drop(self) -> None:
        raise NotImplementedError

    def scalar(self, sql: str, params: Any = None) -> Any:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None

    def request(self, work: Callable[[], Any]) -> Any:
        """Do ``work`` as a request does: what it took is given back at its end."""
        try:
            return work()
        finally:
            self.connection.close()

    def ask(self, sql: str = "SELECT 1") -> Any:
        """Ask something in a request of its own."""
        return self.request(lambda: self.scalar(sql))


class Postgresql(Engine):
    vendor = "postgresql"

    def make(self) -> None:
        self.server = get(PostgresAlone)
        self.server.query("primary", f"CREATE DATABASE {self.name}")

    def where(self) -> dict[str, Any]:
        return {**self.server.settings("primary", self.name), "ENGINE": "noa_perf.pool.backends.postgresql"}

    def backends(self) -> list[int]:
        rows = self.server.query("primary", f"SELECT pid FROM pg_stat_activity WHERE datname = '{self.name}'")
        return [pid for (pid,) in rows]

    def kill(self) -> int:
        sql = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.name}'"
        return len(self.server.query("primary", sql))

    def drop(self) -> None:
        self.server.query("primary", f"DROP DATABASE {self.name} WITH (FORCE)")


class Mysql(Engine):
    vendor = "mysql"

    def make(self) -> None:
        self.server = get(MariadbAlone)
        self.server.query("primary", f"CREATE DATABASE {self.name}")

    def where(self) -> dict[str, Any]:
        return {**self.server.settings("primary", self.name), "ENGINE": "noa_perf.pool.backends.mysql"}

    def backends(self) -> list[int]:
        rows = self.server.query("primary", f"SELECT id FROM information_schema.processlist WHERE db = '{self.name}'")
        return [int(pid) for (pid,) in rows]

    def kill(self) -> int:
        all_of_them = self.backends()
        for pid in all_of_them:
            self.server.query("primary", f"KILL {pid}")
        return len(all_of_them)

    def drop(self) -> None:
        self.server.query("primary", f"DROP DATABASE {self.name}")


ENGINES = {"postgresql": Postgresql, "mysql": Mysql}


class Threads:
    """Threads that do work; what was raised in one is raised when they are joined."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self.errors: list[BaseException] = []
        self.results: list[Any] = []

    def start(self, work: Callable[[], Any], many: int = 1) -> None:
        def run() -> None:
            try:
                self.results.append(work())
            except BaseException as error:  # noqa: BLE001  (told at the end)
                self.errors.append(error)

        for _ in range(many):
            thread = threading.Thread(target=run)
            self._threads.append(thread)
            thread.start()

    def join(self) -> list[Any]:
        for thread in self._threads:
            thread.join(GUARD)
            assert not thread.is_alive(), "a thread hangs"
        if self.errors:
            raise self.errors[0]
        return self.results


__all__ = ["ENGINES", "Engine", "Threads", "registry", "until"]
