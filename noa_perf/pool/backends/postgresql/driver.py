"""Opens, checks, tidies and closes psycopg's connections on behalf of a pool."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from operator import attrgetter
from typing import Any

import psycopg
from django.utils.module_loading import import_string
from psycopg.pq import ConnStatus, ExecStatus, PipelineStatus, TransactionStatus

from noa_perf.pool.backends import sockets
from noa_perf.pool.backends.postgresql import dirt
from noa_perf.pool.options import PoolOptions

_OK, _IDLE, _OFF = ConnStatus.OK, TransactionStatus.IDLE, PipelineStatus.OFF
_PASSING = (
    "starting up",
    "shutting down",
    "not yet accepting",
    "not accepting connections",
    "recovery mode",
    "too many clients",
    "too many connections",
    "connection slots",
    "administrator command",
)
"""What PostgreSQL says, with FATAL, where it is worth asking again; libpq does not tell the code of a refusal."""


_ATTRIBUTES = ("isolation_level", "read_only", "deferrable", "row_factory", "cursor_factory", "prepare_threshold")
"""What psycopg keeps on a connection, for anybody to set."""
_FAREWELLS = frozenset({"FATAL", "PANIC"})
"""How grave a message is that the server ends a session with."""
_attributes = attrgetter(*_ATTRIBUTES)


class Untidy(Exception):
    """A connection is in the middle of something that cannot be ended from here."""


class PostgresDriver:
    """The connections of one alias."""

    def __init__(self, make: Callable[[], Any], options: PoolOptions) -> None:
        """Open connections through the wrappers that ``make`` returns."""
        self._make = make
        self._options = options
        self._always = dirt.ANYTHING if options.reset == "always" and not options.pgbouncer else 0
        self._never = options.reset == "never" or options.pgbouncer
        self.isolation_level: Any = None

    def open(self, seconds: float) -> psycopg.Connection[Any]:
        """Return a connection as Django sets one up: time zone, role, isolation."""
        wrapper = self._make()
        wrapper.check_settings()
        params = wrapper.get_connection_params()
        params["connect_timeout"] = min(int(params.get("connect_timeout", 60)), max(2, math.ceil(seconds)))
        if self._options.password is not None:
            params["password"] = _ask(self._options.password)
        wrapper.connection = wrapper.get_new_connection(params)
        try:
            wrapper.connection.noa_named = []
            wrapper.set_autocommit(wrapper.settings_dict["AUTOCOMMIT"])
            wrapper.init_connection_state()
        except BaseException:
            wrapper.connection.close()
            raise
        return self._adopt(wrapper)

    def _adopt(self, wrapper: Any) -> psycopg.Connection[Any]:
        connection, wrapper.connection = wrapper.connection, None
        self.isolation_level = wrapper.isolation_level
        connection.noa_initial = _attributes(connection)
        connection.noa_autocommit = connection.autocommit
        connection.noa_poll = sockets.watch(connection.pgconn.socket)
        connection.noa_farewells = []
        connection.add_notice_handler(partial(_listen, connection.noa_farewells))
        connection.noa_dirt = connection.noa_turn = 0
        return connection  # type: ignore[no-any-return]

    def close(self, connection: psycopg.Connection[Any]) -> None:
        """Close it; what is under way is cut off."""
        with suppress(psycopg.Error):
            if connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
                sockets.cut(connection.pgconn.socket)
        with suppress(psycopg.Error):
            connection.close()

    def alive(self, connection: Any) -> bool:
        """Tell by the socket: one that the server closed can be read. So can one with a notification, so read it.

        A backend that is told to end says so, and closes a little later.
        """
        pgconn = connection.pgconn
        if pgconn.status != _OK:
            return False
        poll = connection.noa_poll.poll
        if not poll(0):
            return True
        try:
            while poll(0):
                pgconn.consume_input()
            pgconn.is_busy()  # which looks at what came
        except psycopg.Error:
            return False
        return bool(pgconn.status == _OK) and not connection.noa_farewells

    def ping(self, connection: Any, seconds: float) -> bool:
        """Tell by an empty statement, without psycopg, which would wait for as long as TCP does."""
        deadline = time.monotonic() + seconds
        pgconn = connection.pgconn
        try:
            pgconn.send_query(b"")
            pgconn.flush()
            while pgconn.is_busy():
                left = deadline - time.monotonic()
                if left <= 0 or not connection.noa_poll.poll(left * 1_000):
                    return False
                pgconn.consume_input()
            return _all_well(pgconn)
        except psycopg.Error:
            return False

    def tidy(self, connection: Any) -> tuple[str, ...]:
        """Roll back what is open, and take away what the session's statements left behind."""
        found: list[str] = []
        pgconn = connection.pgconn
        connection.noa_turn += 1
        if pgconn.transaction_status != _IDLE or pgconn.pipeline_status != _OFF:
            self._roll_back(connection)
            found.append("transaction")
        if connection.noa_named:
            found += self._close_cursors(connection)
        if connection.autocommit is not connection.noa_autocommit:
            connection.autocommit = connection.noa_autocommit
        if not self.as_opened(connection):
            for name, value in zip(_ATTRIBUTES, connection.noa_initial, strict=True):
                setattr(connection, name, value)
            found.append("attributes")
        flags = connection.noa_dirt & ~dirt.TRANSACTION | self._always
        if flags and not self._never:
            self._reset(connection, flags)
            found.append("session")
        connection.noa_dirt = 0
        return tuple(found)

    def as_opened(self, connection: Any) -> bool:
        """Tell whether what psycopg keeps on a connection is as it was."""
        return bool(_attributes(connection) == connection.noa_initial)

    def disown(self, connection: Any) -> None:
        """Cut it off from the parent's server."""
        with suppress(psycopg.Error):
            sockets.disown(connection.pgconn.socket)

    def transient(self, error: Exception) -> bool:
        """Tell by the words: what is no FATAL comes from the network."""
        if not isinstance(error, psycopg.OperationalError):
            return False
        text = str(error)
        return "FATAL" not in text or any(words in text for words in _PASSING)

    def _roll_back(self, connection: Any) -> None:
        pgconn = connection.pgconn
        if pgconn.pipeline_status != _OFF:
            raise Untidy("a pipeline is open")
        if pgconn.transaction_status not in {TransactionStatus.INTRANS, TransactionStatus.INERROR}:
            raise Untidy("a statement is under way")
        connection.rollback()

    def _close_cursors(self, connection: Any) -> list[str]:
        left = [cursor for cursor in connection.noa_named if not cursor.closed]
        for cursor in left:
            cursor.close()
        connection.noa_named.clear()
        return ["cursor"] if left else []

    def _reset(self, connection: Any, flags: int) -> None:
        connection.autocommit = True
        connection.execute(dirt.cure(flags))
        self._make()._configure_connection(connection)  # time zone and role
        connection.autocommit = connection.noa_autocommit


def _listen(farewells: list[str], diagnostic: Any) -> None:
    if diagnostic.severity_nonlocalized in _FAREWELLS:
        farewells.append(diagnostic.sqlstate)


def _all_well(pgconn: Any) -> bool:
    well = True
    while (result := pgconn.get_result()) is not None:
        well = well and result.status in {ExecStatus.EMPTY_QUERY, ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK}
    return well and pgconn.status == _OK


def _ask(password: str | Callable[[], str]) -> str:
    return (import_string(password) if isinstance(password, str) else password)()
