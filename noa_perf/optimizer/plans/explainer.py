"""Explains slow queries off the request: one thread, a bounded queue, a rate, a connection of its own.

The values of a slow query stay in memory until its plan is read; of the plan, only what quotes no value is kept.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import OrderedDict
from dataclasses import replace
from typing import Any

from django.db import connections

from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.optimizer import capture
from noa_perf.optimizer.fingerprint import Kind
from noa_perf.optimizer.plans import advise
from noa_perf.optimizer.plans.advise import Asked, Reading
from noa_perf.optimizer.scopes import Scope
from noa_perf.optimizer.sightings import Shape

MAX_WAITING = 20
MAX_READINGS = 500
AGAIN_AFTER = 600.0
"""Seconds before one and the same statement is explained again."""
PAUSE = 1.0
"""Seconds between two explanations: what is slow already is not made slower."""

EXPLAINED = frozenset({Kind.SELECT, Kind.UPDATE, Kind.DELETE})

Key = tuple[str, str]


class Explainer:
    """Explains the slow queries of closed scopes, and keeps the latest reading of each shape."""

    def __init__(self, clock: Clock = SYSTEM, pause: float = PAUSE) -> None:
        """Start idle: the thread begins with the first slow query."""
        self.clock = clock
        self.pause = pause
        self.dropped = 0
        self._begin()

    def _begin(self) -> None:
        self._waiting: queue.Queue[tuple[Key, Asked, Any]] = queue.Queue(MAX_WAITING)
        self._readings: OrderedDict[Key, Reading] = OrderedDict()
        self._asked: OrderedDict[Key, float] = OrderedDict()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def after_fork(self) -> None:
        """Start over in a forked child: the parent's thread is not here, and its locks may be held."""
        self._begin()

    def closed(self, scope: Scope) -> None:
        """Take the slow queries of a closed scope; never waits."""
        for group in scope.groups.values():
            run = group.slow_run
            if run is None or group.statement.kind not in EXPLAINED or not self._gains(group.alias):
                continue
            sql, params = run.sql, run.params
            returned = group.rows / max(1, group.count)
            self.offer(Asked(group.alias, sql, returned, group.wildcard), group.statement.folded, params)

    @staticmethod
    def _gains(alias: str) -> bool:
        # SQLite plans without values as it does with them, so a report can do it; and a second connection to a
        # database in memory, as test suites have, would lock its tables.
        return alias in connections and connections[alias].vendor != "sqlite"

    def offer(self, asked: Asked, folded: str, params: Any) -> bool:
        """Queue one statement; False when it was explained lately, or too many wait already."""
        key, now = (asked.alias, folded), self.clock.monotonic()
        with self._lock:
            if now - self._asked.get(key, -AGAIN_AFTER) < AGAIN_AFTER:
                return False
            try:
                self._waiting.put_nowait((key, asked, params))
            except queue.Full:
                self.dropped += 1
                return False
            self._remember(self._asked, key, now)
            self._ensure_thread()
        return True

    def read_once(self, shape: Shape) -> Reading:
        """Return the latest reading of a shape; read now, on this thread's connection, if there is none yet."""
        key = shape.alias, shape.folded
        known = self._readings.get(key)
        if known is None:
            known = _without_values(advise.read(Asked.of(shape)))
            with self._lock:
                self._remember(self._readings, key, known)
        return known

    def reading(self, alias: str, folded: str) -> Reading | None:
        """Return the latest reading of a shape, if there is one."""
        return self._readings.get((alias, folded))

    def wait(self) -> None:
        """Return when all that was queued has been explained: for tests, and before a process ends."""
        self._waiting.join()

    def stop(self) -> None:
        """End the thread once it is idle."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _ensure_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, name="noa_perf-explainer", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                key, asked, params = self._waiting.get(timeout=1.0)
            except queue.Empty:
                continue
            try:
                self._explain(key, asked, params)
            except Exception:
                capture.faults.note("explainer")
            finally:
                # This thread's own connections: given back at once, for they may never be wanted again.
                connections.close_all()
                self._waiting.task_done()
            self._stop.wait(self.pause)

    def _explain(self, key: Key, asked: Asked, params: Any) -> None:
        reading = _without_values(advise.read(asked, params))
        with self._lock:
            self._remember(self._readings, key, reading)

    @staticmethod
    def _remember(table: OrderedDict[Key, Any], key: Key, value: Any) -> None:
        table[key] = value
        table.move_to_end(key)
        if len(table) > MAX_READINGS:
            table.popitem(last=False)


def _without_values(reading: Reading) -> Reading:
    if reading.plan is None:
        return reading
    plan = reading.plan.redacted()
    faults = [replace(one, evidence={**one.evidence, "plan": plan.lines()}) for one in reading.faults]
    return replace(reading, plan=plan, faults=faults)


explainer = Explainer()


def install() -> None:
    """Explain the slow queries of this process, from now on; starts no thread yet."""
    capture.on_closed(explainer.closed)
    os.register_at_fork(after_in_child=explainer.after_fork)
