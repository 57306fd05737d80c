"""The live release, as a web process knows it: read once, then looked after, and never for longer than one request."""

from __future__ import annotations

import logging
import os
import threading

from noa_perf.cdn.exceptions import CdnError
from noa_perf.cdn.manifest import Manifest
from noa_perf.cdn.releases import Releases
from noa_perf.core.clock import SYSTEM, Clock

logger = logging.getLogger("noa_perf.cdn")


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
        self._lock = threading.Lock()
        self._manifest: Manifest | None = None
        self._names: dict[str, str] = {}
        self._release = ""
        self._next = float("-inf")
        self._asking_pid = 0
        self.failed = False
        """Whether the place could not be read the last time."""

    def manifest(self) -> Manifest | None:
        """Return the live release; None where there is none, or where it could not be read yet."""
        if self._clock.monotonic() >= self._next:
            self._look()
        return self._manifest

    def name(self, path: str) -> str | None:
        """Return the name under which the live release has a file, or a variant of a picture; None if it has none."""
        self.manifest()
        return self._names.get(path)

    def _look(self) -> None:
        if self._manifest is None or not self._releases.target.remote:
            with self._lock:
                if self._clock.monotonic() >= self._next:
                    self._ask()
        elif self._asking_pid != os.getpid():  # after a fork nobody asks any more
            self._asking_pid = os.getpid()
            try:
                threading.Thread(target=self._ask_and_end, name="noa_perf.cdn", daemon=True).start()
            except RuntimeError:  # no thread can be started: the next request tries
                self._asking_pid = 0

    def _ask_and_end(self) -> None:
        try:
            self._ask()
        finally:
            self._asking_pid = 0

    def _ask(self) -> None:
        try:
            release = self._releases.pointer().live
            if release != self._release:
                manifest = self._releases.manifest(release) if release else None
                self._names = manifest.names() if manifest else {}
                self._manifest = manifest
                self._release = release
            if self.failed:
                logger.info("noa_perf.cdn: %s can be read again.", self._releases.target.where)
            self.failed = False
        except CdnError as error:
            self._tell(error)
        finally:
            self._next = self._clock.monotonic() + self._refresh

    def _tell(self, error: CdnError) -> None:
        if self.failed:
            return
        self.failed = True
        known = f"release {self._release} goes on" if self._release else "files are linked by their plain names"
        logger.error("noa_perf.cdn: the live release cannot be read; %s. %s Logged once.", known, error)
