"""Fixed window: a count that starts anew with each period of the clock; cheap, and fooled at the border."""

from __future__ import annotations

from noa_perf.ratelimit.algorithms.base import Algorithm, Figures

State = tuple[int, int]
"""Which window, and how many units."""


class FixedWindow(Algorithm):
    """``limit`` units in each window of ``period`` microseconds; windows begin at multiples of the period."""

    __slots__ = ("limit", "period")

    lua = "fixed_window"

    def __init__(self, limit: int, period: int) -> None:
        """Keep the two."""
        self.limit = self.capacity = limit
        self.period = period
        self.arguments = (limit, period, 0, 0)

    def admit(self, state: State | None, now: int, cost: int) -> State | None:
        """Count ``cost`` units."""
        window, count = self._now(state, now)
        return (window, count + cost) if count + cost <= self.limit else None

    def figures(self, state: State | None, now: int, cost: int, allowed: bool) -> Figures:
        """Tell what the window has left, and when the next one begins."""
        window, count = self._now(state, now)
        end = (window + 1) * self.period - now
        retry = 0 if allowed else -1 if cost > self.limit else end
        return Figures(allowed, self.limit - count, end if count else 0, retry)

    def give(self, state: State | None, now: int, cost: int, at: int = 0) -> State | None:
        """Count fewer, unless they were counted in a window that is over."""
        window, count = self._now(state, now)
        if at and at // self.period != window:
            return state
        return (window, count - cost) if count > cost else None

    def _now(self, state: State | None, now: int) -> State:
        window = now // self.period
        if state is None or state[0] < window or state[0] > window + 1:
            return window, 0
        return state
