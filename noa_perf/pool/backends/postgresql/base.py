"""The engine for PostgreSQL."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import psycopg
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.postgresql import base, psycopg_any
from django.db.backends.utils import CursorWrapper

if not psycopg_any.is_psycopg3:
    raise ImproperlyConfigured('noa_perf.pool needs psycopg 3. Install it: pip install "noa-perf[postgresql]".')

from noa_perf.pool.backends.postgresql import dirt
from noa_perf.pool.backends.postgresql.driver import PostgresDriver
from noa_perf.pool.backends.wrapper import GIVEN_BACK, Again, PooledWrapper, refuse_both

NAMED = 16
"""Server-side cursors that are remembered before those that were closed are forgotten."""


class Marking:
    """A mixin before psycopg's cursors: notes on the connection what a statement leaves behind in the session.

    A cursor that is older than the last hand-back of its connection executes nothing: that is another's by now.
    """

    noa_turn: int

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Execute it, as psycopg does."""
        self._mark(query)
        return super().execute(query, *args, **kwargs)  # type: ignore[misc]

    def executemany(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Execute it, as psycopg does."""
        self._mark(query)
        return super().executemany(query, *args, **kwargs)  # type: ignore[misc]

    def stream(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Execute it, as psycopg does."""
        self._mark(query)
        return super().stream(query, *args, **kwargs)  # type: ignore[misc]

    def copy(self, statement: Any, *args: Any, **kwargs: Any) -> Any:
        """Execute it, as psycopg does."""
        self._mark(statement)
        return super().copy(statement, *args, **kwargs)  # type: ignore[misc]

    def _mark(self, query: Any) -> None:
        connection: Connection = self._conn  # type: ignore[attr-defined]
        if self.noa_turn != connection.noa_turn:
            raise psycopg.InterfaceError(GIVEN_BACK)
        flags = dirt.judge(query)
        if flags:
            connection.noa_dirt |= flags


@lru_cache
def marking(factory: type) -> type:
    """Return a cursor class of psycopg that marks."""
    return type(factory.__name__, (Marking, factory), {})


class Connection(psycopg.Connection[Any]):
    """psycopg's, whose cursors mark, also those that a site takes from it itself; its factories are theirs."""

    noa_dirt: int
    noa_turn: int

    def cursor(self, name: str = "", *args: Any, **kwargs: Any) -> Any:
        """Return a cursor, as psycopg does."""
        factory: Any = self.cursor_factory
        named: Any = self.server_cursor_factory
        self.cursor_factory = marking(factory)
        if name:
            self.server_cursor_factory = marking(named)
        try:
            cursor: Any = super().cursor(name, *args, **kwargs)
        finally:
            self.cursor_factory, self.server_cursor_factory = factory, named
        cursor.noa_turn = self.noa_turn
        return cursor

    def transaction(self, *args: Any, **kwargs: Any) -> Any:
        """Begin a transaction, as psycopg does."""
        self.noa_dirt |= dirt.TRANSACTION
        return super().transaction(*args, **kwargs)


class _Cursor(Again, CursorWrapper):
    pass


class _DebugCursor(Again, base.CursorDebugWrapper):
    pass


class DatabaseWrapper(PooledWrapper, base.DatabaseWrapper):
    """Django's, with pooled connections."""

    driver_class = PostgresDriver

    def get_connection_params(self) -> dict[str, Any]:
        """Return what psycopg gets."""
        refuse_both(self)
        return super().get_connection_params()

    def get_new_connection(self, params: dict[str, Any]) -> Any:
        """Return a connection with cursors that mark."""
        connection = super().get_new_connection(params)
        connection.__class__ = Connection  # psycopg.connect() knows but its own
        return connection

    def autocommits(self) -> bool:
        """Tell whether psycopg begins no transactions by itself, whoever told it to."""
        return bool(self.connection.autocommit)

    def as_opened(self) -> bool:
        """Tell whether isolation, row factory and the like are as they were when psycopg's connection was opened."""
        return self._lender is not None and bool(self._lender.driver.as_opened(self.connection))  # type: ignore[attr-defined]

    def create_cursor(self, name: str | None = None) -> Any:
        """Return psycopg's cursor; one that the server keeps is remembered, to be closed at the latest with us."""
        cursor = super().create_cursor(name)
        if not isinstance(cursor, Marking):  # Django makes named ones past psycopg's factory
            cursor.__class__ = marking(cursor.__class__)
            cursor.noa_turn = self.connection.noa_turn
        if name and self._entry is not None:
            named = self.connection.noa_named
            if len(named) >= NAMED:
                named[:] = [one for one in named if not one.closed]
            named.append(cursor)
        return cursor

    def make_cursor(self, cursor: Any) -> Any:
        """Return Django's cursor around psycopg's."""
        return _Cursor(cursor, self)

    def make_debug_cursor(self, cursor: Any) -> Any:
        """Return the one that logs."""
        return _DebugCursor(cursor, self)

    def ensure_timezone(self) -> bool:
        """Set the time zone that Django's settings ask for now; connections with another are not given out again."""
        if self.noa_pool is not None:
            self.noa_pool.drain()
        if self.connection is None:
            return False
        return bool(self._configure_timezone(self.connection))  # type: ignore[attr-defined]
