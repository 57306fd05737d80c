"""What both engines share: Django's DatabaseWrapper, whose connection is lent by a pool for as long as it is open.

To Django, ``connect`` opens a connection and ``close`` closes it; here they take one and give it back. The real ones
are opened by a wrapper of their own that is thrown away, so that whatever Django does to a new connection is done once.
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from functools import partial
from operator import itemgetter
from typing import Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import NO_DB_ALIAS, BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.utils import InterfaceError, OperationalError

from noa_perf.core import conf
from noa_perf.pool import options, registry
from noa_perf.pool.backends.statements import only_reads
from noa_perf.pool.core import Pool
from noa_perf.pool.entry import Entry

OPTION = "noa_pool"
GIVEN_BACK = "The connection of this cursor was given back to its pool. Take a new cursor."
TIMES = 4
"""How often a statement is sent again: where connections are killed one by one, the next may be as well."""
_identity = itemgetter("NAME", "HOST", "PORT", "USER", "PASSWORD", "TIME_ZONE", "AUTOCOMMIT")


class PooledWrapper(BaseDatabaseWrapper):
    """A mixin before one of Django's wrappers."""

    driver_class: ClassVar[Any]
    """The pool's driver for this database."""

    def __init__(self, settings_dict: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        """Take nothing yet."""
        super().__init__(settings_dict, *args, **kwargs)
        self._entry: Entry[Any] | None = None
        self._pool: Pool[Any] | None = None
        self._lender: Pool[Any] | None = None
        self._last: Entry[Any] | None = None
        self._me = weakref.ref(self)
        self._identity: tuple[Any, ...] = ()
        self._options: dict[str, Any] = {}

    # Which pool

    @property
    def noa_pool(self) -> Pool[Any] | None:
        """The pool of this alias as its settings are now; None where there is none to be."""
        settings = self.settings_dict
        identity = self.timezone_name, _identity(settings)
        stale = identity != self._identity or settings["OPTIONS"] != self._options
        if stale or self._pool is None or self._pool.closed:
            self._identity, self._options = identity, dict(settings["OPTIONS"])
            self._pool = self._find_pool()
        return self._pool

    def _find_pool(self) -> Pool[Any] | None:
        if self.alias == NO_DB_ALIAS or self._options.get(OPTION) is False or not conf.enabled("POOL"):
            return None
        return registry.pool(self._key(), self._make_pool)

    def _key(self) -> Hashable:
        return type(self), self.alias, self._identity, repr(sorted(self._options.items()))

    def _make_pool(self) -> Pool[Any]:
        loaded = options.load(self.alias, self.settings_dict["OPTIONS"].get(OPTION))
        # As they are now: whoever changes them later gets another pool.
        settings = {**self.settings_dict, "OPTIONS": {**self.settings_dict["OPTIONS"], OPTION: False}}
        unpooled = partial(type(self), settings, self.alias)
        return Pool(self.alias, self.driver_class(unpooled, loaded), loaded)

    def get_connection_params(self) -> dict[str, Any]:
        """Return what Django passes to the driver, less what is ours."""
        params: dict[str, Any] = super().get_connection_params()
        params.pop(OPTION, None)
        return params

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection on which cursors can mark what they change, pooled or not."""
        connection = super().get_new_connection(conn_params)
        connection.noa_dirt = connection.noa_turn = 0
        return connection

    def close_pool(self) -> None:
        """Close this alias' pools, also those of other settings: Django asks for it before it drops a test database."""
        registry.close(self.alias)
        self._pool = None

    # Taking

    def connect(self) -> None:
        """Take a connection from the pool; Django calls this, by what refuses async callers, where it has none."""
        pool = self.noa_pool
        if pool is None:
            super().connect()
            return
        self.check_settings()
        if self._entry is not None:
            self._give_back()
        entry = pool.acquire(self._me, self._last)
        self._last = entry
        self._entry, self._lender, self.connection = entry, pool, entry.connection
        self._as_new(pool)
        connection_created.send(sender=self.__class__, connection=self)
        self.connection.noa_dirt = 0  # whoever listens does it again for the next request: that is how a session begins
        self.run_on_commit = []

    def _as_new(self, pool: Pool[Any]) -> None:
        # As Django's connect() has it, for the next request finds the same wrapper.
        self.in_atomic_block = self.needs_rollback = self.closed_in_transaction = self.errors_occurred = False
        self.savepoint_ids = []
        self.atomic_blocks = []
        self.health_check_enabled = False
        self.health_check_done = True
        self.close_at = 0.0  # to be given back at the end of each request, whatever CONN_MAX_AGE is
        self.autocommit = self.settings_dict["AUTOCOMMIT"]
        self.isolation_level = pool.driver.isolation_level  # type: ignore[attr-defined]

    # Giving back

    def _close(self) -> None:
        if self._entry is None:
            super()._close()  # type: ignore[misc]
        else:
            self._give_back()

    def _give_back(self) -> None:
        entry, lender, self.connection = self._entry, self._lender, None
        # Whoever was interrupted here before comes again: by then it may have been taken back, and be another's.
        if entry is not None and lender is not None and entry.holder is self._me:
            lender.release(entry)
        self._entry = self._lender = None

    def disowned(self) -> None:
        """Forget a connection that is the parent's, in a child that was forked."""
        self._entry = self._lender = self._pool = self.connection = None
        if self.in_atomic_block:
            self.closed_in_transaction = self.needs_rollback = True

    # Losing

    def close_if_health_check_failed(self) -> None:
        """Look, before each statement outside a transaction, whether the connection is there, and take another if not.

        That costs no round trip, and nothing was sent: it is as if the request had only now asked for one. A
        connection whose session was changed is not replaced, for what was changed is gone with it.
        """
        if self._entry is None or self.connection is None:  # some set it to None to be rid of it
            super().close_if_health_check_failed()
        elif self._replaceable() and self._lost():
            self._lose()

    def read_again(self, statement: Any) -> bool:
        """Tell whether a statement that failed may be sent again, on another connection, which is taken then.

        Only one that reads may, outside a transaction, and only after its connection was lost.
        """
        if self._entry is None or not self._replaceable() or not only_reads(statement) or not self._lost():
            return False
        self._lose()
        self.ensure_connection()
        return True

    def _replaceable(self) -> bool:
        if self.in_atomic_block or not self.autocommit or self.connection.noa_dirt:
            return False
        return self.autocommits()

    def autocommits(self) -> bool:
        """Tell whether the driver's connection is in autocommit, which may be set past Django."""
        raise NotImplementedError

    def as_opened(self) -> bool:
        """Tell whether nobody set anything on the driver's connection itself, which another would lack."""
        return True

    def _lost(self) -> bool:
        return self._lender is not None and not self._lender.driver.alive(self.connection) and self.as_opened()

    def is_usable(self) -> bool:
        """Tell whether the server answers; without a connection it does not."""
        return self.connection is not None and bool(super().is_usable())

    def _lose(self) -> None:
        entry, lender, self.connection = self._entry, self._lender, None
        if entry is not None and lender is not None and entry.holder is self._me:
            lender.lost(entry)
        self._entry = self._lender = None


class Again:
    """A mixin before Django's cursors: what only reads is sent again where its connection was lost."""

    db: Any
    cursor: Any

    def _execute(self, sql: Any, params: Any, *ignored: Any, left: int = TIMES) -> Any:
        try:
            return super()._execute(sql, params, *ignored)  # type: ignore[misc]
        except (OperationalError, InterfaceError):
            if not left or not self.db.read_again(sql):
                raise
        with self.db.wrap_database_errors:
            self.cursor = self.db.create_cursor(getattr(self.cursor, "name", None))
        return self._execute(sql, params, *ignored, left=left - 1)


def refuse_both(wrapper: BaseDatabaseWrapper) -> None:
    """Refuse Django's own pool beside ours."""
    if wrapper.settings_dict["OPTIONS"].get("pool"):
        path = f'DATABASES[{wrapper.alias!r}]["OPTIONS"]'
        raise ImproperlyConfigured(f'{path} has "pool", Django\'s own. Remove it: this engine is a pool ("{OPTION}").')
