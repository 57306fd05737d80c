"""Locks that hold within this process alone: all there is without a Redis, and while it is away."""

from __future__ import annotations

import os
import threading
import weakref

from noa_perf.core.clock import SYSTEM, Clock

FOREVER = float("inf")


class LocalLocks:
    """Who holds which name, and until when."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        """Start with none held."""
        self._now = clock.monotonic
        self.taken = 0
        """How often one was taken because Redis was away."""
        self.told = False
        """Whether that was logged since Redis last answered."""
        self._begin_anew()
        _all.add(self)

    def _begin_anew(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, tuple[str, float]] = {}
        self._elsewhere: dict[str, tuple[str, float]] = {}

    def holder(self, name: str) -> str:
        """Return the token of who holds ``name``, or nothing."""
        held = self._held.get(name)
        return held[0] if held is not None and held[1] > self._now() else ""

    def take(self, name: str, token: str, seconds: float | None) -> bool:
        """Take ``name`` for ``seconds`` (None: until it is given back), if nobody holds it; tell whether that was."""
        with self._lock:
            if self.holder(name) or self._elsewhere.get(name, ("", 0.0))[1] > self._now():
                return False
            self._held[name] = token, self._until(seconds)
            return True

    def taken_in_redis(self, name: str, token: str, seconds: float | None) -> bool:
        """Note that this process holds ``name``, so that none of its threads takes it when Redis goes away.

        Tell whether that stands: not where one of them did so while Redis answered.
        """
        with self._lock:
            if self.holder(name) not in {"", token}:
                return False
            self._elsewhere[name] = token, self._until(seconds)
            return True

    def give(self, name: str, token: str) -> bool:
        """Give ``name`` back; tell whether it was held with this token."""
        with self._lock:
            if self._elsewhere.get(name, ("", 0.0))[0] == token:
                del self._elsewhere[name]
            mine = self.holder(name) == token
            if mine:
                del self._held[name]
            return mine

    def extend(self, name: str, token: str, seconds: float, *, anew: bool) -> bool:
        """Let it be held ``seconds`` longer, or ``anew`` for as many from now; tell whether it was held so."""
        with self._lock:
            self._extend(self._elsewhere, name, token, seconds, anew)
            return self.holder(name) == token and self._extend(self._held, name, token, seconds, anew)

    def _extend(self, held: dict[str, tuple[str, float]], name: str, token: str, seconds: float, anew: bool) -> bool:
        mine, until = held.get(name, ("", 0.0))
        if mine != token or not (anew or until < FOREVER):
            return False
        held[name] = token, (self._now() if anew else until) + seconds
        return True

    def _until(self, seconds: float | None) -> float:
        return FOREVER if seconds is None else self._now() + seconds


_all: weakref.WeakSet[LocalLocks] = weakref.WeakSet()


def _after_fork() -> None:
    for one in list(_all):
        one._begin_anew()  # whoever holds one is in the parent


os.register_at_fork(after_in_child=_after_fork)
