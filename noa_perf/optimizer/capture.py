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
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import Any

from django.db import connections
from django.db.backends.signals import connection_created
from django.db.backends.utils import CursorWrapper

from noa_perf.core import muting
from noa_perf.core.muting import is_muted
from noa_perf.optimizer import fingerprint
from noa_perf.optimizer.conf import settings
from noa_perf.optimizer.exceptions import NPlusOneError
from noa_perf.optimizer.groups import Group
from noa_perf.optimizer.scopes import Hit, Scope, current

logger = logging.getLogger("noa_perf.optimizer")

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

    def add(self, *, queries: int = 0, failed: int = 0, execute: float = 0.0, fetch: float = 0.0) -> None:
        """Add to the counts."""
        with self.lock:
            self.queries += queries
            self.failed += failed
            self.execute += execute
            self.fetch += fetch

    def fetched(self, seconds: float, rows: int, sample: Any = None) -> None:
        """Add ``seconds`` of waiting for rows."""
        self.add(fetch=seconds)

    def broke(self) -> None:
        """Count a query that failed while its rows were read."""
        self.add(failed=1)


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
    connection_created.connect(_watch_connection, dispatch_uid="noa_perf.optimizer.capture")
    for connection in connections.all(initialized_only=True):
        _watch_connection(sender=None, connection=connection)


def _watch_connection(*, connection: Any, **kwargs: Any) -> None:
    if watch not in connection.execute_wrappers:
        connection.execute_wrappers.insert(0, watch)


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
    own = settings()
    parent = current.get()
    if parent is not None and parent.kind == "command" and kind in ROOTS:
        parent = None  # a server's or worker's command never ends: each request and job stands for itself
    detailed = own.sample_rate >= 1.0 or random.random() < own.sample_rate  # noqa: S311  (a sample, not a secret)
    opened = Scope(name, own, kind=kind, parent=parent, detailed=detailed or kind != "request")
    if kind == "request" and own.sample_rate:
        opened.weight = 1 / own.sample_rate
    return opened


def close_scope(closed: Scope) -> None:
    """End a scope; what it saw goes to the listeners if it is an outermost one. Closing twice does nothing."""
    if closed.closed:
        return
    closed.closed = True
    closed.elapsed = perf_counter() - closed.started
    if closed.parent is None:
        for listener in _listeners:
            try:
                listener(closed)
            except Exception:
                faults.note("close_scope")
    for group in closed.groups.values():
        group.slow_run = None  # its values were wanted for its plan alone


def watch(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Time one query (Django's execute wrapper protocol) and lay it to the current scope."""
    if is_muted.get():
        return execute(sql, params, many, context)
    started = perf_counter()
    try:
        result = execute(sql, params, many, context)
    except Exception:
        _note(sql, params, many, context, perf_counter() - started, failed=True)
        raise
    _note(sql, params, many, context, perf_counter() - started, failed=False)
    return result


def _note(sql: str, params: Any, many: bool, context: dict[str, Any], seconds: float, *, failed: bool) -> None:
    found: list[tuple[Scope, Group]] = []
    try:
        hit = _record(sql, params, many, context, seconds, failed, found)
        if not failed:
            _time_fetches(context["cursor"], hit)
    except Exception:
        faults.note("record")
    for owner, group in () if is_quiet() else found:
        for listener in _on_found:
            try:
                listener(owner, group)
            except (NPlusOneError, Warning):  # asked for, by ON_N_PLUS_ONE and the warnings filter
                raise
            except Exception:
                faults.note("n_plus_one")


def _record(
    sql: str,
    params: Any,
    many: bool,
    context: dict[str, Any],
    seconds: float,
    failed: bool,
    found: list[tuple[Scope, Group]],
) -> Hit | Outside:
    target = current.get()
    if target is None:
        outside.add(queries=1, failed=failed, execute=seconds)
        return outside
    connection = context["connection"]
    statement = fingerprint.statement(sql if type(sql) is str else _text(sql, connection), connection.vendor)
    frame = sys._getframe(3)  # Django's own frame: _record < _note < watch
    hits: list[Hit] = []
    scope: Scope | None = target
    while scope is not None:
        hit, group = scope.record(connection.alias, statement, None if many else params, seconds, failed, frame)
        if group is not None and scope.parent is None:
            found.append((scope, group))
        if hits:
            hits[-1].outer = hit
        hits.append(hit)
        scope = scope.parent
    return hits[0]


def _text(sql: Any, connection: Any) -> str:
    compose = getattr(sql, "as_string", None)  # psycopg's own SQL objects
    return str(compose(connection.connection) if compose is not None else sql)


class _TimedFetches(CursorWrapper):
    """Django's cursor, timing each fetch: SQLite and server-side cursors do their work while rows are read."""

    noa_perf_hit: Hit | Outside

    def fetchone(self) -> Any:
        return self._timed("fetchone")

    def fetchmany(self, *args: Any, **kwargs: Any) -> Any:
        return self._timed("fetchmany", *args, **kwargs)

    def fetchall(self) -> Any:
        return self._timed("fetchall")

    def _timed(self, name: str, *args: Any, **kwargs: Any) -> Any:
        started = perf_counter()
        try:
            with self.db.wrap_database_errors:
                rows = getattr(self.cursor, name)(*args, **kwargs)
        except Exception:
            _fetched(self.noa_perf_hit, perf_counter() - started, None, failed=True)
            raise
        _fetched(
            self.noa_perf_hit, perf_counter() - started, (rows,) if name == "fetchone" and rows is not None else rows
        )
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
            _fetched(self.noa_perf_hit, 0.0, None, failed=True)
            raise
        finally:
            _fetched(self.noa_perf_hit, seconds, range(rows))


def _fetched(hit: Hit | Outside, seconds: float, rows: Any, *, failed: bool = False) -> None:
    try:
        hit.fetched(seconds, len(rows) if rows else 0, rows[0] if rows else None)
        if failed:
            hit.broke()
    except Exception:
        faults.note("fetch")


_FETCHES = ("fetchone", "fetchmany", "fetchall")
_timed: dict[type, type | None] = {}


def _time_fetches(cursor: Any, hit: Hit | Outside) -> None:
    # The cursor's class is changed, not the cursor: an attribute set on each cursor costs more, a proxy breaks
    # whoever needs the real thing, and iteration looks at the class alone.
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
        return None  # somebody else's cursor, with fetches of its own: only its execute is timed
    return type(cls.__name__, (_TimedFetches, cls), {"__module__": cls.__module__})
