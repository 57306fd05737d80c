"""One connection of a pool, and what is known of it."""

from __future__ import annotations

import threading
from typing import Any, Generic

from noa_perf.core.histogram import bucket
from noa_perf.pool.driver import C
from noa_perf.pool.stacks import Stack


class Entry(Generic[C]):
    """A connection with its history; whoever took it is the only one to touch it until it is given back."""

    __slots__ = (
        "busy",
        "checked_at",
        "connection",
        "expires_at",
        "generation",
        "held",
        "holder",
        "opened_at",
        "owner",
        "reported",
        "scope",
        "stack",
        "taken_at",
        "used_at",
        "uses",
        "wait_seconds",
        "waits",
    )

    def __init__(self, connection: C, now: float, expires_at: float, generation: int) -> None:
        """Take a connection that was just opened."""
        self.connection = connection
        self.generation = generation
        self.opened_at = self.checked_at = self.used_at = now
        self.expires_at = expires_at
        self.uses = 0
        self.busy = 0.0
        self.held: dict[int, int] = {}
        """How long it was held, by powers of two of microseconds."""
        self.waits: dict[int, int] = {}
        """How long those had to wait for it who found none idle, likewise."""
        self.wait_seconds = 0.0
        self.owner: threading.Thread | None = None
        self.holder: Any = None
        """A weak reference to whoever uses it on behalf of the owner, where there is one."""
        self.scope: Any = None
        """The request for which it was taken."""
        self.stack: Stack = ()
        self.taken_at = 0.0
        self.reported = False

    def waited(self, seconds: float) -> None:
        """Count one who found none idle, and has this one now."""
        index = bucket(seconds)
        self.wait_seconds += seconds
        self.waits[index] = self.waits.get(index, 0) + 1
