"""Injectable time, so that no test has to sleep."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where durations come from."""

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start, never going back."""

    def time(self) -> float:
        """Return seconds since 1970 (UTC); an operator or NTP may set it forwards or back."""


class SystemClock:
    """The operating system's own clock."""

    monotonic = staticmethod(time.perf_counter)
    time = staticmethod(time.time)


class ManualClock:
    """A clock that moves only when told to: for tests."""

    def __init__(self, start: float = 0.0, *, wall: float = 1_800_000_000.0) -> None:
        self._now = start
        self._wall = wall

    def monotonic(self) -> float:
        """Return the seconds that :meth:`advance` has added up to."""
        return self._now

    def time(self) -> float:
        """Return the seconds since 1970 that this clock shows."""
        return self._wall

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self._now += seconds
        self._wall += seconds

    def step(self, seconds: float) -> None:
        """Set the wall clock by ``seconds``, forwards or back, while no time passes."""
        self._wall += seconds


SYSTEM: Clock = SystemClock()
