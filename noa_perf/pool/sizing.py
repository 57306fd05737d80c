"""How many connections a pool should keep: read off what was asked of it, by Little's law.

``arrivals/s × seconds held = connections in use on average``. Requests do not come evenly, so some more are kept: twice
the square root, which leaves few of those who come at random without one.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

WINDOW = 60.0
"""Seconds of demand that are looked at."""


@dataclass(frozen=True, slots=True)
class Step:
    """One change of a pool's size, and why."""

    at: float
    """Seconds since 1970."""
    before: int
    after: int
    why: str


@dataclass(frozen=True, slots=True)
class Sample:
    """What a pool had counted at one moment."""

    at: float
    """Seconds on the pool's clock."""
    uses: int
    busy: float
    waiting: int
    peak: int
    """Connections in use just then."""


class Demand:
    """The samples of the last :data:`WINDOW` seconds."""

    def __init__(self) -> None:
        """Start from nothing."""
        self._samples: deque[Sample] = deque()

    def add(self, sample: Sample) -> None:
        """Add the newest, and forget what is too old; one older than the window is kept to measure from."""
        self._samples.append(sample)
        while len(self._samples) > 2 and self._samples[1].at <= sample.at - WINDOW:
            self._samples.popleft()

    def wanted(self) -> tuple[int, str]:
        """Return how many connections demand calls for, and the sum that says so."""
        first, last = self._samples[0], self._samples[-1]
        seconds = last.at - first.at
        uses = last.uses - first.uses
        peak = max(sample.peak + sample.waiting for sample in self._samples)
        if not uses or seconds <= 0:
            return peak, f"none was taken in {seconds:.0f} s, {peak} in use"
        held = (last.busy - first.busy) / uses
        average = uses / seconds * held
        wanted = max(peak, math.ceil(average + 2 * math.sqrt(average)))
        return wanted, f"{uses / seconds:.1f}/s × {held * 1000:.1f} ms = {average:.2f} in use, {peak} at the peak"
