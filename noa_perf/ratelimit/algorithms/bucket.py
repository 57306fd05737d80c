"""Token bucket, leaky bucket and GCRA: one meter under three names, exact in integers.

A leaky bucket fills as requests come and leaks at a steady rate; a token bucket is the same seen from its empty part;
GCRA keeps the moment at which it will have run dry. All three admit the same requests (ITU-T I.371, annex A), and
differ in the size that a bucket has where nobody gives one. What is kept is how full it was, and when.
"""

from __future__ import annotations

from math import gcd

from noa_perf.ratelimit.algorithms.base import EXACT, Algorithm, Figures

State = tuple[int, int]
"""When (in quanta), and how full in ticks: one leaks out ``ticks`` times in a quantum."""


class Bucket(Algorithm):
    """Holds ``burst`` units; ``limit`` of them leak out in ``period`` microseconds."""

    __slots__ = ("longest", "per_unit", "quantum", "room", "ticks")

    lua = "bucket"

    def __init__(self, limit: int, period: int, burst: int) -> None:
        """Choose ticks in which ``period / limit`` is whole, and quanta of time in which all fits into a double."""
        quantum, wide = 1, period
        per_unit, ticks = _reduced(wide, limit)
        while per_unit * burst > EXACT:
            quantum *= 2
            wide = period // quantum + 2  # a window never spans more quanta than this: nobody gets more than stated
            per_unit, ticks = _reduced(wide, limit)
        self.quantum = quantum
        """Microseconds; more than 1 only where the numbers are very large and share no divisor."""
        self.per_unit = per_unit
        """Ticks of one unit."""
        self.ticks = ticks
        self.room = per_unit * burst
        """Ticks that it holds."""
        self.longest = -(-self.room // ticks)
        """Quanta in which it runs dry: a state from further ahead is from before the clock was set back."""
        self.capacity = burst
        self.arguments = (per_unit, self.room, ticks, quantum)

    def admit(self, state: State | None, now: int, cost: int) -> State | None:
        """Pour ``cost`` units in, if they fit."""
        at = now if self.quantum == 1 else now // self.quantum
        filled = cost * self.per_unit
        if state is not None:
            was, left = state
            if at > was:
                left -= (at - was) * self.ticks
            elif was - at > self.longest:
                left = 0
            if left > 0:
                filled += left
        return (at, filled) if filled <= self.room else None

    def figures(self, state: State | None, now: int, cost: int, allowed: bool) -> Figures:
        """Tell how much is left, and how long it leaks."""
        filled = self._filled(state, now)
        retry = 0
        if not allowed:
            wanted = cost * self.per_unit
            retry = -1 if wanted > self.room else self._until(filled + wanted - self.room, now)
        return Figures(allowed, (self.room - filled) // self.per_unit, self._until(filled, now), retry)

    def give(self, state: State | None, now: int, cost: int, at: int = 0) -> State | None:
        """Take units out again; of those that came in at the moment ``at`` what cannot have leaked out since."""
        given = cost * self.per_unit
        if at:  # the rest is gone: to take it out too would take out what others have poured in
            given = max(0, given - max(0, now // self.quantum - at // self.quantum) * self.ticks)
        filled = self._filled(state, now) - given
        return (now // self.quantum, filled) if filled > 0 else None

    def _filled(self, state: State | None, now: int) -> int:
        if state is None:
            return 0
        passed = now // self.quantum - state[0]
        return 0 if -passed > self.longest else max(0, state[1] - max(0, passed) * self.ticks)

    def _until(self, ticks: int, now: int) -> int:
        """Return microseconds until as many ticks have leaked out."""
        if ticks <= 0:
            return 0
        return (now // self.quantum - -ticks // self.ticks) * self.quantum - now


def _reduced(period: int, limit: int) -> tuple[int, int]:
    common = gcd(period, limit)
    return period // common, limit // common
