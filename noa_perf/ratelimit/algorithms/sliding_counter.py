"""Sliding counter: two fixed windows, the former weighed by how much of it still matters."""

from __future__ import annotations

from noa_perf.ratelimit.algorithms.base import EXACT, Algorithm, Figures

State = tuple[int, int, int]
"""Which window, its units, and those of the window before."""


class SlidingCounter(Algorithm):
    """About ``limit`` units in any ``period`` microseconds, as if the former window's had come evenly."""

    __slots__ = ("limit", "period", "quantum", "wide")

    lua = "sliding_counter"

    def __init__(self, limit: int, period: int) -> None:
        """Choose quanta of time in which a count times a period is exact."""
        self.limit = self.capacity = limit
        self.period = period
        self.quantum = -(-limit * period // EXACT)
        self.wide = -(-period // self.quantum)
        """Quanta of a window."""
        self.arguments = (limit, period, self.quantum, self.wide)

    def admit(self, state: State | None, now: int, cost: int) -> State | None:
        """Count ``cost`` units."""
        window, count, before = self._now(state, now)
        if count + self._weighed(before, window, now) + cost > self.limit:
            return None
        return window, count + cost, before

    def figures(self, state: State | None, now: int, cost: int, allowed: bool) -> Figures:
        """Tell what is left, and when both windows will have passed."""
        window, count, before = self._now(state, now)
        reset = (window + (2 if count else 1 if before else 0)) * self.period - now if count or before else 0
        retry = 0 if allowed else -1 if cost > self.limit else self._retry(window, count, before, cost) - now
        remaining = max(0, self.limit - count - self._weighed(before, window, now))
        return Figures(allowed, remaining, reset, retry)

    def give(self, state: State | None, now: int, cost: int, at: int = 0) -> State | None:
        """Count fewer: in the window of ``at``, or in this one first."""
        window, count, before = self._now(state, now)
        ago = window - at // self.period if at else None
        here = min(cost, count) if ago in (None, 0) else 0
        if ago in (None, 1):
            before = max(0, before - (cost - here))
        return (window, count - here, before) if count > here or before else None

    def _now(self, state: State | None, now: int) -> State:
        window = now // self.period
        if state is None or state[0] < window - 1 or state[0] > window + 1:
            return window, 0, 0
        if state[0] == window - 1:
            return window, 0, state[1]
        return state

    def _weighed(self, before: int, window: int, now: int) -> int:
        into = max(0, now - window * self.period) // self.quantum
        return -(-before * (self.wide - into) // self.wide)

    def _retry(self, window: int, count: int, before: int, cost: int) -> int:
        """Return the moment at which ``cost`` units will be there if nobody takes any meanwhile."""
        room = self.limit - cost - count
        if room < 0:  # not in this window: in the next one this one's count is the former
            window, before, room = window + 1, count, self.limit - cost
        into = (self.wide - room * self.wide // before) * self.quantum
        return window * self.period + min(into, self.period)
