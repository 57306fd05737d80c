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
from noa_perf.pool.backends.wrapper import Again, PooledWrapper, refuse_both

NAMED = 16
"""Server-side cursors that are remembered before those that were closed are forgotten."""


class Marking:
    """A mixin before psycopg's cursors: notes on the connection what a statement leaves behind in the session."""

    def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Execute it, as psycopg does."""
        flags = dirt.judge(query)
        if flags:
            self._conn.noa_dirt |= flags  # type: ignore[attr-defined]
        return super().execute(query, *args, **kwargs)  # type: ignore[misc]

    def executemany(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """Execute it, as psycopg does."""
        flags = dirt.judge(query)
        if flags:
            self._conn.noa_dirt |= flags  # type: ignore[attr-defined]
        return super().executemany(query, *args, **kwargs)  # type: ignore[misc]


@lru_cache
def marking(factory: type) -> type:
    """Return a cursor class of psycopg that marks."""
    return type(factory.__name__, (Marking, factory), {})


class Connection(psycopg.Connection[Any]):
    """psycopg's, whose cursors mark, also those that a site takes from it itself; its ``cursor_factory`` is theirs."""

    noa_dirt: int

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """Return a cursor, as psycopg does."""
        factory: Any = self.cursor_factory
        self.cursor_factory = marking(factory)
        try:
            return super().cursor(*args, **kwargs)
        finally:
            self.cursor_factory = factory

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

    def create_cursor(self, name: str | None = None) -> Any:
        """Return psycopg's cursor; one that the server keeps is remembered, to be closed at the latest with us."""
        cursor = super().create_cursor(name)
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
