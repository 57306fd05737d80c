"""Sliding log: when each unit was taken; exact at any moment, and as large as the limit."""

from __future__ import annotations

from collections import deque

from noa_perf.ratelimit.algorithms.base import Algorithm, Figures

PER_STATE = 2
"""Entries that take as much room as a state of the usual size."""


class Log:
    """Moments, each with the units that were taken up to it since the log began."""

    __slots__ = ("base", "entries")

    def __init__(self) -> None:
        """Begin."""
        self.base = 0
        """Units that no longer count."""
        self.entries: deque[tuple[int, int]] = deque()

    @property
    def total(self) -> int:
        """Units that were ever taken."""
        return self.entries[-1][1] if self.entries else self.base

    @property
    def used(self) -> int:
        """Units that count."""
        return self.total - self.base


class SlidingLog(Algorithm):
    """Never more than ``limit`` units in any ``period`` microseconds."""

    __slots__ = ("limit", "period")

    lua = "sliding_log"
    mutable = True

    def __init__(self, limit: int, period: int) -> None:
        """Keep the two."""
        self.limit = self.capacity = limit
        self.period = period
        self.arguments = (limit, period, 0, 0)

    def admit(self, state: Log | None, now: int, cost: int) -> Log | None:
        """Return the log, without what is over, if ``cost`` units are there."""
        log = self._now(state, now)
        return log if log.used + cost <= self.limit else None

    def commit(self, state: Log, now: int, cost: int) -> Log:
        """Write ``cost`` units down."""
        entries, total = state.entries, state.total
        if cost:
            if entries and entries[-1][0] >= now:  # the same moment; or the clock was set back
                now = entries.pop()[0]
            entries.append((now, total + cost))
        return state

    def figures(self, state: Log | None, now: int, cost: int, allowed: bool) -> Figures:
        """Tell what is left, and when the latest unit will no longer count."""
        log = self._now(state, now)
        used = log.used
        retry = 0 if allowed else -1 if cost > self.limit else self._freed(log, used + cost - self.limit) - now
        return Figures(allowed, self.limit - used, log.entries[-1][0] + self.period - now if used else 0, retry)

    def give(self, state: Log | None, now: int, cost: int, at: int = 0) -> Log | None:
        """Strike units out: those of the moment ``at``, if they still count, or else the latest."""
        log = self._now(state, now)
        if at:
            self._strike(log, cost, at)
        else:
            log.entries = _without_latest(log, cost)
        return log if log.used else None

    def weight(self, state: Log) -> int:
        """Return its length, in states of the usual size."""
        return 1 + len(state.entries) // PER_STATE

    @staticmethod
    def _strike(log: Log, cost: int, at: int) -> None:
        if any(moment == at for moment, _ in log.entries):
            log.entries = deque((moment, total - cost if moment >= at else total) for moment, total in log.entries)

    def _now(self, state: Log | None, now: int) -> Log:
        """Return the log without what no longer counts."""
        if state is None or (state.entries and state.entries[-1][0] > now + self.period):
            return Log()
        entries, over = state.entries, now - self.period
        while entries and entries[0][0] <= over:
            state.base = entries.popleft()[1]
        return state

    def _freed(self, log: Log, wanted: int) -> int:
        """Return the moment at which ``wanted`` units will no longer count."""
        return next(moment for moment, total in log.entries if total - log.base >= wanted) + self.period


def _without_latest(log: Log, cost: int) -> deque[tuple[int, int]]:
    entries, total = log.entries, max(log.base, log.total - cost)
    while entries and entries[-1][1] > total:
        moment, _ = entries.pop()
        before = entries[-1][1] if entries else log.base
        if before < total:
            entries.append((moment, total))
    return entries
