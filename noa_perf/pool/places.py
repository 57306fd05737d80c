"""Places for connections, those that idle, and the queue of those who wait; what a connection is nobody here knows.

Where all places are taken people queue, and what comes back is put into the hands of whoever waits longest: nobody
overtakes. The usual way takes no lock: an idle entry is popped off a dict, and put back on it. Whoever puts one back
looks for waiters after that, and whoever begins to wait looks for idle ones after saying so: one sees the other.

A signal's handler may raise wherever a function is called, and nowhere else. So whatever leaves one place gets to the
next with no call between: into the :class:`Hand` of whoever took it, who drops it where he is interrupted.
"""

from __future__ import annotations

import _thread
import threading
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

from noa_perf.pool.gate import Gate


class Placed(Hashable, Protocol):
    """What has a place."""

    owner: threading.Thread | None
    """Whose it is; nobody's while it idles."""


E = TypeVar("E", bound=Placed)


class Grant:
    """A place that is free: whoever gets it opens the connection himself."""


OPEN = Grant()


class Hand:
    """What somebody has taken and is not yet done with: an entry, or :data:`OPEN` with what was opened in its place."""

    what: Any = None
    connection: Any = None


class NoneCame(Exception):
    """The deadline is over, and nothing was to be had."""


class Full(Exception):
    """As many wait as may."""


class Closed(Exception):
    """Nothing is given out any more."""


class Waiter:
    """One who waits. What is handed over is set before the lock is released, and read after it was acquired."""

    __slots__ = ("granted", "lock")

    def __init__(self) -> None:
        """Begin to wait."""
        self.granted: Any = None
        self.lock = _thread.allocate_lock()
        self.lock.acquire()

    def grant(self, what: Any) -> None:
        """Hand over an entry, :data:`OPEN`, or the error that ends the wait."""
        self.granted = what
        self.lock.release()


