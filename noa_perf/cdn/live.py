"""The live release, as a web process knows it: read once, then looked after, and never for longer than one request."""

from __future__ import annotations

import logging
import os
import threading

from noa_perf.cdn.exceptions import TargetError
from noa_perf.cdn.manifest import Manifest
from noa_perf.cdn.releases import Releases
from noa_perf.core.clock import SYSTEM, Clock

logger = logging.getLogger("noa_perf.cdn")


FIRST = 3.0
"""Seconds that requests wait for a remote place before anything is known; those after them link plain names at once."""


class Live:
    """Follows the pointer of a target.

    A folder is asked within the request, at most every ``refresh`` seconds; a remote place by a thread of its own,
    while requests go on with what was known. Where asking fails, they do so until it works again; that is logged once.
    """

    def __init__(self, releases: Releases, refresh: float, clock: Clock = SYSTEM) -> None:
        """Look again after ``refresh`` seconds."""
        self._releases = releases
        self._refresh = refresh
        self._clock = clock
        self._manifest: Manifest | None = None
        self._names: dict[str, str] = {}
        self._next = float("-inf")
        self.release = ""
        """What is live, as far as this process knows."""
        self.failed = False
        """Whether the place could not be read the last time."""
        self._start_anew()

    def manifest(self) -> Manifest | None:
        """Return the live release; None where there is none, or where it could not be read yet."""
        if self._clock.monotonic() >= self._next:
            self._look()
        return self._manifest

    def name(self, path: str) -> str | None:
        """Return the name under which the live release has a file, or a variant of a picture; None if it has none."""
        self.manifest()
        return self._names.get(path)

    def _start_anew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._answered: threading.Event | None = None
        """Set once the thread that asks has its answer; None while none asks."""

    def _look(self) -> None:
        if self._pid != os.getpid():  # after a fork nobody asks any more, and a lock may be held by nobody for ever
            self._start_anew()
        if self._releases.target.remote:
            self._look_from_afar()
        elif self._lock.acquire(blocking=self._manifest is None):  # who knows a release goes on with it
            try:
                if self._clock.monotonic() >= self._next:
                    self._ask()
            finally:
                self._lock.release()

    def _look_from_afar(self) -> None:
        with self._lock:
            answered = self._answered
            if answered is None:
                answered = self._answered = threading.Event()
                try:
                    threading.Thread(target=self._ask_and_end, name="noa_perf.cdn", daemon=True).start()
                except RuntimeError:  # no thread can be started: the next request tries
                    self._answered = None
                    return
        if self._manifest is None and not self.failed and not answered.wait(FIRST):
            self._tell(f"it did not answer within {FIRST:g} s.")

    def _ask_and_end(self) -> None:
        answered = self._answered
        try:
            self._ask()
        finally:
            self._answered = None
            if answered is not None:
                answered.set()

    def _ask(self) -> None:
        try:
            self._follow(self._releases.pointer().live)
            if self.failed:
                logger.info("noa_perf.cdn: %s can be read again.", self._releases.target.where)
            self.failed = False
        except Exception as error:  # whatever it is, pages go on
            self._tell(error)
        finally:
            self._next = self._clock.monotonic() + self._refresh

    def _follow(self, release: str) -> None:
        if release == self.release:
            return
        if not release:
            raise TargetError("What says which release is live is gone, though one was: run cdn_deploy.")
        manifest = self._releases.manifest(release)
        self._names, self._manifest, self.release = manifest.names(), manifest, release

    def _tell(self, error: object) -> None:
        if self.failed:
            return
        self.failed = True
        known = f"release {self.release} goes on" if self.release else "files are linked by their plain names"
        logger.error("noa_perf.cdn: the live release cannot be read; %s. %s Logged once.", known, error)
