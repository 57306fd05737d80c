"""Puts recorder, rollup and Prometheus together, and the thread that moves the figures from one to the others."""

from __future__ import annotations

import atexit
import logging
import os
import random
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress

from django.core import mail
from django.db import connections

from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.metrics import prometheus, recorder, tidying
from noa_perf.metrics.conf import settings
from noa_perf.metrics.recorder import Tally
from noa_perf.metrics.rollup import Writer

logger = logging.getLogger("noa_perf.metrics")

FAREWELL = 2.0
"""Seconds that a process which ends waits for its last figures to be written."""
TELL_AGAIN = 3_600.0
"""Seconds after which series are told of again."""


class Service:
    """One process's figures: counted by :attr:`tally`, written by :attr:`writer`, exported by :attr:`exporter`."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        """Read the settings; starts nothing."""
        own = settings()
        self._clock = clock
        self.tally = Tally(own.max_series)
        self.writer = Writer(self.tally, clock) if own.rollup else None
        self.exporter = prometheus.Exporter(self.tally) if own.prometheus and prometheus.available() else None
        self.faults: dict[str, int] = {}
        self._told_at = clock.monotonic()
        self._tidied_at = float("-inf")
        self._lock = threading.Lock()
        self._thread: Thread | None = None
        self._arm()

    def flush(self, *, force: bool = False) -> None:
        """Ask the apps for what they have found out, export and write what was counted. Raises nothing."""
        for source in recorder.sources():
            self._safely(f"notes of {source.__module__}", source)
        self.export()
        writer = self.writer
        if writer is not None:
            self._safely("rollup", lambda: self._write(writer, force))

    def _write(self, writer: Writer, force: bool) -> None:
        now = self._clock.monotonic()
        if now - self._told_at > TELL_AGAIN:
            self._told_at = now
            writer.forget_told()
        if writer.flush(force=force) and now - self._tidied_at >= tidying.EVERY:
            self._tidied_at = now
            self._safely("tidying", lambda: tidying.tidy(self._clock, writer.database))

    def export(self) -> None:
        """Bring Prometheus' values up to date. Raises nothing."""
        if self.exporter is not None:
            self._safely("prometheus", self.exporter.flush)
        else:
            self.tally.drain_counts()

    def start(self) -> None:
        """Start the thread, unless it runs or this is a test environment, whose databases are not ours to write to."""
        with self._lock:
            if self._thread is None and not under_test():
                self._thread = Thread(self, settings().flush_seconds)
                self._thread.start()

    def stop(self) -> None:
        """End the thread after a last flush, for which it has :data:`FAREWELL` seconds."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop(FAREWELL)

    def forked(self) -> None:
        """Begin anew in a child: its parent writes what was counted before the fork, and threads are not inherited."""
        self.tally.reset()
        if self.writer is not None:
            self.writer.reset()
        if self.exporter is not None:
            self.exporter.lock = threading.RLock()
        self._lock = threading.Lock()
        self._thread = None
        self._arm()

    def _arm(self) -> None:
        # The tally lives as long as whoever counts with it, and must not keep the service alive.
        self.tally.started = _weakly(self)

    def _safely(self, what: str, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            self.faults[what] = self.faults.get(what, 0) + 1
            if self.faults[what] == 1:
                message = "noa_perf.metrics failed in %s (%s); the site is not affected; logged once"
                logger.error(message, what, type(error).__name__)  # a driver's own words may name an address
                logger.debug("in %s", what, exc_info=error)


def _weakly(service: Service) -> Callable[[], None]:
    held = weakref.ref(service)

    def start() -> None:
        owner = held()
        if owner is not None:
            owner.start()

    return start


class Thread(threading.Thread):
    """Flushes now and then, as long as its service lives, on a database connection that it opens for each time."""

    def __init__(self, service: Service, seconds: float) -> None:
        """Flush about every ``seconds``."""
        super().__init__(name="noa_perf.metrics", daemon=True)
        self._service = weakref.ref(service, lambda _: self._wake.set())
        self._seconds = seconds
        self._wake = threading.Event()
        self._stopped = False

    def run(self) -> None:
        """Flush until told to stop, or nobody is left."""
        last = False
        while not last:
            # Processes that were started together shall not write together.
            self._wake.wait(self._seconds * random.uniform(0.8, 1.0))  # noqa: S311  (spreads load, no secret)
            service = self._service()
            if service is None:
                return
            last = self._stopped  # told so during a flush: once more, for what was counted meanwhile
            service.flush(force=last)
            _disconnect(service)
            del service

    def stop(self, seconds: float) -> None:
        """Flush once more and end; waits ``seconds`` at most."""
        self._stopped = True
        self._wake.set()
        self.join(seconds)


def _disconnect(service: Service) -> None:
    if service.writer is not None:
        with suppress(Exception):
            connections[service.writer.database].close()


def under_test() -> bool:
    """Tell whether Django's test environment is set up, by unittest's or pytest's runner."""
    return hasattr(mail, "outbox")


_service: Service | None = None


def current() -> Service | None:
    """Return this process's service, or None where metrics are switched off."""
    return _service


def install() -> None:
    """Count what this process does from now on; opens no connection and starts no thread."""
    global _service
    _service = Service()
    recorder.use(_service.tally)


def _before_fork() -> None:
    # A child of a process whose thread is just writing to prometheus_client would inherit its locks as they are.
    if _service is not None and _service.exporter is not None:
        _service.exporter.lock.acquire()


def _after_fork() -> None:
    if _service is not None and _service.exporter is not None:
        _service.exporter.lock.release()


def _in_child() -> None:
    if _service is not None:
        _service.forked()


def _at_exit() -> None:
    if _service is not None:
        _service.stop()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)
atexit.register(_at_exit)
