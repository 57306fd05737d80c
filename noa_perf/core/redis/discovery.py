"""How the nodes of a Cluster are asked for: by one caller at a time, for a bounded time, and not over and over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.core.redis.errors import ERRORS, down, too_long

T = TypeVar("T")

PAUSE = 0.2
"""Seconds after a failure for which the nodes are not asked again, and whoever wants them is told of it at once."""


class Discovery:
    """Lets threads ask a Cluster for its nodes.

    Those that do not answer would hold each caller for as long as all nodes take together, one caller after the other.
    Here who waits for another does so for ``limit`` seconds, and no node is tried once ``limit`` seconds are over: it
    ends after those and one node's timeouts.
    """

    __slots__ = ("_again_at", "_lock", "_now", "limit")

    def __init__(self, limit: float, clock: Clock = SYSTEM) -> None:
        """Ask nobody yet. ``limit`` 0 sets none."""
        self.limit = limit or None
        self._now = clock.monotonic
        self._lock = threading.Lock()
        self._again_at = float("-inf")

    def run(self, ask: Callable[[], T]) -> T:
        """Return what ``ask`` does; raise what it does, or that it is no use or not our turn."""
        if not self._lock.acquire(timeout=-1 if self.limit is None else self.limit):
            raise too_long("Another thread is still asking for the nodes of the Cluster.")
        try:
            self.refuse()
            _asking.until = None if self.limit is None else self._now() + self.limit
            _asking.now = self._now
            return ask()
        except ERRORS:
            self.failed()
            raise
        finally:
            _asking.until = None
            self._lock.release()

    def refuse(self) -> None:
        """Raise an error right after a failure."""
        if self._now() < self._again_at:
            raise down("The nodes of the Cluster did not answer a moment ago.")

    def failed(self) -> None:
        """Note that nobody has answered; what was refused for that does not count anew."""
        now = self._now()
        if now >= self._again_at:
            self._again_at = now + PAUSE


class _Asking(threading.local):
    until: float | None = None
    now: Callable[[], float] = staticmethod(SYSTEM.monotonic)


_asking = _Asking()


def check() -> None:
    """Raise an error where this thread asks for nodes and has no time left for another one."""
    if _asking.until is not None and _asking.now() >= _asking.until:
        raise too_long("The nodes of the Cluster take too long to answer.")
