"""The engine for MySQL and MariaDB."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django.db.backends.mysql import base
from django.db.backends.utils import CursorDebugWrapper, CursorWrapper
from MySQLdb import InterfaceError, connections
from MySQLdb.cursors import Cursor, CursorStoreResultMixIn

from noa_perf.pool.backends.mysql import dirt
from noa_perf.pool.backends.mysql.driver import MysqlDriver
from noa_perf.pool.backends.wrapper import GIVEN_BACK, Again, PooledWrapper


class Marking:
    """A mixin before mysqlclient's cursors: notes on the connection what a statement leaves behind in the session.

    A cursor that is older than the last hand-back of its connection executes nothing: that is another's by now.
    """

    connection: Any
    noa_reads_all: bool
    """Whether an answer is read to its end before a statement returns."""

    def __init__(self, connection: Any) -> None:
        """Belong to whoever has the connection now."""
        super().__init__(connection)  # type: ignore[call-arg]
        self._turn = connection.noa_turn
        self._judged = False

    def execute(self, query: Any, args: Any = None) -> Any:
        """Execute it, as mysqlclient does."""
        if self._judged:
            return super().execute(query, args)  # type: ignore[misc]
        flags = dirt.judge(query)
        self._mark(flags)
        found = super().execute(query, args)  # type: ignore[misc]
        if not flags and self.noa_reads_all and query.__class__ is str and ";" not in query:
            self.connection.noa_unread = False
        return found

    def executemany(self, query: Any, args: Any) -> Any:
        """Execute it, as mysqlclient does: in batches, of which each would be a long text to judge."""
        self._mark(dirt.judge(query))
        self._judged = True
        try:
            return super().executemany(query, args)  # type: ignore[misc]
        finally:
            self._judged = False

    def callproc(self, procname: Any, args: Any = ()) -> Any:
        """Call a procedure, as mysqlclient does: by variables of the session."""
        self._mark(dirt.SESSION)
        return super().callproc(procname, args)  # type: ignore[misc]

    def _mark(self, flags: int) -> None:
        connection = self.connection
        if connection is None:
            return  # it was closed, and says so
        if self._turn != connection.noa_turn:
            raise InterfaceError(GIVEN_BACK)
        if flags:
            connection.noa_dirt |= flags


@lru_cache
def marking(cursorclass: type) -> type:
    """Return a cursor class of mysqlclient that marks."""
    reads_all = issubclass(cursorclass, CursorStoreResultMixIn)
    return type(cursorclass.__name__, (Marking, cursorclass), {"noa_reads_all": reads_all})


class Connection(connections.Connection):  # type: ignore[misc]
    """mysqlclient's, which notes that an answer comes; cursors note that it was read."""

    def query(self, query: Any) -> Any:
        """Send it, as mysqlclient does."""
        self.noa_unread = True
        return super().query(query)


class _Cursor(Again, CursorWrapper):
    pass


class _DebugCursor(Again, CursorDebugWrapper):
    pass


class DatabaseWrapper(PooledWrapper, base.DatabaseWrapper):
    """Django's, with pooled connections."""

    driver_class = MysqlDriver

    def get_connection_params(self) -> dict[str, Any]:
        """Return what mysqlclient gets, with cursors that mark."""
        params = super().get_connection_params()
        params["cursorclass"] = marking(params.get("cursorclass", Cursor))
        return params

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection that notes what was not read."""
        connection = super().get_new_connection(conn_params)
        connection.__class__ = Connection  # MySQLdb.connect() knows but its own
        connection.noa_unread = False
        return connection

    def autocommits(self) -> bool:
        """Tell whether the server begins no transactions by itself, whoever told it to."""
        return not self.connection.open or bool(self.connection.get_autocommit())

    def make_cursor(self, cursor: Any) -> Any:
        """Return Django's cursor around mysqlclient's."""
        return _Cursor(cursor, self)

    def make_debug_cursor(self, cursor: Any) -> Any:
        """Return the one that logs."""
        return _DebugCursor(cursor, self)
