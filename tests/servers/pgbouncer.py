"""PgBouncer in transaction mode before a PostgreSQL of its own."""

from __future__ import annotations

from typing import ClassVar

import psycopg

from tests.servers.postgres import Postgres, PostgresAlone

SERVERS = 20
"""Connections that it holds to each database."""

CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={primary}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {bouncer}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = {servers}
max_client_conn = 1500
"""


class Pgbouncer(PostgresAlone):
    """The role ``bouncer`` is PgBouncer, ``primary`` the server behind it."""

    name = "pgbouncer"
    programs: ClassVar[dict[str, str]] = {**Postgres.programs, "pgbouncer": "pgbouncer"}
    folders = (*Postgres.folders, "/usr/sbin")

    def start(self) -> None:
        """Make both."""
        super().start()
        (self.folder / "users.txt").write_text('"postgres" ""\n')
        self._serve("bouncer")

    def begin(self, role: str, port: int) -> None:
        """Start the process of ``role`` on ``port``; return when it answers."""
        if role != "bouncer":
            super().begin(role, port)
            return
        facts = {"primary": self.ports["primary"], "bouncer": port, "folder": self.folder, "servers": SERVERS}
        (self.folder / "pgbouncer.ini").write_text(CONFIGURATION.format(**facts))
        self.spawn(role, "pgbouncer", self.folder / "pgbouncer.ini")
        self.wait_until(self._bounces, role)

    def _bounces(self) -> bool:
        # Whoever has taken the port may lead to a PostgreSQL too.
        try:
            return self.query("bouncer", "SHOW data_directory") == [(str(self.folder / "primary"),)]
        except psycopg.OperationalError:
            return False
