"""What a pool counts; whatever the usual way counts stands on the entries, which are one thread's at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from noa_perf.core.histogram import bucket
from noa_perf.pool.entry import Entry


class Figures:
    """Counts that only grow."""

    def __init__(self) -> None:
        """Start from nothing."""
        self.opened = 0
        self.timeouts = 0
        self.refused = 0
        self.leaks = 0
        self.orphans = 0
        """Connections taken back from threads that ended."""
        self.recycled: Counter[str] = Counter()
        """Why connections were closed."""
        self.cleaned: Counter[str] = Counter()
        """What was found on connections that came back, and put right."""
        self.failures: Counter[str] = Counter()
        """Why none could be opened."""
        self.uses = 0
        """Of connections that are closed now, like what follows."""
        self.waits: Counter[int] = Counter()
        self.wait_seconds = 0.0
        self.busy = 0.0
        self.held: Counter[int] = Counter()

    def waited(self, seconds: float) -> None:
        """Count one who found none idle, and got none either."""
        self.wait_seconds += seconds
        self.waits[bucket(seconds)] += 1

    def bury(self, entry: Entry[Any], why: str) -> None:
        """Keep what an entry has counted."""
        self.recycled[why] += 1
        self.uses += entry.uses
        self.busy += entry.busy
        self.held.update(entry.held)
        self.waits.update(entry.waits)
        self.wait_seconds += entry.wait_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How a pool stands at one moment."""

    used: int
    idle: int
    opening: int
    waiting: int
    limit: int
    uses: int
    """Connections given out so far."""
    busy: float
    """Seconds that they were held, in all."""
    held: Counter[int]
    """How long each was held, by powers of two of microseconds."""
    waits: Counter[int]
    """How long those had to wait who found none idle, likewise."""
    wait_seconds: float

    @property
    def open(self) -> int:
        """Connections that there are."""
        return self.used + self.idle
