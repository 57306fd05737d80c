"""Opens, checks, tidies and closes mysqlclient's connections on behalf of a pool."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import MySQLdb
from django.utils.module_loading import import_string

from noa_perf.pool.backends import sockets
from noa_perf.pool.backends.mysql import dirt
from noa_perf.pool.options import PoolOptions

_PASSING = frozenset({1040, 1053, 1203, 1226, 2002, 2003, 2005, 2006, 2013, 2055})
"""Codes with which it is worth asking again: no room, shutting down, nobody there."""
_GONE = frozenset({2006, 2013, 2055})
"""Codes after which the client has closed the socket, whose number may be another's by now."""
_NONE = -1
"""What ``next_result()`` says, without a round trip, where no more results follow."""


class MysqlDriver:
    """The connections of one alias."""

    def __init__(self, make: Callable[[], Any], options: PoolOptions) -> None:
        """Open connections through the wrappers that ``make`` returns."""
        self._make = make
        self._options = options
        self._always = dirt.SESSION if options.reset == "always" else 0
        self._never = options.reset == "never"
        self.isolation_level: Any = None

    def open(self, seconds: float) -> Any:
        """Return a connection as Django sets one up: isolation, character set, whatever OPTIONS ask for."""
        wrapper = self._make()
        wrapper.check_settings()
        params = wrapper.get_connection_params()
        params["connect_timeout"] = min(int(params.get("connect_timeout", 60)), max(1, math.ceil(seconds)))
        if self._options.password is not None:
            password = self._options.password
            params["password"] = (import_string(password) if isinstance(password, str) else password)()
        connection = wrapper.get_new_connection(params)
        try:
            connection.noa_login = (params.get("user", ""), params.get("password", ""), params.get("database", ""))
            connection.noa_modes = (params.get("charset", ""), params.get("collation", ""), params.get("sql_mode", ""))
            connection.noa_init = params.get("init_command", "")
            self._set_up(wrapper, connection)
        except BaseException:
            connection.close()
            raise
        self.isolation_level = wrapper.isolation_level
        connection.noa_poll = sockets.watch(connection.fileno())
        return connection

    def _set_up(self, wrapper: Any, connection: Any) -> None:
        wrapper.connection = connection
        wrapper.set_autocommit(wrapper.settings_dict["AUTOCOMMIT"])
        wrapper.init_connection_state()
        wrapper.connection = None
        connection.noa_autocommit = wrapper.settings_dict["AUTOCOMMIT"]
        connection.noa_dirt = 0

    def close(self, connection: Any) -> None:
        """Close it; nobody is waited for."""
        with suppress(MySQLdb.Error):
            connection.close()

    def alive(self, connection: Any) -> bool:
        """Tell by the socket: one that idles and can be read was closed, or has an answer that nobody read."""
        return bool(connection.open) and connection.errno() not in _GONE and not connection.noa_poll.poll(0)

    def ping(self, connection: Any, seconds: float) -> bool:
        """Tell by a statement without a result, for whose answer the socket is watched."""
        try:
            connection.send_query(b"DO 1")
            if not connection.noa_poll.poll(seconds * 1_000):
                sockets.cut(connection.fileno())
                return False
            connection.read_query_result()
        except MySQLdb.Error:
            return False
        return True

    def tidy(self, connection: Any) -> tuple[str, ...]:
        """Roll back what is open; what statements changed goes with the session, which begins anew."""
        found: list[str] = []
        connection.noa_turn += 1
        if connection.errno() in _GONE:
            raise MySQLdb.OperationalError(2006, "The connection is gone.")
        if connection.noa_unread:  # asked only then, for next_result() lets go of Python's lock
            if connection.next_result() != _NONE:  # raises where one was read in part
                raise MySQLdb.ProgrammingError(2014, "An answer is left that nobody read.")
            connection.noa_unread = False
        flags = connection.noa_dirt | self._always
        if flags & dirt.TRANSACTION or bool(connection.get_autocommit()) is not connection.noa_autocommit:
            connection.rollback()
            connection.autocommit(connection.noa_autocommit)
            found.append("transaction")
        if flags & dirt.SESSION and not self._never:
            self._begin_anew(connection)
            found.append("session")
        connection.noa_dirt = 0
        return tuple(found)

    def _begin_anew(self, connection: Any) -> None:
        if not self.alive(connection):
            # The client library writes into memory that is no longer its own, where the connection is gone.
            raise MySQLdb.OperationalError(2006, "The connection is gone.")
        connection.change_user(*connection.noa_login)
        charset, collation, sql_mode = connection.noa_modes
        if charset:
            connection.set_character_set(charset, collation)
        if sql_mode:
            connection.set_sql_mode(sql_mode)
        if connection.noa_init:
            connection.query(connection.noa_init)
            connection.store_result()
        wrapper = self._make()
        wrapper.get_connection_params()  # which finds out the isolation level
        self._set_up(wrapper, connection)

    def disown(self, connection: Any) -> None:
        """Cut it off from the parent's server: mysqlclient would say goodbye in its name."""
        with suppress(MySQLdb.Error):
            sockets.disown(connection.fileno())

    def transient(self, error: Exception) -> bool:
        """Tell by the code."""
        return isinstance(error, MySQLdb.OperationalError) and bool(error.args) and error.args[0] in _PASSING
