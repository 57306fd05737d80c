"""Watches every query of every connection: one execute wrapper, and cursors that time their own fetches.

The wrapper stands FIRST in ``execute_wrappers``, since Django's own context manager takes the last one off. It
changes no query and no result, and an error of ours is counted, logged once and swallowed.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from time import perf_counter
from types import MethodType
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.backends.utils import CursorWrapper

from noa_perf.core import muting
from noa_perf.core.muting import is_muted
from noa_perf.optimizer import fingerprint
from noa_perf.optimizer.conf import settings
from noa_perf.optimizer.exceptions import NPlusOneError
from noa_perf.optimizer.groups import Group
from noa_perf.optimizer.scopes import Hit, Scope, current
from noa_perf.optimizer.watches import Watch, adopter, adopting

logger = logging.getLogger("noa_perf.optimizer")

_UID = "noa_perf.optimizer.capture"

muted = muting.muted
_quiet: ContextVar[bool] = ContextVar("noa_perf_quiet", default=False)
_listeners: list[Callable[[Scope], None]] = []
_on_found: list[Callable[[Scope, Group], None]] = []


class Outside:
    """Counts of queries that ran in no scope: only their number and time are kept."""

    def __init__(self) -> None:
        """Start from nothing."""
        self.lock = threading.Lock()
        self.queries = self.failed = 0
        self.execute = self.fetch = 0.0

    def add(self, queries: int, failed: int, execute: float) -> None:
        """Add to the counts."""
        with self.lock:
            self.queries += queries
            self.failed += failed
            self.execute += execute

    def fetched(self, seconds: float, rows: Any) -> None:
        """Add ``seconds`` of waiting for rows."""
        with self.lock:
            self.fetch += seconds

    def broke(self) -> None:
        """Count a query that failed while its rows were read."""
        with self.lock:
            self.failed += 1


class Faults:
    """Errors of our own: counted by place, each logged once, none passed on to the site."""

    def __init__(self) -> None:
        """Start from none."""
        self.counts: dict[str, int] = {}

    @property
    def total(self) -> int:
        """How many there were in all."""
        return sum(self.counts.values())

    def note(self, where: str) -> None:
        """Count the exception being handled; log it the first time it happens at ``where``."""
        self.counts[where] = self.counts.get(where, 0) + 1
        if self.counts[where] == 1:
            message = "noa_perf.optimizer failed in %s; the site is not affected; logged once"
            logger.error(message, where, exc_info=sys.exception())


outside = Outside()
faults = Faults()
os.register_at_fork(after_in_child=lambda: setattr(outside, "lock", threading.Lock()))


def install() -> None:
    """Watch every connection, open or yet to come."""
    connection_created.connect(_watch_connection, dispatch_uid=_UID)
    for connection in connections.all(initialized_only=True):
        _watch_connection(sender=None, connection=connection)


def installed() -> bool:
    """Tell whether connections that are yet to come are watched."""
    return any(entry[0][0] == _UID for entry in connection_created.receivers)


def _watch_connection(*, connection: Any, **kwargs: Any) -> None:
    if watch not in connection.execute_wrappers:
        connection.execute_wrappers.insert(0, watch)
    if getattr(connection.make_cursor, "__func__", None) is BaseDatabaseWrapper.make_cursor:
        # Cursors that time their fetches from the start; one of another kind is changed when it has run a query.
        connection.make_cursor = MethodType(_make_cursor, connection)


@contextmanager
def quiet() -> Iterator[None]:
    """Neither log, warn nor raise about what this block finds: it is being collected for a report."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def is_quiet() -> bool:
    """Tell whether what is being seen is collected for a report."""
    return _quiet.get()


def on_closed(listener: Callable[[Scope], None]) -> None:
    """Call ``listener`` with each outermost scope when it closes."""
    if listener not in _listeners:
        _listeners.append(listener)


