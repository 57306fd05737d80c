"""Hands what this process' pools did to the recorder, now and then: taking and giving back only count in plain ints.

A page draws how many connections are used over time. So each look at a pool counts what it saw once for each
millisecond since the look before: sums of processes and of buckets can be added up, and divided by time.
"""

from __future__ import annotations

import atexit
import os
import socket
import weakref
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import TypeVar

from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.core.told import Told
from noa_perf.metrics import conf, recorder, rollup
from noa_perf.metrics.instruments import (
    POOL_ACQUISITION_TIME,
    POOL_ACTIVE,
    POOL_CHECKOUT_TIME,
    POOL_CLEANED,
    POOL_IDLE,
    POOL_LEAKS,
    POOL_MAX,
    POOL_OPEN_FAILURES,
    POOL_ORPHANS,
    POOL_RECYCLED,
    POOL_REFUSED,
    POOL_TIMEOUTS,
    POOL_WAITERS,
    Instrument,
)
from noa_perf.metrics.recorder import Recorder
from noa_perf.pool import registry
from noa_perf.pool.figures import Figures, State
from noa_perf.pool.housekeeper import Keeper
from noa_perf.pool.leaks import Leak
from noa_perf.pool.sizing import Step

T = TypeVar("T")

KINDS = {
    "pool": ("pool",),
    "pool_checkout": ("pool",),
    "pool_recycled": ("pool", "cause"),
    "pool_cleaned": ("pool", "what"),
    "pool_leak": ("pool", "line", "route"),
    "pool_step": ("pool", "process"),
}
"""Series of the rollup: how long connections were waited for, with what was seen of the pool; how long they were held;
why they were closed; what was found on them; which line leaked; how a process' pool grew and shrank."""

STEPS = 20
"""Steps of size that are noted of a process."""
_GAUGES = {POOL_ACTIVE: "used", POOL_IDLE: "idle", POOL_MAX: "limit", POOL_WAITERS: "waiting"}
_COUNTERS = {
    "timeouts": POOL_TIMEOUTS,
    "refused": POOL_REFUSED,
    "leaks": POOL_LEAKS,
    "orphans": POOL_ORPHANS,
}
_BY_LABEL: Mapping[str, tuple[Instrument, str]] = {
    "recycled": (POOL_RECYCLED, "pool_recycled"),
    "cleaned": (POOL_CLEANED, "pool_cleaned"),
}


