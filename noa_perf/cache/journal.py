"""What Redis missed while it was away: keys to delete before anything older is believed again.

A write that did not arrive leaves an older value behind, and a delete that did not arrive too. So both are noted here
as deletions, and until they were replayed this process takes nothing from Redis for those keys.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable

from noa_perf.cache.patterns import matcher

logger = logging.getLogger("noa_perf.cache")

MOST_KEYS = 100_000
"""Keys that are noted one by one; beyond, everything of the prefix is to be deleted."""
PATIENCE = (0.05, 1.0)
"""Seconds between tries to replay: at first, and at most. Other processes may read what is older for so long."""
LINGERS = 2.0
"""Seconds that the thread waits for more when all was replayed."""


class Journal:
    """One location's pending deletions, newest first in authority: what was noted again meanwhile stays."""

    def __init__(self, replay: Callable[[Journal], bool], most: int = MOST_KEYS) -> None:
        """Call ``replay`` (true when all was replayed) in a thread of its own while something is pending."""
        self._replay = replay
        self._most = most
        self._serial = 0
        self.replayed = 0
        """Deletions that arrived after all."""
        self.faults = 0
        """Errors of our own while replaying."""
        self.overflowed = 0
        """How often there were too many keys to note."""
        self._keys: dict[str, int] = {}
        self._clears: dict[str, tuple[int, Callable[[str], bool]]] = {}
        self._unlock()
        _all.add(self)

    def _unlock(self) -> None:
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        """Return how many keys and patterns are pending."""
        return len(self._keys) + len(self._clears)

    @property
    def serial(self) -> int:
        """The number of the latest note: ask for it before a write is sent, and hand it to :meth:`written`."""
        return self._serial

    def note(self, keys: Iterable[str], pattern: str) -> None:
        """Note keys that may hold something older; if those are too many, all that ``pattern`` matches.

        Without a pattern each is noted, however many there are.
        """
        with self._lock:
            self._serial += 1
            covered = self._clears[pattern][1] if pattern in self._clears else None
            alone = [key for key in keys if covered is None or not covered(key)]
            if covered is not None:
                self._note_clear(pattern)  # once more: the one that is being replayed may be past them
            self._keys.update(dict.fromkeys(alone, self._serial))
            if pattern and len(self._keys) > self._most:
                self.overflowed += 1
                self._note_clear(pattern)
                matches = self._clears[pattern][1]
                self._keys = {key: serial for key, serial in self._keys.items() if not matches(key)}
        self.ensure()

    def note_clear(self, pattern: str) -> None:
        """Note that all keys that match ``pattern`` (as Redis writes patterns) are to go."""
        with self._lock:
            self._serial += 1
            self._note_clear(pattern)
        self.ensure()

    def _note_clear(self, pattern: str) -> None:
        self._clears[pattern] = self._serial, matcher(pattern)

    def holds(self, key: str) -> bool:
        """Tell whether what Redis has of ``key`` may be older than what was written or deleted here."""
        if not self._keys and not self._clears:
            return False
        held = key in self._keys or any(matches(key) for _, matches in list(self._clears.values()))
        if held:
            self.ensure()
        return held

    def written(self, key: str, before: int) -> None:
        """Take note that a value arrived that was sent when the latest note was ``before``.

        What was noted of its key until then is made up for; what was noted since may be newer, and stays.
        """
        if self._keys:
            with self._lock:
                if self._keys.get(key, before + 1) <= before:
                    del self._keys[key]

    def pending(self, most: int = 500) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        """Return some keys and all patterns to replay, each with the number to hand to :meth:`done`."""
        with self._lock:
            keys = [pair for pair, _ in zip(self._keys.items(), range(most), strict=False)]
            return keys, [(pattern, serial) for pattern, (serial, _) in self._clears.items()]

    def done(self, keys: Iterable[tuple[str, int]] = (), clears: Iterable[tuple[str, int]] = ()) -> None:
        """Strike what was replayed, unless it was noted again since."""
        with self._lock:
            for key, serial in keys:
                if self._keys.get(key) == serial:
                    del self._keys[key]
                    self.replayed += 1
            for pattern, serial in clears:
                if self._clears.get(pattern, (0,))[0] == serial:
                    del self._clears[pattern]
                    self.replayed += 1

    def ensure(self) -> None:
        """Have a thread replay what is pending; where none can be started, the next call tries again."""
        self._wake.set()
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(
                    target=_replay_until_empty,
                    args=(weakref.ref(self), self._wake),
                    name="noa-perf-cache-journal",
                    daemon=True,
                )
                try:
                    thread.start()
                except RuntimeError as error:  # too many threads, or the interpreter ends
                    logger.debug("noa_perf.cache: the journal's thread could not be started (%s)", error)
                else:
                    self._thread = thread

    def retire(self) -> bool:
        """Let the thread go if nothing is pending; decided under the lock, so that whoever notes more starts one."""
        with self._lock:
            if len(self):
                return False
            self._thread = None
            return True

    def replay(self) -> bool:
        """Try to replay all now; tell whether nothing is left. Raises nothing."""
        if not len(self):
            return True
        try:
            return self._replay(self) and not len(self)
        except Exception as error:
            self.faults += 1
            if self.faults == 1:
                message = "noa_perf.cache: what Redis missed could not be replayed (%s); it is tried again; logged once"
                logger.exception(message, type(error).__name__)
            return False


def _replay_until_empty(held: weakref.ref[Journal], wake: threading.Event) -> None:
    pause = threading.Event()
    wait, most = PATIENCE
    while True:
        wake.clear()
        journal = held()
        if journal is None:
            return
        done = journal.replay()
        if not done:
            del journal  # whoever made it may let it go while nobody works on it
            pause.wait(wait)
            wait = min(wait * 2, most)
            continue
        wait = PATIENCE[0]
        del journal
        # More may come soon, as where Redis is full: a thread for each would be one too many.
        if not wake.wait(LINGERS):
            journal = held()
            if journal is None or journal.retire():
                return


_all: weakref.WeakSet[Journal] = weakref.WeakSet()


def _after_fork() -> None:
    # The parent replays what it noted; that the child does so too does no harm, and it may not believe Redis before.
    for journal in _all:
        journal._unlock()


def _farewell() -> None:
    for journal in list(_all):
        journal.replay()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_farewell)