@contextmanager
def listening(listener: Callable[[Scope], None]) -> Iterator[None]:
    """Call ``listener`` with each outermost scope that closes within the block."""
    on_closed(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def on_found(listener: Callable[[Scope, Group], None]) -> None:
    """Call ``listener`` with the scope and the group whenever an outermost scope sees an N+1 or a write loop."""
    if listener not in _on_found:
        _on_found.append(listener)


ROOTS = frozenset({"request", "task"})


@contextmanager
def detached() -> Iterator[None]:
    """Leave whatever scope is open out of this block."""
    token = current.set(None)
    try:
        yield
    finally:
        current.reset(token)


@contextmanager
def scope(name: str, *, kind: str = "block") -> Iterator[Scope]:
    """Watch the queries of a block under ``name``: ``with optimizer.scope("import") as seen: ...``.

    A worker that never ends gives each job a scope of its own with ``kind="task"``.

    Yields the :class:`~noa_perf.optimizer.scopes.Scope`, whose ``queries``, ``failed``, ``execute``, ``fetch`` and
    ``seconds`` may be read inside the block and after it. Scopes nest: an outer one counts what inner ones do.
    """
    opened = open_scope(name, kind=kind)
    token = current.set(opened)
    try:
        yield opened
    finally:
        current.reset(token)
        close_scope(opened)


def open_scope(name: str, *, kind: str) -> Scope:
    """Return a new scope below the current one; make it current yourself, and give it to :func:`close_scope`."""
    around = current.get() or adopter()
    watch = around.watch if around is not None else None
    parent = around.parent if isinstance(around, Watch) else around
    if parent is not None and parent.kind == "command" and kind in ROOTS:
        parent = None  # a server's or worker's command never ends: each request and job stands for itself
    own = settings() if watch is None else watch.adapted(settings())
    detailed = own.sample_rate >= 1.0 or random.random() < own.sample_rate  # noqa: S311  (a sample, not a secret)
    opened = Scope(name, own, kind=kind, parent=parent, detailed=detailed or kind != "request")
    if kind == "request" and own.sample_rate:
        opened.weight = 1 / own.sample_rate
    opened.watch = watch
    if watch is not None and (parent is None or isinstance(around, Watch)):
        watch.take(opened)
    return opened


@contextmanager
def watching(
    name: str, *, threshold: int | None = None, keeps_first: bool = False, quietly: bool = False
) -> Iterator[Watch]:
    """Watch a block of a test, and the threads that it starts.

    What the test itself does is told to nobody but who asks the :class:`Watch`; with ``quietly``, what a request or a
    block within it does neither.
    """
    around = current.get() or adopter()
    parent = around.parent if isinstance(around, Watch) else around
    opened = Watch(name, settings(), parent=parent, threshold=threshold, keeps_first=keeps_first)
    if isinstance(around, Watch):
        around.take(opened)
    token = current.set(opened)
    try:
        with adopting(opened), quiet() if quietly else nullcontext():
            yield opened
    finally:
        current.reset(token)
        close_scope(opened)


def close_scope(closed: Scope) -> None:
    """End a scope; what it saw goes to the listeners if it is an outermost one. Closing twice does nothing."""
    if closed.closed:
        return
    closed.closed = True
    closed.settle()
    closed.elapsed = perf_counter() - closed.started
    if closed.parent is None and not isinstance(closed, Watch):
        for listener in _listeners:
            try:
                listener(closed)
            except Exception:
                faults.note("close_scope")
    for group in closed.groups.values():
        group.forget_values()  # those of a slow query were wanted for its plan alone


def watch(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Time one query (Django's execute wrapper protocol) and lay it to the current scope."""
    if is_muted.get():
        return execute(sql, params, many, context)
    started = perf_counter()
    try:
        result = execute(sql, params, many, context)
    except Exception:
        _note(sql, params, many, context, perf_counter() - started, True)
        raise
    _note(sql, params, many, context, perf_counter() - started, False)
    return result


def _note(sql: str, params: Any, many: bool, context: dict[str, Any], seconds: float, failed: bool) -> None:
    found: list[tuple[Scope, Group]] | None = None
    try:
        target = current.get() or adopter()
        hit: Hit | Outside
        if target is None:
            hit = outside
            outside.add(1, failed, seconds)
        else:
            connection = context["connection"]
            alias = connection.alias
            statement = fingerprint.statement(sql if type(sql) is str else _text(sql, connection), connection.vendor)
            if many:
                params = None
            hit, group = target.record(alias, statement, params, seconds, failed)
            if group is not None and target.parent is None and target.kind != "test":
                found = [(target, group)]
            inner, scope = hit, target.parent
            while scope is not None:
                inner.outer, group = scope.record(alias, statement, params, seconds, failed)
                if group is not None and scope.parent is None:
                    found = [(scope, group)]
                inner, scope = inner.outer, scope.parent
        if not failed:
            cursor = context["cursor"]
            if type(cursor) is _TimedCursor:
                cursor.noa_perf_hit = hit
            else:
                _time_fetches(cursor, hit)
    except Exception:
        faults.note("record")
    if found is not None and not is_quiet():
        _tell(found)


def _tell(found: list[tuple[Scope, Group]]) -> None:
    for owner, group in found:
        for listener in _on_found:
            try:
                listener(owner, group)
            except (NPlusOneError, Warning):  # asked for, by ON_N_PLUS_ONE and the warnings filter
                raise
            except Exception:
                faults.note("n_plus_one")


def _text(sql: Any, connection: Any) -> str:
    compose = getattr(sql, "as_string", None)  # psycopg's own SQL objects
    return str(compose(connection.connection) if compose is not None else sql)


class _TimedFetches(CursorWrapper):
    """Django's cursor, timing each fetch: SQLite and server-side cursors do their work while rows are read."""

    noa_perf_hit: Hit | Outside | None = None

    def close(self) -> None:
        self.cursor.close()  # found at once: Django looks for it in vain first, query after query

    def fetchone(self) -> Any:
        started = perf_counter()
        try:
            with self.db.wrap_database_errors:
                row = self.cursor.fetchone()
        except Exception:
            _failed(self.noa_perf_hit, perf_counter() - started)
            raise
        _fetched(self.noa_perf_hit, perf_counter() - started, None if row is None else (row,))
        return row

    def fetchmany(self, *args: Any, **kwargs: Any) -> Any:
        started = perf_counter()
        try:
            with self.db.wrap_database_errors:
                rows = self.cursor.fetchmany(*args, **kwargs)
        except Exception:
            _failed(self.noa_perf_hit, perf_counter() - started)
            raise
        seconds = perf_counter() - started
        try:
            if self.noa_perf_hit is not None:
                self.noa_perf_hit.fetched(seconds, rows)
        except Exception:
            faults.note("fetch")
        return rows

    def fetchall(self) -> Any:
        started = perf_counter()
        try:
            with self.db.wrap_database_errors:
                rows = self.cursor.fetchall()
        except Exception:
            _failed(self.noa_perf_hit, perf_counter() - started)
            raise
        _fetched(self.noa_perf_hit, perf_counter() - started, rows)
        return rows

    def __iter__(self) -> Iterator[Any]:
        seconds, rows = 0.0, 0
        try:
            with self.db.wrap_database_errors:
                iterator = iter(self.cursor)
                while True:
                    started = perf_counter()
                    try:
                        row = next(iterator)
                    except StopIteration:
                        return
                    finally:
                        seconds += perf_counter() - started
                    rows += 1
                    yield row
        except Exception:
            _failed(self.noa_perf_hit, 0.0)
            raise
        finally:
            _fetched(self.noa_perf_hit, seconds, range(rows))


def _fetched(hit: Hit | Outside | None, seconds: float, rows: Any) -> None:
    try:
        if hit is not None:
            hit.fetched(seconds, rows)
    except Exception:
        faults.note("fetch")


def _failed(hit: Hit | Outside | None, seconds: float) -> None:
    _fetched(hit, seconds, None)
    try:
        if hit is not None:
            hit.broke()
    except Exception:
        faults.note("fetch")


class _TimedCursor(_TimedFetches):
    """What a watched connection makes instead of Django's plain cursor."""

    def __init__(self, cursor: Any, db: Any) -> None:
        self.cursor = cursor
        self.db = db
        self.noa_perf_hit = None


_TimedCursor.__name__ = _TimedCursor.__qualname__ = CursorWrapper.__name__
_TimedCursor.__module__ = CursorWrapper.__module__


def _make_cursor(connection: Any, cursor: Any) -> _TimedCursor:
    return _TimedCursor(cursor, connection)


_FETCHES = ("fetchone", "fetchmany", "fetchall")
_timed: dict[type, type | None] = {_TimedCursor: _TimedCursor}


def _time_fetches(cursor: Any, hit: Hit | Outside) -> None:
    # A cursor that somebody else made has its class changed, not itself: attributes for each of the fetches cost more,
    # a proxy breaks whoever needs the real thing, and iteration looks at the class alone.
    cls = type(cursor)
    try:
        timed = _timed[cls]
    except KeyError:
        timed = _timed[cls] = _timed_class(cls)
    if timed is not None:
        if timed is not cls:
            cursor.__class__ = timed
        cursor.noa_perf_hit = hit


def _timed_class(cls: type) -> type | None:
    if issubclass(cls, _TimedFetches):
        return cls
    if not issubclass(cls, CursorWrapper) or any(hasattr(cls, name) for name in _FETCHES):
        return None  # with fetches of its own: only its execute is timed
    return type(cls.__name__, (_TimedFetches, cls), {"__module__": cls.__module__})