class Places(Generic[E]):
    """``limit`` of them, for all threads of this process."""

    def __init__(self, limit: int, now: Callable[[], float], gate: Gate) -> None:
        """Start with all of them free; while ``gate`` is shut nobody is let open a connection."""
        self.limit = limit
        self.closed = False
        self.opening = 0
        self.gate = gate
        self.lock = threading.Lock()
        self.taken: set[E] = set()
        """All entries, idle or in use."""
        self._now = now
        self._idle: dict[E, None] = {}  # in the order of their return
        self._waiters: deque[Waiter] = deque()

    # The usual way

    def pop(self, again: E | None, hand: Hand) -> E | None:
        """Take ``again`` if it idles, else what came back last; None where nothing idles or somebody waits."""
        idle = self._idle
        while not self._waiters and not self.closed:
            try:
                entry = again if again in idle else next(reversed(idle))
                del idle[entry]
                hand.what = entry
            except StopIteration:
                return None
            except (KeyError, RuntimeError):  # somebody was quicker
                continue
            return entry
        return None

    def put(self, entry: E) -> None:
        """Make an entry idle, or give it to whoever waits longest."""
        entry.owner = None
        self._idle[entry] = None
        if self._waiters:
            with self.lock:
                self._serve()

    # The queue

    def ask(
        self, hand: Hand, deadline: float, patience: float, first: bool, most: int, meanwhile: Callable[[], object]
    ) -> None:
        """Wait for an entry, or for a place; ``first`` stands before all others, who are ``most`` at most (0: any).

        ``meanwhile`` is called every ``patience`` seconds. Raises :class:`NoneCame`, :class:`Full`, :class:`Closed`.
        """
        waiter = Waiter()
        try:
            self._enqueue(waiter, first, most)
            while not waiter.lock.acquire(timeout=self._nap(deadline, patience)):
                meanwhile()
                self._look_again(waiter, deadline)
            if isinstance(waiter.granted, Closed):
                raise waiter.granted
            hand.what = waiter.granted
        except BaseException:
            self._step_out(waiter)
            raise

    def _enqueue(self, waiter: Waiter, first: bool, most: int) -> None:
        with self.lock:
            if self.closed:
                raise Closed
            (self._waiters.appendleft if first else self._waiters.append)(waiter)
            self._serve()
            if waiter.granted is None and most and not first and len(self._waiters) > most:
                raise Full

    def _nap(self, deadline: float, patience: float) -> float:
        now = self._now()
        until = min(deadline, now + patience)
        if self.gate.opens_at > now:
            until = min(until, self.gate.opens_at)
        return max(0.0, until - now)

    def _look_again(self, waiter: Waiter, deadline: float) -> None:
        with self.lock:
            self._serve()
            if waiter.granted is None and self._now() >= deadline:
                raise NoneCame

    def _step_out(self, waiter: Waiter) -> None:
        with self.lock:
            if waiter.granted is None:
                with suppress(ValueError):  # it never stood there
                    self._waiters.remove(waiter)
            elif waiter.granted is OPEN:
                self.opening -= 1
            elif not isinstance(waiter.granted, Closed):
                self._idle[waiter.granted] = None
            self._serve()

    def _serve(self) -> None:
        """Hand what is to be had to those who wait; the lock is held."""
        while self._waiters:
            waiter = self._waiters[0]
            try:
                entry = next(reversed(self._idle), None)
                if entry is not None:
                    del self._idle[entry]
                    waiter.granted = entry
                elif self._reserved():
                    waiter.granted = OPEN
                else:
                    return
            except (KeyError, RuntimeError):  # somebody took it who does not wait
                continue
            del self._waiters[0]
            waiter.lock.release()

    def _reserved(self) -> bool:
        if self.size >= self.limit or self._now() < self.gate.opens_at:
            return False
        if self.gate.failures and self.opening:
            return False  # one tries whether the server is back; the others follow when it is
        self.opening += 1
        return True

    # A place that was granted

    def reserve(self, hand: Hand) -> bool:
        """Take a free place to open a connection in, ahead of demand; tell whether there was one."""
        with self.lock:
            if not self.closed and not self._waiters and self._reserved():
                hand.what = OPEN
        return hand.what is OPEN

    def fill(self, hand: Hand, entry: E) -> None:
        """Put a new entry into a place that was granted. Raises :class:`Closed`; the place is free then."""
        with self.lock:
            self.opening -= 1
            hand.what = entry
            if self.closed:
                raise Closed
            self.taken.add(entry)
            self.gate.open()
            self._serve()

    def leave(self, hand: Hand, *, shut: bool) -> None:
        """Free a place in which no connection could be opened; ``shut`` the gate, where others are to wait too."""
        with self.lock:
            self.opening -= 1
            hand.what = None
            if shut:
                self.gate.shut(self._now())
            self._serve()

    def vacate(self, entry: E) -> bool:
        """Free the place of an entry that is neither idle nor in use; tell whether it had one."""
        with self.lock:
            had = entry in self.taken
            self.taken.discard(entry)
            self._serve()
        return had

    # What is asked about all of them

    @property
    def size(self) -> int:
        """Places that are not free."""
        return len(self.taken) + self.opening

    @property
    def waiting(self) -> int:
        """Those who wait."""
        return len(self._waiters)

    def idle(self) -> list[E]:
        """Return the idle entries, the coldest first, as they are at this moment."""
        return list(self._idle)

    def claim(self, entry: E) -> bool:
        """Take an idle entry out, for a check or to close it; tell whether it was still idle."""
        try:
            del self._idle[entry]
        except KeyError:
            return False
        return True

    def resize(self, limit: int) -> None:
        """Let there be ``limit`` places; what is too many is vacated by whoever finds it."""
        with self.lock:
            self.limit = limit
            self._serve()

    def abandon(self) -> list[E]:
        """Return all entries, and give out nothing any more: in a child, where nobody will release the lock."""
        self.closed = True
        return list(self.taken)

    def close(self) -> None:
        """Give out nothing any more, and tell those who wait."""
        with self.lock:
            self.closed = True
            while self._waiters:
                self._waiters.popleft().grant(Closed())
