"""Sliding counter with a guarantee: a window in ten parts, and each part that it may still touch counts in full."""

from __future__ import annotations

from noa_perf.ratelimit.algorithms.base import Algorithm, Figures

PARTS = 10
"""More would admit more of what may be admitted, and take more room."""

State = tuple[int, tuple[int, ...]]
"""Which part, and the units of it and of the :data:`PARTS` before it, the latest first."""

_NONE = (0,) * (PARTS + 1)


class SubWindows(Algorithm):
    """Never more than ``limit`` units in any ``period`` microseconds: up to a tenth more of the past counts."""

    __slots__ = ("limit", "part")

    lua = "sub_windows"

    def __init__(self, limit: int, period: int) -> None:
        """Divide the period, rounding up."""
        self.limit = self.capacity = limit
        self.part = -(-period // PARTS)
        """Microseconds of a part."""
        self.arguments = (limit, self.part, PARTS, 0)

    def admit(self, state: State | None, now: int, cost: int) -> State | None:
        """Count ``cost`` units."""
        part, counts = self._now(state, now)
        if sum(counts) + cost > self.limit:
            return None
        return part, (counts[0] + cost, *counts[1:])

    def figures(self, state: State | None, now: int, cost: int, allowed: bool) -> Figures:
        """Tell what is left, and when the last part that counts will have passed."""
        part, counts = self._now(state, now)
        used = sum(counts)
        retry = 0 if allowed else -1 if cost > self.limit else self._freed(part, counts, used + cost - self.limit) - now
        return Figures(allowed, self.limit - used, self._freed(part, counts, used) - now if used else 0, retry)

    def give(self, state: State | None, now: int, cost: int, at: int = 0) -> State | None:
        """Count fewer: in the part of ``at``, or in the latest first."""
        part, counts = self._now(state, now)
        left = list(counts)
        ages = [part - at // self.part] if at else range(PARTS + 1)
        for age in ages:
            if 0 <= age <= PARTS:
                given = min(cost, left[age])
                left[age] -= given
                cost -= given
        return (part, tuple(left)) if any(left) else None

    def _now(self, state: State | None, now: int) -> State:
        part = now // self.part
        if state is None or state[0] > part + PARTS:
            return part, _NONE
        passed = part - state[0]
        if passed <= 0:
            return state
        return part, (_NONE[: min(passed, PARTS + 1)] + state[1])[: PARTS + 1]

    def _freed(self, part: int, counts: tuple[int, ...], wanted: int) -> int:
        """Return the moment at which ``wanted`` units will no longer count."""
        age = PARTS
        while wanted > counts[age]:
            wanted -= counts[age]
            age -= 1
        return (part + PARTS + 1 - age) * self.part
