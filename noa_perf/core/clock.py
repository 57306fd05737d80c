"""Injectable time, so that no test has to sleep."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where durations come from."""

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start, never going back."""


class SystemClock:
    """The operating system's own clock."""

    monotonic = staticmethod(time.perf_counter)


class ManualClock:
    """A clock that moves only when told to: for tests."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def monotonic(self) -> float:
        """Return the seconds that :meth:`advance` has added up to."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock on by ``seconds``."""
        self._now += seconds


SYSTEM: Clock = SystemClock()
