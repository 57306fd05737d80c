"""PostgreSQL: a primary and two streaming standbys, with hypopg, pgstattuple and pg_stat_statements to be created."""

from __future__ import annotations

from typing import Any, ClassVar

import psycopg

from tests.servers.base import ANSWERS_WITHIN, Server

CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
full_page_writes = off
wal_level = replica
max_wal_senders = 10
max_connections = 120
hot_standby = on
shared_buffers = 64MB
shared_preload_libraries = 'pg_stat_statements'
log_min_messages = warning
autovacuum_naptime = 3600
"""
"""Durability is off, for nothing here outlives the run; autovacuum stays out of the way of what tests arrange."""


class Postgres(Server):
    """A private cluster; the superuser is ``postgres``, without a password, from loopback only."""

    name = "postgres"
    programs: ClassVar[dict[str, str]] = {
        "initdb": "postgresql-15",
        "pg_basebackup": "postgresql-15",
        "postgres": "postgresql-15",
    }
    folders: ClassVar[tuple[str, ...]] = ("/usr/lib/postgresql/15/bin",)
    files: ClassVar[dict[str, str]] = {
        "/usr/share/postgresql/15/extension/hypopg.control": "postgresql-15-hypopg",
        "/usr/share/postgresql/15/extension/pgstattuple.control": "postgresql-15",
        "/usr/share/postgresql/15/extension/pg_stat_statements.control": "postgresql-15",
    }
    extensions = ("hypopg", "pgstattuple", "pg_stat_statements")
    refuses_root = True
    user = "postgres"
    roles: tuple[str, ...] = ("primary", "standby1", "standby2")

    def start(self) -> None:
        """Make the primary, copy it twice, and return when all three answer."""
        self.run(
            "initdb", "-D", "primary", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C.UTF-8"
        )
        with (self.folder / "primary" / "postgresql.conf").open("a") as configuration:
            configuration.write(CONFIGURATION)
        self._serve("primary")
        for standby in self.roles[1:]:
            source = f"host=127.0.0.1 port={self.ports['primary']} user=postgres application_name={standby}"
            self.run("pg_basebackup", "-D", standby, "-d", source, "-R", "-X", "stream", "-c", "fast", "--no-sync")
            self._serve(standby)

    def urls(self) -> dict[str, str]:
        """Return a libpq URL for each role."""
        return {role: f"postgresql://postgres@127.0.0.1:{port}/postgres" for role, port in self.ports.items()}

    def settings(self, role: str = "primary", name: str = "postgres") -> dict[str, Any]:
        """Return an entry of Django's DATABASES."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": "127.0.0.1",
            "PORT": str(self.ports[role]),
            "USER": "postgres",
            "NAME": name,
        }

    def query(self, role: str, sql: str) -> list[tuple[Any, ...]]:
        """Run one statement on a connection of its own, outside a transaction; return its rows."""
        with psycopg.connect(self.urls()[role], autocommit=True, connect_timeout=ANSWERS_WITHIN) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def pause(self, standby: str) -> None:
        """Stop a standby's replay; it goes on receiving, and stays behind."""
        self.query(standby, "SELECT pg_wal_replay_pause()")
        self.wait_until(
            lambda: self.query(standby, "SELECT pg_get_wal_replay_pause_state()") == [("paused",)], f"{standby} paused"
        )

    def resume(self, standby: str) -> None:
        """Let a paused standby replay again."""
        self.query(standby, "SELECT pg_wal_replay_resume()")

    def catch_up(self, standby: str) -> None:
        """Return when a standby has replayed all that the primary has written so far."""
        (position,) = self.query("primary", "SELECT pg_current_wal_lsn()")[0]
        self.wait_until(
            lambda: self.query(standby, f"SELECT pg_last_wal_replay_lsn() >= '{position}'") == [(True,)],
            f"{standby} at {position}",
        )

    def promote(self, standby: str) -> None:
        """Make a standby a primary of its own."""
        self.query(standby, "SELECT pg_promote(true)")

    def begin(self, role: str, port: int) -> None:
        """Start the server of ``role`` on ``port``; return when it answers."""
        self.spawn(role, "postgres", "-D", role, "-p", str(port))
        self.wait_until(lambda: self._answers(role), role)

    def _serve(self, role: str) -> None:
        self.settle(role, lambda port: self.begin(role, port))

    def _answers(self, role: str) -> bool:
        # Whoever has taken the port may be a PostgreSQL too.
        try:
            return self.query(role, "SHOW data_directory") == [(str(self.folder / role),)]
        except psycopg.OperationalError:
            return False


class PostgresAlone(Postgres):
    """One without standbys, for tests that stop it, fill it up or kill it."""

    name = "postgres-alone"
    roles = ("primary",)

    def start(self) -> None:
        """Make it, with a role ``secured`` that needs a password."""
        super().start()
        rules = self.folder / "primary" / "pg_hba.conf"
        rules.write_text("host all secured 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
        self.query("primary", "CREATE ROLE secured LOGIN PASSWORD 'first'")
        self.query("primary", "SELECT pg_reload_conf()")
