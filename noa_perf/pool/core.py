"""The pool: connections that are there and clean, lent to one thread at a time. It knows no database.

It has a number of places. A place holds a connection or is free; whoever gets a free one opens the connection, in his
own thread, so that openings run side by side and an error goes to the one whom it concerns.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Generic

from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.core.histogram import bucket
from noa_perf.pool import leaks, stacks
from noa_perf.pool.driver import C, Driver
from noa_perf.pool.entry import Entry
from noa_perf.pool.exceptions import PoolClosed, PoolFull, PoolTimeout
from noa_perf.pool.figures import Figures, State
from noa_perf.pool.gate import Gate
from noa_perf.pool.options import PoolOptions
from noa_perf.pool.places import OPEN, Closed, Full, Hand, NoneCame, Places
from noa_perf.pool.requests import current

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
        self.min_size = options.min_size
        self.figures = Figures()
        self.on_first: Callable[[], None] | None = None
        """Called once, when the first connection is asked for."""
        self._now, self._jitter = clock.monotonic, jitter
        self._places: Places[Entry[C]] = Places(options.max_size, self._now, Gate(jitter))
        self._lock = self._places.lock
        self._generation = 0
        self._suspect = float("-inf")
        self._why_not: Exception | None = None
        self._reaped_at = float("-inf")
        self._told: set[str] = set()

    # What is asked for

    def acquire(self, holder: Any = None, again: Entry[C] | None = None) -> Entry[C]:
        """Return a connection that is there and clean, for this thread; ``holder`` is kept beside it.

        Waits up to ``options.timeout`` seconds. Raises :class:`PoolTimeout`, :class:`PoolFull`, :class:`PoolClosed`,
        or the driver's own error where none can be opened and trying again is of no use.
        """
        hand = Hand()
        try:
            entry = self._places.pop(again, hand)
            if entry is None or not self._fit(hand):
                entry = self._queued(hand)
            entry.uses += 1
            if self.options.leak_threshold:
                entry.scope = current.get()
                entry.stack = stacks.capture(1)
            owner = threading.current_thread()
            entry.taken_at = self._now()
            entry.holder = holder
            entry.owner = owner  # last, for whoever looks for owners reads the rest after it
        except BaseException:
            self._drop(hand)
            raise
        return entry

    def release(self, entry: Entry[C], why: str | None = None) -> None:
        """Take a connection back, to close it where it is said why; nobody else may touch it any more.

        A second time changes nothing. Raises nothing.
        """
        owner = entry.owner
        if owner is None:
            return
        try:
            now = self._now()
            self._settle(entry, now)
            why = why or self._tidied(entry) or self._surplus(entry, now)
            if why is None:
                entry.used_at = now
                self.put_back(entry)
            else:
                self.discard(entry, why)
        except BaseException:  # a signal's handler raised
            if entry.owner is owner:  # it is nobody else's yet
                self.discard(entry, "interrupted")
            raise

    def lost(self, entry: Entry[C]) -> None:
        """Take back a connection of which whoever had it found that it broke."""
        self._suspect = self._now()
        self.release(entry, "dead")

    def _drop(self, hand: Hand) -> None:
        """Let go of what was taken on the way to nowhere."""
        if hand.what is OPEN:
            if hand.connection is not None:
                self.driver.close(hand.connection)
            self._places.leave(hand, shut=False)
        elif hand.what is not None:
            self.discard(hand.what, "interrupted")

    def put_back(self, entry: Entry[C]) -> None:
        """Make an entry idle, or give it to whoever waits longest."""
        places = self._places
        places.put(entry)
        if places.closed:
            self._sweep("closed")

    # For those who found none idle

    def _queued(self, hand: Hand) -> Entry[C]:
        began = self._now()
        deadline, first = began + self.options.timeout, False
        if self.on_first is not None:
            started, self.on_first = self.on_first, None
            started()
        try:
            while (entry := self._turn(hand, deadline, first)) is None:
                first = True  # whoever got nothing out of his turn is first again
                self._hurry(deadline)
        except BaseException:
            with self._lock:
                self.figures.waited(self._now() - began)
            raise
        entry.waited(self._now() - began)
        return entry

    def _hurry(self, deadline: float) -> None:
        if self._now() >= deadline:  # each that does not answer takes ping_timeout to find out
            self.figures.timeouts += 1
            raise PoolTimeout(self._complaint(f"none was fit for use within {self.options.timeout:g} s"))

    def _turn(self, hand: Hand, deadline: float, first: bool) -> Entry[C] | None:
        self._wait(hand, deadline, first)
        if hand.what is OPEN:
            return self._open(hand, deadline)
        entry: Entry[C] = hand.what
        return entry if self._fit(hand) else None

    def _wait(self, hand: Hand, deadline: float, first: bool) -> None:
        self.reap()
        most = self.options.max_waiting
        try:
            self._places.ask(hand, deadline, self.patience, first, most, self.reap)
        except NoneCame:
            self.figures.timeouts += 1
            raise PoolTimeout(self._complaint(f"none came free within {self.options.timeout:g} s")) from None
        except Full:
            self.figures.refused += 1
            raise PoolFull(self._complaint(f"{most} wait already, as many as max_waiting lets")) from None
        except Closed:
            raise PoolClosed(f"Pool {self.name!r} was closed.") from None

    # Opening and closing

    def _open(self, hand: Hand, deadline: float) -> Entry[C] | None:
        """Open a connection in a place that was granted; None where it is to be tried again later."""
        generation = self._generation
        try:
            hand.connection = self.driver.open(max(0.0, deadline - self._now()))
        except BaseException as error:
            if not self._passes(error, hand):
                raise
            if self._now() < deadline:
                return None
            self.figures.timeouts += 1
            raise PoolTimeout(self._complaint("no connection could be opened")) from error
        return self._opened(hand, generation)

    def _passes(self, error: BaseException, hand: Hand) -> bool:
        """Free the place in which none could be opened; tell whether it is to be tried again.

        It is where others are open though this error stays, after a change of password say: one of them will come back.
        """
        again = isinstance(error, Exception) and (self.driver.transient(error) or bool(self._places.taken))
        with self._lock:
            self.figures.failures[type(error).__name__] += 1
            if again:
                self._why_not = error  # type: ignore[assignment]
        self._places.leave(hand, shut=again)
        return again

    def _opened(self, hand: Hand, generation: int) -> Entry[C]:
        now = self._now()
        life = self.options.max_lifetime * (1 - JITTER * self._jitter())
        entry = Entry[C](hand.connection, now, now + life, generation)
        try:
            self._places.fill(hand, entry)
        except Closed:
            raise PoolClosed(f"Pool {self.name!r} was closed while it opened a connection.") from None
        self._why_not = None
        self.figures.opened += 1
        return entry

    def discard(self, entry: Entry[C], why: str) -> None:
        """Close a connection that nobody else has, and free its place."""
        if self._places.vacate(entry):
            with self._lock:
                self.figures.bury(entry, why)
        self.driver.close(entry.connection)
        entry.owner = None

    # Fitness

    def _fit(self, hand: Hand) -> bool:
        why = self._unfit(hand.what, self._now())
        if why is not None:
            self.discard(hand.what, why)
            hand.what = None
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
        places = self._places
        if places.closed:
            return "closed"
        if entry.generation != self._generation:
            return "drained"
        if now >= entry.expires_at:
            return "lifetime"
        return "resized" if places.size > places.limit else None

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

    @property
    def closed(self) -> bool:
        """Whether nothing is given out any more."""
        return self._places.closed

    @property
    def limit(self) -> int:
        """Connections that there may be."""
        return self._places.limit

    @property
    def reachable(self) -> bool:
        """Whether the last connection that was to be opened could be, or none was to be yet."""
        return not self._places.gate.failures

    def idle(self) -> list[Entry[C]]:
        """Return the idle entries, the coldest first, as they are at this moment."""
        return self._places.idle()

    def claim(self, entry: Entry[C]) -> bool:
        """Take an idle entry out, for a check or to close it; tell whether it was still idle."""
        return self._places.claim(entry)

    def grow(self) -> bool:
        """Open one connection ahead of demand, where there is a place and the server answers; tell whether."""
        hand = Hand()
        if not self._places.reserve(hand):
            return False
        generation = self._generation
        try:
            hand.connection = self.driver.open(self.options.timeout)
        except Exception as error:  # who needs a connection will be told
            self._passes(error, hand)
            return False
        try:
            self.put_back(self._opened(hand, generation))
        except PoolClosed:
            self._drop(hand)
            return False
        return True

    def drain(self) -> None:
        """Close every connection that is open now: idle ones at once, others when they come back."""
        with self._lock:
            self._generation += 1
        self._sweep("drained")

    def resize(self, limit: int) -> None:
        """Let there be ``limit`` connections at most; what is too many is closed when it is idle."""
        self._places.resize(max(1, limit))
        self.min_size = min(self.options.min_size, self.limit)
        for entry in self.idle():
            if len(self._places.taken) > self.limit and self.claim(entry):
                self.discard(entry, "resized")

    def close(self) -> None:
        """Give out nothing any more: whoever waits is told so, idle connections close, others when they come back."""
        self._places.close()
        self._sweep("closed")

    def _sweep(self, why: str) -> None:
        generation = self._generation
        for entry in self.idle():
            if (self.closed or entry.generation != generation) and self.claim(entry):
                self.discard(entry, why)

    def state(self) -> State:
        """Return how the pool stands at this moment."""
        places = self._places
        with self._lock:
            entries = list(places.taken)
            used = sum(1 for entry in entries if entry.owner is not None)
            return State(
                used=used,
                idle=len(entries) - used,
                opening=places.opening,
                waiting=places.waiting,
                limit=places.limit,
                uses=self.figures.uses + sum(entry.uses for entry in entries),
                busy=self.figures.busy + sum(entry.busy for entry in entries),
                held=sum((Counter(entry.held) for entry in entries), self.figures.held),
                waits=sum((Counter(entry.waits) for entry in entries), self.figures.waits),
                wait_seconds=self.figures.wait_seconds + sum(entry.wait_seconds for entry in entries),
            )

    def held(self) -> list[leaks.Leak]:
        """Return who holds connections, the longest first."""
        now = self._now()
        with self._lock:
            held = [entry for entry in self._places.taken if entry.owner is not None]
        return [leaks.describe(self.name, entry, now) for entry in sorted(held, key=lambda entry: entry.taken_at)]

    def abandon(self) -> list[Entry[C]]:
        """Return all entries, and give out none: in a child that was forked, where they are the parent's."""
        return self._places.abandon()

    # Whoever does not give back

    def reap(self) -> None:
        """Take back what is held by threads that have ended, and for holders that nobody knows any more."""
        now = self._now()
        if now - self._reaped_at < REAP_EVERY:
            return
        self._reaped_at = now
        with self._lock:
            dead = [entry for entry in self._places.taken if leaks.gone(entry)]
            self.figures.orphans += len(dead)
            for entry in dead:
                entry.owner, entry.holder = threading.current_thread(), None  # nobody else takes it back meanwhile
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
        entry.holder = entry.scope = None
        entry.taken_at = now  # so that it is no leak while it is put in order

    def watch(self) -> list[leaks.Leak]:
        """Return what was held for longer than ``leak_threshold``, each once."""
        now, threshold = self._now(), self.options.leak_threshold
        found = []
        if threshold:
            with self._lock:
                held = [entry for entry in self._places.taken if leaks.watched(entry) and not entry.reported]
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
        held = self.held()
        text = f"Pool {self.name!r}: {what}: {len(held)} of {self.limit} in use, {self._places.waiting} waiting."
        if self._why_not is not None:
            words = str(self._why_not).strip() or type(self._why_not).__name__
            text += f" The server cannot be reached: {words.splitlines()[0]}"
        for leak in held[:TOLD]:
            where = leak.route and f" on {leak.route}"
            text += f" Held for {leak.age:.1f} s by {leak.thread}{where}, taken by {leak.line}."
        return text + (" Raise max_size, or hold connections for less long." if held else "")
