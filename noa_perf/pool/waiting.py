"""Who waits for a connection, in the order in which they came."""

from __future__ import annotations

import _thread
from typing import Any


class Grant:
    """A place that is free: whoever gets it opens the connection himself."""


OPEN = Grant()


class Waiter:
    """One who waits. What is handed over is set before the lock is released, and read after it was acquired."""

    __slots__ = ("granted", "lock")

    def __init__(self) -> None:
        """Begin to wait."""
        self.granted: Any = None
        self.lock = _thread.allocate_lock()
        self.lock.acquire()

    def grant(self, what: Any) -> None:
        """Hand over an entry, :data:`OPEN`, or the error that ends the wait."""
        self.granted = what
        self.lock.release()
