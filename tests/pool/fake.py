"""A driver without a database: what its connections do is told to them."""

from __future__ import annotations

import threading
from collections.abc import Callable


class FakeConnection:
    """A connection that is what a test says it is."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.there = True
        self.answers = True
        self.found: tuple[str, ...] = ()
        self.untidy = False
        self.closed = 0


class FakeDriver:
    """Opens :class:`FakeConnection`; ``before_open`` and ``before_ping`` may wait, or raise."""

    isolation_level = None

    def __init__(self) -> None:
        self.opened: list[FakeConnection] = []
        self.pings = 0
        self.before_open: Callable[[], None] = lambda: None
        self.before_ping: Callable[[], None] = lambda: None
        self.passing: type[Exception] = ConnectionRefusedError
        self._lock = threading.Lock()

    @property
    def open_now(self) -> list[FakeConnection]:
        return [connection for connection in self.opened if not connection.closed]

    def open(self, seconds: float) -> FakeConnection:
        self.before_open()
        connection = FakeConnection(len(self.opened))
        try:
            with self._lock:
                connection.number = len(self.opened)
                self.opened.append(connection)
        except BaseException:
            connection.closed = 1
            raise
        return connection

    def close(self, connection: FakeConnection) -> None:
        connection.closed += 1

    def alive(self, connection: FakeConnection) -> bool:
        return connection.there

    def ping(self, connection: FakeConnection, seconds: float) -> bool:
        self.pings += 1
        self.before_ping()
        return connection.there and connection.answers

    def tidy(self, connection: FakeConnection) -> tuple[str, ...]:
        if connection.untidy:
            raise RuntimeError("in the middle of something")
        found, connection.found = connection.found, ()
        return found

    def disown(self, connection: FakeConnection) -> None:
        raise NotImplementedError

    def transient(self, error: Exception) -> bool:
        return isinstance(error, self.passing)