class Teller:
    """Remembers what was told of one pool."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        """Start from nothing."""
        self._clock = clock
        self._told = Told()
        self._at: float | None = None
        self._idly = 0
        self._seconds: dict[str, float] = {}
        self._last_leak: tuple[float, Leak] | None = None
        self._last_step: Step | None = None

    def tell(self, to: Recorder, keeper: Keeper) -> None:
        """Hand over what was counted since the last time."""
        name, figures, state = keeper.pool.name, keeper.pool.figures, keeper.pool.state()
        self._tell_use(to, name, figures, state)
        for what, (instrument, kind) in _BY_LABEL.items():
            for label, many in self._told.since(what, getattr(figures, what)).items():
                to.count(instrument, (name, label), many)
                to.add(kind, (name, label), many)
        self._tell_leaks(to, name, keeper)
        self._tell_steps(to, name, keeper)

    def _tell_use(self, to: Recorder, name: str, figures: Figures, state: State) -> None:
        waits, held = self._spread("waits", self._waits(figures, state)), self._spread("held", state.held)
        waited, seconds = sum(waits.values()), self._grown("wait", state.wait_seconds)
        if waited:
            to.observe(POOL_ACQUISITION_TIME, (name,), waited, seconds, waits)
        if held:
            busy = self._grown("busy", state.busy)
            to.observe(POOL_CHECKOUT_TIME, (name,), sum(held.values()), busy, held)
            to.add("pool_checkout", (name,), sum(held.values()), busy, held)
        to.add("pool", (name,), waited, seconds, waits, **self._counts(to, name, figures, state), **self._seen(state))

    def _waits(self, figures: Figures, state: State) -> Counter[int]:
        """Return how long all had to wait: those, too, who found one idle and are counted by nobody."""
        waits = Counter(state.waits)
        # Who waits or is refused just now may be counted here and not yet there: what was told stays told.
        self._idly = max(self._idly, state.uses + figures.timeouts + figures.refused - sum(waits.values()))
        waits[0] += self._idly
        return waits

    def _counts(self, to: Recorder, name: str, figures: Figures, state: State) -> dict[str, int]:
        counts = self._told.since("counts", {what: getattr(figures, what) for what in _COUNTERS})
        for what, many in counts.items():
            to.count(_COUNTERS[what], (name,), many)
        failed = self._told.since("failures", figures.failures)
        for error, many in failed.items():
            to.count(POOL_OPEN_FAILURES, (name, error), many)
        waited = self._told.since("waited", {"waited": sum(state.waits.values())})
        return {**counts, **waited, **{f"failed_{error}": many for error, many in failed.items()}}

    def _seen(self, state: State) -> dict[str, int]:
        now = self._clock.monotonic()
        since = now - conf.settings().flush_seconds if self._at is None else self._at
        self._at, ms = now, round((now - since) * 1_000)
        seen = {"used": state.used, "idle": state.idle, "waiting": state.waiting, "limit": state.limit}
        return {"ms": ms, **{what: many * ms for what, many in seen.items()}}

    def _tell_leaks(self, to: Recorder, name: str, keeper: Keeper) -> None:
        new = _after(self._last_leak, keeper.leaks)
        for at, leak in new:
            labels = name, leak.line, leak.route
            to.add("pool_leak", labels, 1, leak.age)
            to.note("pool_leak", labels, {"at": at, "age": leak.age, "thread": leak.thread, "stack": leak.stack})
        if new:
            self._last_leak = new[-1]

    def _tell_steps(self, to: Recorder, name: str, keeper: Keeper) -> None:
        new = _after(self._last_step, keeper.steps)
        if new:
            self._last_step = new[-1]
            labels = name, f"{socket.gethostname()}:{os.getpid()}"
            to.add("pool_step", labels, len(new))
            last = list(keeper.steps)[-STEPS:]
            facts = [{"at": one.at, "before": one.before, "after": one.after, "why": one.why} for one in last]
            to.note("pool_step", labels, {"steps": facts})

    def _spread(self, what: str, buckets: Mapping[int, int]) -> dict[int, int]:
        grown = self._told.since(what, {str(index): many for index, many in buckets.items()})
        return {int(index): many for index, many in grown.items()}

    def _grown(self, what: str, seconds: float) -> float:
        before = self._seconds.get(what, 0.0)
        self._seconds[what] = seconds
        return seconds - before


_tellers: weakref.WeakKeyDictionary[Keeper, Teller] = weakref.WeakKeyDictionary()
_names: set[str] = set()


def install() -> None:
    """Tell of every pool from now on."""
    rollup.KINDS.update(KINDS)
    recorder.before_flush(tell)
    atexit.register(tell)  # before the pools are closed: what is registered last is done first


def tell() -> None:
    """Hand over what pools did since the last time."""
    to, shown = recorder.current(), {name: Counter[str]() for name in _names}
    for keeper in registry.keepers():
        teller = _tellers.get(keeper)
        if teller is None:
            teller = _tellers[keeper] = Teller()
        teller.tell(to, keeper)
        name, state = keeper.pool.name, keeper.pool.state()
        shown[name] = shown.get(name, Counter()) + Counter({what: getattr(state, what) for what in _GAUGES.values()})
    _names.update(shown)
    for name, seen in shown.items():
        for gauge, what in _GAUGES.items():
            to.set(gauge, (name,), seen[what])


def _after(last: T | None, all_of_them: Iterable[T]) -> list[T]:
    """Return those that came after ``last``; all where that is forgotten already."""
    newest = takewhile(lambda one: one is not last, reversed(list(all_of_them)))
    return list(newest)[::-1]
