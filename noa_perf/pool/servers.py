"""What a database server says of itself: how many connections it takes and has, and what it does to those of ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connections

from noa_perf.core.muting import muted

TRIES = 5
"""How often it is looked whether two sessions share one connection of the server."""
_GLOBAL = re.compile(r"^GRANT (?P<rights>.+?) ON \*\.\* TO ", re.IGNORECASE)
_ABOVE = ("ALL PRIVILEGES", "SUPER", "READ ONLY ADMIN")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What was found out."""

    vendor: str
    connections: int
    """That are open just now, everybody's."""
    own: int
    """Of these, those of this database's user."""
    most: int
    """``max_connections``."""
    reserved: int
    """Of which so many are kept for administrators."""
    idle_timeout: float
    """Seconds of idling after which the server closes a session; 0: never."""
    above_read_only: tuple[str, ...] = ()
    """Rights of this user by which ``read_only`` does not bind it (MySQL, MariaDB)."""

    @property
    def room(self) -> int:
        """How many connections there may be of those that are no administrator's."""
        return self.most - self.reserved

    @property
    def others(self) -> int:
        """Connections of others."""
        return max(0, self.connections - self.own)


def ask(alias: str) -> Server:
    """Ask the server of an alias, and give the connection back. Raises ``django.db.DatabaseError``."""
    connection = connections[alias]
    held = connection.connection is not None
    try:
        with muted(), connection.cursor() as cursor:
            return _ASKED[connection.vendor](cursor)
    finally:
        if not held:
            connection.close()


def _postgresql(cursor: Any) -> Server:
    cursor.execute("SELECT name, setting FROM pg_settings")
    settings = dict(cursor.fetchall())
    cursor.execute(
        "SELECT count(*), count(*) FILTER (WHERE usename = current_user)"
        " FROM pg_stat_activity WHERE backend_type = 'client backend'"
    )
    many, own = cursor.fetchone()
    reserved = _number(settings, "superuser_reserved_connections") + _number(settings, "reserved_connections")
    return Server(
        vendor="postgresql",
        connections=many,
        own=own,
        most=_number(settings, "max_connections"),
        reserved=reserved,
        idle_timeout=_number(settings, "idle_session_timeout") / 1_000,
    )


def _mysql(cursor: Any) -> Server:
    cursor.execute("SELECT @@max_connections, @@wait_timeout, @@max_user_connections")
    most, idle_timeout, of_user = cursor.fetchone()
    cursor.execute("SHOW GLOBAL STATUS LIKE 'Threads_connected'")
    many = int(cursor.fetchone()[1])
    cursor.execute(
        "SELECT count(*) FROM information_schema.processlist WHERE user = substring_index(current_user(), '@', 1)"
    )
    (own,) = cursor.fetchone()
    cursor.execute("SHOW GRANTS")
    grants = [row[0] for row in cursor.fetchall()]
    return Server(
        vendor="mysql",
        connections=many,
        own=own,
        most=min(most, of_user) if of_user else most,
        reserved=0,  # the one for an administrator comes on top
        idle_timeout=float(idle_timeout),
        above_read_only=above_read_only(grants),
    )


def above_read_only(grants: list[str]) -> tuple[str, ...]:
    """Return the rights on everything, of what ``SHOW GRANTS`` says, that ``read_only`` does not bind."""
    found = [match["rights"].upper().split(", ") for match in map(_GLOBAL.match, grants) if match]
    rights = {right.strip().replace("_", " ") for listed in found for right in listed}
    return tuple(right for right in _ABOVE if right in rights)


_ASKED: Mapping[str, Callable[[Any], Server]] = {"postgresql": _postgresql, "mysql": _mysql}


def shares_sessions(alias: str) -> bool:
    """Tell whether a pooler stands before a PostgreSQL and lends its connections by the transaction, as PgBouncer may.

    Two sessions that are open side by side never have one process of the server, but there. Raises
    ``django.db.DatabaseError``.
    """
    first, second = connections[alias].copy(alias), connections[alias].copy(alias)
    try:
        with muted():
            return any(_pid(first) == _pid(second) for _ in range(TRIES))
    finally:
        first.close()
        second.close()


def _pid(connection: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def _number(settings: Mapping[str, str], name: str) -> int:
    return int(settings.get(name, 0))
