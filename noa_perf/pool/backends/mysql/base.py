"""The engine for MySQL and MariaDB."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django.db.backends.mysql import base
from django.db.backends.utils import CursorDebugWrapper, CursorWrapper
from MySQLdb.cursors import Cursor

from noa_perf.pool.backends.mysql import dirt
from noa_perf.pool.backends.mysql.driver import MysqlDriver
from noa_perf.pool.backends.wrapper import Again, PooledWrapper


class Marking:
    """A mixin before mysqlclient's cursors: notes on the connection what a statement leaves behind in the session."""

    def execute(self, query: Any, args: Any = None) -> Any:
        """Execute it, as mysqlclient does."""
        flags = dirt.judge(query)
        if flags:
            self.connection.noa_dirt |= flags  # type: ignore[attr-defined]
        return super().execute(query, args)  # type: ignore[misc]

    def callproc(self, procname: Any, args: Any = ()) -> Any:
        """Call a procedure, as mysqlclient does: by variables of the session."""
        self.connection.noa_dirt |= dirt.SESSION  # type: ignore[attr-defined]
        return super().callproc(procname, args)  # type: ignore[misc]


@lru_cache
def marking(cursorclass: type) -> type:
    """Return a cursor class of mysqlclient that marks."""
    return type(cursorclass.__name__, (Marking, cursorclass), {})


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

    def autocommits(self) -> bool:
        """Tell whether the server begins no transactions by itself, whoever told it to."""
        return not self.connection.open or bool(self.connection.get_autocommit())

    def make_cursor(self, cursor: Any) -> Any:
        """Return Django's cursor around mysqlclient's."""
        return _Cursor(cursor, self)

    def make_debug_cursor(self, cursor: Any) -> Any:
        """Return the one that logs."""
        return _DebugCursor(cursor, self)
