"""The pool: places for connections, given out in the order in which they are asked for. It knows no database.

A pool has ``limit`` places. A place holds a connection or is free; whoever gets a free one opens the connection, in
his own thread, so that openings run side by side and an error goes to the one whom it concerns. Where all are taken
people queue, and what comes back is put into the hands of whoever waits longest: nobody overtakes.

The usual way takes no lock: an idle connection is popped off a deque, and put back on it. Whoever puts one back looks
for waiters after that, and whoever begins to wait looks for idle ones after saying so: one of them sees the other.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Generic

from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.core.histogram import bucket
from noa_perf.pool import leaks, stacks
from noa_perf.pool.driver import C, Driver
from noa_perf.pool.entry import Entry
from noa_perf.pool.exceptions import PoolClosed, PoolError, PoolFull, PoolTimeout
from noa_perf.pool.figures import Figures, State
from noa_perf.pool.gate import Gate
from noa_perf.pool.options import PoolOptions
from noa_perf.pool.requests import current
from noa_perf.pool.waiting import OPEN, Grant, Waiter

logger = logging.getLogger("noa_perf.pool")

REAP_EVERY = 0.1
"""Seconds between two looks for owners that died."""
JITTER = 0.1
"""Share of their life by which connections differ."""
TOLD = 3
"""How many of those who hold connections an error names."""


class Pool(Generic[C]):
    """Connections of one kind to one place, for all threads of this process."""

    patience = 1.0
    """Seconds after which who waits looks for himself: for owners that died, for places that nobody told him of."""

    def __init__(
        self,
        name: str,
        driver: Driver[C],
        options: PoolOptions,
        clock: Clock = SYSTEM,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Open nothing yet."""
        self.name, self.driver, self.options = name, driver, options
        self.min_size, self.limit = options.min_size, options.max_size
        self.closed = False
        self.figures = Figures()
        self.on_first: Callable[[], None] | None = None
        """Called once, when the first connection is asked for."""
        self._now, self._jitter = clock.monotonic, jitter
        self._lock = threading.Lock()
        self._idle: dict[Entry[C], None] = {}  # in the order of their return
        self._waiters: deque[Waiter] = deque()
        self._entries: set[Entry[C]] = set()
        self._opening = 0
        self._generation = 0
        self._suspect = float("-inf")
        self._gate = Gate(jitter)
        self._why_not: Exception | None = None
        self._reaped_at = float("-inf")
        self._told: set[str] = set()

    # What is asked for

    def acquire(self, holder: Any = None, again: Entry[C] | None = None) -> Entry[C]:
        """Return a connection that is there and clean, for this thread; ``holder`` is kept beside it.

        Waits up to ``options.timeout`` seconds. Raises :class:`PoolTimeout`, :class:`PoolFull`, :class:`PoolClosed`,
        or the driver's own error where none can be opened and trying again is of no use.
        """
        entry = self._warm(again) or self._queued()
        entry.uses += 1
        entry.owner = threading.current_thread()
        entry.holder = holder
        if self.options.leak_threshold:
            entry.scope = current.get()
            entry.stack = stacks.capture(1)
        entry.taken_at = self._now()
        return entry

    def release(self, entry: Entry[C]) -> None:
        """Take a connection back; nobody else may touch it any more. A second time changes nothing. Raises nothing."""
        if entry.owner is None:
            return
        now = self._now()
        self._settle(entry, now)
        why = self._tidied(entry) or self._surplus(entry, now)
        if why is not None:
            self.discard(entry, why)
            return
        entry.used_at = now
        self.put_back(entry)

    def lost(self, entry: Entry[C]) -> None:
        """Take back a connection of which whoever had it found that it broke."""
        if entry.owner is not None:
            now = self._now()
            self._settle(entry, now)
            self._suspect = now
            self.discard(entry, "dead")

    # The usual way

    def _warm(self, again: Entry[C] | None) -> Entry[C] | None:
        idle = self._idle
        while not self._waiters and not self.closed:
            try:
                if again in idle:
                    del idle[again]
                    entry = again
                else:
                    entry, _ = idle.popitem()
            except KeyError:
                if not idle:
                    return None
                continue
            if self._fit(entry):
                return entry
        return None

    def put_back(self, entry: Entry[C]) -> None:
        """Make an entry idle, or give it to whoever waits longest."""
        self._idle[entry] = None
        if self._waiters or self.closed:
            with self._lock:
                self._serve()
            if self.closed:
                self._sweep("closed")

    # The queue

    def _queued(self) -> Entry[C]:
        began = self._now()
        deadline, first = began + self.options.timeout, False
        if self.on_first is not None:
            started, self.on_first = self.on_first, None
            started()
        try:
            while True:
                entry = self._turn(self._granted(deadline, first), deadline)
                if entry is not None:
                    return entry
                first = True  # whoever got nothing out of his turn is first again
        finally:
            self.figures.waited(self._now() - began, self._lock)

    def _turn(self, granted: Entry[C] | Grant, deadline: float) -> Entry[C] | None:
        if isinstance(granted, Grant):
            return self._open(deadline)
        return granted if self._fit(granted) else None

    def _granted(self, deadline: float, first: bool) -> Entry[C] | Grant:
        self.reap()
        waiter = Waiter()
        with self._lock:
            if self.closed:
                raise PoolClosed(f"Pool {self.name!r} is closed.")
            most = self.options.max_waiting
            if first:
                self._waiters.appendleft(waiter)
            else:
                self._waiters.append(waiter)
            self._serve()
            if waiter.granted is None and most and not first and len(self._waiters) > most:
                self._waiters.remove(waiter)
                self.figures.refused += 1
                raise PoolFull(self._complaint(f"{most} wait already, as many as max_waiting lets"))
        return self._wait(waiter, deadline)

    def _wait(self, waiter: Waiter, deadline: float) -> Entry[C] | Grant:
        try:
            while not waiter.lock.acquire(timeout=self._nap(deadline)):
                self.reap()
                self._look_again(waiter, deadline)
        except BaseException:
            self._step_out(waiter)
            raise
        granted = waiter.granted
        if isinstance(granted, PoolError):
            raise granted
        return granted  # type: ignore[no-any-return]

    def _nap(self, deadline: float) -> float:
        now = self._now()
        until = min(deadline, now + self.patience)
        if self._gate.opens_at > now:
            until = min(until, self._gate.opens_at)
        return max(0.0, until - now)

    def _look_again(self, waiter: Waiter, deadline: float) -> None:
        with self._lock:
            self._serve()
            if waiter.granted is None and self._now() >= deadline:
                self.figures.timeouts += 1
                raise PoolTimeout(self._complaint(f"none came free within {self.options.timeout:g} s"))

    def _step_out(self, waiter: Waiter) -> None:
        with self._lock:
            if waiter.granted is None:
                self._waiters.remove(waiter)
                return
            if waiter.granted is OPEN:
                self._opening -= 1
            elif isinstance(waiter.granted, Entry):
                self._idle[waiter.granted] = None
            self._serve()

    def _serve(self) -> None:
        """Hand what is to be had to those who wait; the lock is held."""
        while self._waiters:
            granted = self._next()
            if granted is None:
                return
            self._waiters.popleft().grant(granted)

    def _next(self) -> Entry[C] | Grant | None:
        try:
            return self._idle.popitem()[0]
        except KeyError:
            pass
        if self._size() >= self.limit or self._now() < self._gate.opens_at:
            return None
        if self._gate.failures and self._opening:
            return None  # one tries whether the server is back; the others follow when it is
        self._opening += 1
        return OPEN

    def _size(self) -> int:
        return len(self._entries) + self._opening

    # Opening and closing

    def _open(self, deadline: float) -> Entry[C] | None:
        """Open a connection in a place that was granted; None where it is to be tried again later."""
        try:
            connection = self.driver.open(max(0.0, deadline - self._now()))
        except BaseException as error:
            again = isinstance(error, Exception) and (self.driver.transient(error) or self._others())
            self._not_opened(error, again)
            if again and self._now() < deadline:
                return None
            if again:
                self.figures.timeouts += 1
                raise PoolTimeout(self._complaint("no connection could be opened")) from error
            raise
        return self._opened(connection)

    def _others(self) -> bool:
        # After a change of password, say, those that are open go on: better to wait for one of them than to fail.
        return bool(self._entries)

    def _not_opened(self, error: BaseException, again: bool) -> None:
        with self._lock:
            self._opening -= 1
            self.figures.failures[type(error).__name__] += 1
            if again:
                self._why_not = error  # type: ignore[assignment]
                self._gate.shut(self._now())
            self._serve()

    def _opened(self, connection: C) -> Entry[C]:
        now = self._now()
        life = self.options.max_lifetime * (1 - JITTER * self._jitter())
        entry = Entry(connection, now, now + life, self._generation)
        with self._lock:
            self._opening -= 1
            closed = self.closed
            if not closed:
                self._entries.add(entry)
                self.figures.opened += 1
                self._why_not = None
                self._gate.open()
            self._serve()
        if closed:
            self.driver.close(connection)
            raise PoolClosed(f"Pool {self.name!r} was closed while it opened a connection.")
        return entry

    def discard(self, entry: Entry[C], why: str) -> None:
        """Close a connection that nobody holds, and free its place."""
        with self._lock:
            if entry in self._entries:
                self._entries.remove(entry)
                self.figures.bury(entry, why)
            self._serve()
        self.driver.close(entry.connection)

    # Fitness

    def _fit(self, entry: Entry[C]) -> bool:
        why = self._unfit(entry, self._now())
        if why is not None:
            self.discard(entry, why)
        return why is None

    def _unfit(self, entry: Entry[C], now: float) -> str | None:
        if now >= entry.expires_at:
            return "lifetime"
        if entry.generation != self._generation:
            return "drained"
        if not self.driver.alive(entry.connection):
            self._suspect = now  # those that are older may be dead too, and not know it yet
            return "dead"
        checked = max(entry.checked_at, entry.used_at)
        if checked < self._suspect or now - checked > self.options.ping_after:
            return None if self.pinged(entry) else "silent"
        return None

    def pinged(self, entry: Entry[C]) -> bool:
        """Ask the server whether a connection is there; one that is not makes those suspect that are older."""
        asked = self._now()
        answered = self.driver.ping(entry.connection, self.options.ping_timeout)
        if answered:
            entry.checked_at = self._now()
        else:
            self._suspect = max(self._suspect, asked)
        return answered

    def _surplus(self, entry: Entry[C], now: float) -> str | None:
        if self.closed:
            return "closed"
        if entry.generation != self._generation:
            return "drained"
        if now >= entry.expires_at:
            return "lifetime"
        return "resized" if self._size() > self.limit else None

    def _tidied(self, entry: Entry[C]) -> str | None:
        try:
            found = self.driver.tidy(entry.connection)
        except Exception as error:
            logger.debug("pool %s: a connection could not be put in order", self.name, exc_info=error)
            return "untidy" if self.driver.alive(entry.connection) else "dead"
        if found:
            with self._lock:
                self.figures.cleaned.update(found)
            if "transaction" in found:
                self._tell_once("a connection came back within a transaction, which was rolled back", entry)
        return None

    # What an operator or the housekeeper asks for

    def idle(self) -> list[Entry[C]]:
        """Return the idle entries, the coldest first, as they are at this moment."""
        return list(self._idle)

    def claim(self, entry: Entry[C]) -> bool:
        """Take an idle entry out, for a check or to close it; tell whether it was still idle."""
        try:
            del self._idle[entry]
        except KeyError:
            return False
        return True

    def grow(self) -> bool:
        """Open one connection ahead of demand, where there is a place and the server answers; tell whether."""
        with self._lock:
            if self.closed or self._waiters or self._size() >= self.limit or self._now() < self._gate.opens_at:
                return False
            self._opening += 1
        try:
            self.put_back(self._opened(self.driver.open(self.options.timeout)))
        except Exception as error:  # who needs a connection will be told
            if not isinstance(error, PoolClosed):
                self._not_opened(error, True)
            return False
        return True

    def drain(self) -> None:
        """Close every connection that is open now: idle ones at once, others when they come back."""
        with self._lock:
            self._generation += 1
        self._sweep("drained")

    def resize(self, limit: int) -> None:
        """Let there be ``limit`` connections at most; what is too many is closed when it is idle."""
        with self._lock:
            self.limit = max(1, limit)
            self.min_size = min(self.options.min_size, self.limit)
            self._serve()
        for entry in self.idle():
            if len(self._entries) > self.limit and self.claim(entry):
                self.discard(entry, "resized")

    def close(self) -> None:
        """Give out nothing any more: whoever waits is told so, idle connections close, others when they come back."""
        with self._lock:
            self.closed = True
            while self._waiters:
                self._waiters.popleft().grant(PoolClosed(f"Pool {self.name!r} was closed."))
        self._sweep("closed")

    def _sweep(self, why: str) -> None:
        generation = self._generation
        for entry in self.idle():
            if (self.closed or entry.generation != generation) and self.claim(entry):
                self.discard(entry, why)

    def state(self) -> State:
        """Return how the pool stands at this moment."""
        with self._lock:
            entries = list(self._entries)
            used = sum(1 for entry in entries if entry.owner is not None)
            return State(
                used=used,
                idle=len(entries) - used,
                opening=self._opening,
                waiting=len(self._waiters),
                limit=self.limit,
                uses=self.figures.uses + sum(entry.uses for entry in entries),
                busy=self.figures.busy + sum(entry.busy for entry in entries),
                held=sum((Counter(entry.held) for entry in entries), self.figures.held),
            )

    @property
    def reachable(self) -> bool:
        """Whether the last connection that was to be opened could be, or none was to be yet."""
        return not self._gate.failures

    def held(self) -> list[leaks.Leak]:
        """Return who holds connections, the longest first."""
        now = self._now()
        with self._lock:
            held = [entry for entry in self._entries if entry.owner is not None]
        return [leaks.describe(self.name, entry, now) for entry in sorted(held, key=lambda entry: entry.taken_at)]

    def abandon(self) -> list[Entry[C]]:
        """Return all entries, and forget them: in a child that was forked, where they are the parent's."""
        return list(self._entries)

    # Whoever does not give back

    def reap(self) -> None:
        """Take back what is held by threads that have ended, and for holders that nobody knows any more."""
        now = self._now()
        with self._lock:
            if now - self._reaped_at < REAP_EVERY:
                return
            self._reaped_at = now
            dead = [entry for entry in self._entries if leaks.gone(entry)]
            self.figures.orphans += len(dead)
            for entry in dead:
                entry.owner = threading.current_thread()  # nobody else takes it back meanwhile
        for entry in dead:
            self._tell_once("nobody gave a connection back whose owner is gone; it was taken back", entry)
            self.release(entry)

    def _settle(self, entry: Entry[C], now: float) -> None:
        held = now - entry.taken_at
        index = bucket(held)
        entry.busy += held
        entry.held[index] = entry.held.get(index, 0) + 1
        if entry.reported:
            entry.reported = False
            line = leaks.site_line(entry.stack)
            logger.warning("pool %s: a leak came back after %.1f s; taken by %s", self.name, held, line)
        entry.owner = entry.holder = entry.scope = None

    def watch(self) -> list[leaks.Leak]:
        """Return what was held for longer than ``leak_threshold``, each once."""
        now, threshold = self._now(), self.options.leak_threshold
        found = []
        if threshold:
            with self._lock:
                held = [entry for entry in self._entries if leaks.watched(entry) and not entry.reported]
            for entry in held:
                if now - entry.taken_at >= threshold:
                    entry.reported = True
                    found.append(leaks.describe(self.name, entry, now))
        self.figures.leaks += len(found)
        return found

    def _tell_once(self, what: str, entry: Entry[C]) -> None:
        if what not in self._told:
            self._told.add(what)
            line = leaks.site_line(entry.stack)
            logger.warning("pool %s: %s; it was taken by %s; logged once", self.name, what, line)

    def _complaint(self, what: str) -> str:
        now = self._now()
        held = sorted((entry for entry in self._entries if entry.owner is not None), key=lambda entry: entry.taken_at)
        text = f"Pool {self.name!r}: {what}: {len(held)} of {self.limit} in use, {len(self._waiters)} waiting."
        if self._why_not is not None:
            text += f" The server cannot be reached: {str(self._why_not).strip().splitlines()[0]}"
        for entry in held[:TOLD]:
            leak = leaks.describe(self.name, entry, now)
            where = leak.route and f" on {leak.route}"
            text += f" Held for {leak.age:.1f} s by {leak.thread}{where}, taken by {leak.line}."
        return text + (" Raise max_size, or hold connections for less long." if held else "")
