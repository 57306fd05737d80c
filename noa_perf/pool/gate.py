"""Keeps a server that cannot be reached from being asked again at once, and by everybody."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST = 0.02
"""Seconds after the first failure before which nobody tries again."""
LONGEST = 1.0
"""Seconds beyond which the wait does not grow."""


class Gate:
    """Shut for a while after each failure, twice as long each time, give or take a half."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        """Start open."""
        self.opens_at = float("-inf")
        self.failures = 0
        self._jitter = jitter

    def shut(self, now: float) -> None:
        """Say that opening failed."""
        seconds = min(LONGEST, FIRST * 2.0 ** min(self.failures, 16))
        self.opens_at = now + seconds * (0.5 + self._jitter())
        self.failures += 1

    def open(self) -> None:
        """Say that it succeeded."""
        self.failures = 0
        self.opens_at = float("-inf")
