"""Looks after a process' pools in the background: leaks, owners that died, idle connections, size."""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from typing import Any

from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.pool import signals
from noa_perf.pool.core import Pool
from noa_perf.pool.entry import Entry
from noa_perf.pool.leaks import Leak
from noa_perf.pool.sizing import Demand, Sample, Step

logger = logging.getLogger("noa_perf.pool")

EVERY = 1.0
"""Seconds between two rounds."""
TOGETHER = 8
"""Connections that are opened side by side."""


class Keeper:
    """The chores of one pool; :meth:`tend` does them once, whoever calls it."""

    def __init__(self, pool: Pool[Any], clock: Clock = SYSTEM) -> None:
        """Look after ``pool``."""
        self.pool = pool
        self.steps: deque[Step] = deque(maxlen=50)
        """The last changes of the pool's size."""
        self.leaks: deque[tuple[float, Leak]] = deque(maxlen=50)
        """The last leaks, with when they were found, in seconds since 1970."""
        self._clock = clock
        self._demand = Demand()
        self._before = 0

    def tend(self) -> None:
        """Do what is due."""
        self.pool.reap()
        self._report()
        self._measure()
        self._shrink()
        self._refresh()
        self._refill()

    def _report(self) -> None:
        for leak in self.pool.watch():
            self.leaks.append((self._clock.time(), leak))
            message = "pool %s: a connection has been held for %.1f s by thread %s%s; taken by %s"
            route = leak.route and f" on {leak.route}"
            logger.warning(message, leak.pool, leak.age, leak.thread, route, leak.line, extra={"stack": leak.stack})
            signals.connection_leaked.send_robust(sender=type(self.pool), leak=leak)

    def _measure(self) -> None:
        now, state = self._clock.monotonic(), self.pool.state()
        self._demand.add(Sample(now, state.uses, state.busy, state.waiting, state.used))
        if state.open > self._before:
            self._step(state.open, f"grown on demand: {state.used} in use, {state.waiting} waiting")
        self._before = state.open

    def _step(self, after: int, why: str) -> None:
        self.steps.append(Step(self._clock.time(), self._before, after, why))
        self._before = after

    def _shrink(self) -> None:
        """Close what has idled for too long, beyond what demand calls for."""
        pool, now = self.pool, self._clock.monotonic()
        wanted, why = self._demand.wanted()
        least = max(pool.min_size, wanted)
        closed = 0
        for entry in pool.idle():
            surplus = pool.state().open > least and now - entry.used_at > pool.options.max_idle
            if surplus and pool.claim(entry):
                pool.discard(entry, "idle")
                closed += 1
        if closed:
            self._step(self._before - closed, f"shrunk by {closed}: {why}")

    def _refresh(self) -> None:
        """Replace what is too old, and keep the others awake, so that no request has to."""
        pool, now = self.pool, self._clock.monotonic()
        for entry in pool.idle():
            if now >= entry.expires_at:
                if pool.claim(entry):
                    pool.discard(entry, "lifetime")
            elif now - max(entry.used_at, entry.checked_at) > pool.options.ping_after * 0.8 and pool.claim(entry):
                self._check(entry)

    def _check(self, entry: Entry[Any]) -> None:
        if self.pool.driver.alive(entry.connection) and self.pool.pinged(entry):
            self.pool.put_back(entry)
        else:
            self.pool.discard(entry, "dead")

    def _refill(self) -> None:
        state = self.pool.state()
        missing = min(self.pool.min_size - state.open - state.opening, TOGETHER)
        threads = [threading.Thread(target=self.pool.grow, daemon=True) for _ in range(missing)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


class Housekeeper(threading.Thread):
    """The thread that tends to pools as long as there are any; it keeps none of them alive."""

    def __init__(self, every: float = EVERY) -> None:
        """Tend about every ``every`` seconds."""
        super().__init__(name="noa_perf.pool", daemon=True)
        self._every = every
        self._keepers: weakref.WeakSet[Keeper] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._faults: set[str] = set()

    def look_after(self, keeper: Keeper) -> None:
        """Tend to one more pool."""
        with self._lock:
            self._keepers.add(keeper)

    def run(self) -> None:
        """Tend until told to stop."""
        while not self._over.wait(self._every):
            for keeper in self._all():
                if not keeper.pool.closed:
                    self._tend(keeper)

    def stop(self) -> None:
        """End soon."""
        self._over.set()

    def _all(self) -> list[Keeper]:
        with self._lock:  # a set that grows while it is read would end this thread
            return list(self._keepers)

    def _tend(self, keeper: Keeper) -> None:
        try:
            keeper.tend()
        except Exception as error:
            name = type(error).__name__
            if name not in self._faults:
                self._faults.add(name)
                logger.error("noa_perf.pool failed in its chores (%s); the site is not affected; logged once", name)
                logger.debug("in the chores", exc_info=error)
