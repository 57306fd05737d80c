"""MariaDB: a primary and a replica that follows it by GTID; asked by its own client, so that no driver is needed."""

from __future__ import annotations

import subprocess
import sysconfig
from typing import Any, ClassVar

from tests.servers.base import ANSWERS_WITHIN, READY_WITHIN, Server

CONFIGURATION = """
[mariadbd]
bind-address = 127.0.0.1
socket = mariadb.sock
skip-name-resolve
character-set-server = utf8mb4
log-bin = binlog
log-bin-trust-function-creators = 1
binlog-format = ROW
sync-binlog = 0
innodb-flush-log-at-trx-commit = 0
innodb-doublewrite = 0
innodb-buffer-pool-size = 64M
innodb-log-file-size = 16M
innodb-stats-auto-recalc = 0
max-connections = 120
performance-schema = 1
userstat = 1
"""
"""Durability is off, for nothing here outlives the run; statistics stay out of the way of what tests arrange."""

SITE = """
    CREATE USER 'site'@'127.0.0.1';
    GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, REFERENCES, INDEX, ALTER, CREATE TEMPORARY TABLES, LOCK TABLES,
    EXECUTE, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, TRIGGER, PROCESS, RELOAD ON *.*
    TO 'site'@'127.0.0.1'
"""
"""Whom the tests connect as: ``root`` may write on a replica as well."""


SECURED = "'secured'@'127.0.0.1' IDENTIFIED BY 'first';"


class Mariadb(Server):
    """A private pair; ``root`` and ``site`` have no password, from loopback only."""

    name = "mariadb"
    # The -core packages bring the programs alone: no service, and nothing in /etc to mind.
    programs: ClassVar[dict[str, str]] = {
        "mariadb-install-db": "mariadb-server-core",
        "mariadbd": "mariadb-server-core",
        "mariadb": "mariadb-client-core",
        # The driver, mysqlclient, comes as source.
        "gcc": "gcc",
        "pkg-config": "pkg-config",
    }
    files: ClassVar[dict[str, str]] = {
        "/usr/include/mariadb/mysql.h": "libmariadb-dev",
        "/usr/include/stdio.h": "libc6-dev",
        f"{sysconfig.get_path('include')}/Python.h": "python3-dev",
    }
    folders = ("/usr/sbin",)
    refuses_root = True
    roles: tuple[str, ...] = ("primary", "replica")

    def start(self) -> None:
        """Make both from nothing; the replica then replays what the primary has done from its first moment on."""
        self._start_all()
        self.query(
            "replica",
            f"CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {self.ports['primary']}, "
            "MASTER_USER = 'root', MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1",
        )
        self.query("replica", "SET GLOBAL read_only = 1; START SLAVE")
        self.query("primary", SITE)
        self.catch_up("replica")

    def _start_all(self) -> None:
        (self.folder / "mariadb.cnf").write_text(CONFIGURATION)
        for role in self.roles:
            self.run(
                "mariadb-install-db",
                "--no-defaults",
                f"--datadir={self.folder / role}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            )
            self._serve(role)

    def urls(self) -> dict[str, str]:
        """Return a URL for each role."""
        return {role: f"mysql://site@127.0.0.1:{port}/" for role, port in self.ports.items()}

    def settings(self, role: str = "primary", name: str = "") -> dict[str, Any]:
        """Return an entry of Django's DATABASES."""
        return {
            "ENGINE": "django.db.backends.mysql",
            "HOST": "127.0.0.1",
            "PORT": str(self.ports[role]),
            "USER": "site",
            "NAME": name,
        }

    def query(self, role: str, sql: str, *, user: str = "root") -> list[tuple[str, ...]]:
        """Run SQL on a connection of its own; return the rows, each value as text."""
        done = subprocess.run(
            [
                *(self.paths["mariadb"], "--no-defaults", "--batch", "--raw", "--skip-column-names"),
                *("--host=127.0.0.1", f"--port={self.ports[role]}", f"--connect-timeout={ANSWERS_WITHIN}"),
                *(f"--user={user}", "--execute", sql),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=READY_WITHIN,
        )
        if done.returncode:
            raise RuntimeError(f"{role}: {done.stderr.strip()}")
        return [tuple(line.split("\t")) for line in done.stdout.splitlines()]

    def pause(self, replica: str) -> None:
        """Stop a replica's replay; it goes on receiving, and stays behind."""
        self.query(replica, "STOP SLAVE SQL_THREAD")

    def resume(self, replica: str) -> None:
        """Let a paused replica replay again."""
        self.query(replica, "START SLAVE SQL_THREAD")

    def catch_up(self, replica: str) -> None:
        """Return when a replica has replayed all that the primary has written so far."""
        ((position,),) = self.query("primary", "SELECT @@gtid_binlog_pos")
        self.wait_until(
            lambda: self.query(replica, f"SELECT MASTER_GTID_WAIT('{position}', 1)") == [("0",)],
            f"{replica} at {position}",
        )

    def promote(self, replica: str) -> None:
        """Make a replica a primary of its own."""
        self.query(replica, "STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0")

    def begin(self, role: str, port: int) -> None:
        """Start the server of ``role`` on ``port``; return when it answers."""
        options = (f"--defaults-file={self.folder / 'mariadb.cnf'}", f"--datadir={self.folder / role}")
        number = str(self.roles.index(role) + 1)
        self.spawn(role, "mariadbd", *options, f"--port={port}", "--server-id", number)
        self.wait_until(lambda: self._answers(role), role)

    def _serve(self, role: str) -> None:
        self.settle(role, lambda port: self.begin(role, port))

    def _answers(self, role: str) -> bool:
        # Whoever has taken the port may be a MariaDB too.
        try:
            return self.query(role, "SELECT @@datadir") == [(f"{self.folder / role}/",)]
        except RuntimeError:
            return False


class MariadbAlone(Mariadb):
    """One without a replica, for tests that stop it, fill it up or kill it."""

    name = "mariadb-alone"
    roles = ("primary",)

    def start(self) -> None:
        """Make it from nothing, with a user ``secured`` that needs a password."""
        self._start_all()
        self.query("primary", SITE)
        self.query("primary", SITE.replace("'site'", "'secured'").replace("'secured'@'127.0.0.1';", SECURED, 1))
