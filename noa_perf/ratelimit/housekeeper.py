"""What goes on beside requests: lists and bans of others are learnt, the audit is written, what is old is deleted."""

from __future__ import annotations

import atexit
import logging
import os
import random
import threading
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.core import mail
from django.db import connections

from noa_perf.core import conf
from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.core.muting import muted
from noa_perf.ratelimit import lists
from noa_perf.ratelimit.deny_cache import LIMIT, Ban
from noa_perf.ratelimit.exceptions import StorageDown

if TYPE_CHECKING:
    from noa_perf.ratelimit.abuse import Abuse

logger = logging.getLogger("noa_perf.ratelimit")

DELETE_EVERY = 3_600.0
"""Seconds between two looks of a process for rows that are too old."""
BATCH = 1_000
ABOUT = 1.0
"""Seconds by which the end of a ban may differ here and in the database."""


class Housekeeper:
    """Keeps one process's :class:`~noa_perf.ratelimit.abuse.Abuse` up to date, by a thread of its own."""

    _is_running: bool
    _delete_at: float
    _reading: lists.Reading | None
    _version: Any
    _known: set[str]

    def __init__(self, abuse: Abuse, clock: Clock = SYSTEM) -> None:
        """Start nothing yet; what is kept up to date keeps this, not the other way round."""
        self._abuse = weakref.ref(abuse)
        self._clock = clock
        self.faults: dict[str, int] = {}
        """What failed, by what was to be done; it is tried again."""
        self.ticks = 0
        self._begin_anew()
        _all.add(self)

    def start(self) -> None:
        """Start the thread, unless it runs, or this is a test environment, whose databases are not ours to write to."""
        if not self._is_running and not hasattr(mail, "outbox"):
            self._start()

    def _start(self) -> None:
        with self._lock:
            if not self._is_running:
                self._is_running = True
                wake = threading.Event()
                held = weakref.ref(self, lambda _: wake.set())
                thread = threading.Thread(target=_work, args=(held, wake), name="noa_perf.ratelimit", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # too many threads, or the interpreter ends; the next request tries again
                    self._is_running = False
                    logger.debug("noa_perf.ratelimit: the housekeeper's thread could not be started (%s)", error)

    def tick(self) -> bool:
        """Do all that is due; tell whether to go on. Raises nothing."""
        abuse = self._abuse()
        if abuse is None or not conf.enabled("RATELIMIT"):
            self._is_running = False
            return False
        with muted():
            self._safely("lists", lambda: self._read_lists(abuse))
            self._safely("bans of others", abuse.bans.refresh)
            self._safely("audit of bans", lambda: write(abuse))
            if abuse.bans.shared is None:
                self._safely("bans in the database", lambda: self._read_bans(abuse))
            if self._clock.monotonic() >= self._delete_at:
                self._delete_at = self._clock.monotonic() + DELETE_EVERY
                self._safely("retention", lambda: delete_old(abuse.settings.retention_days, self._clock.time()))
        self.ticks += 1
        return self._is_running

    def write(self) -> None:
        """Write the audit, if this process does that and anything waits."""
        abuse = self._abuse()
        if self._is_running and abuse is not None and abuse.bans.unwritten:
            self._safely("audit of bans", lambda: write(abuse))

    @property
    def seconds(self) -> float:
        """Seconds until the next tick: less than the settings say, so that processes do not ask together."""
        abuse = self._abuse()
        return abuse.settings.refresh_seconds * random.uniform(0.8, 1.0) if abuse else 0.0  # noqa: S311

    def _read_lists(self, abuse: Abuse) -> None:
        self._reading = lists.read(abuse.settings, self._reading, self._clock.time())
        abuse.lists = self._reading.lists

    def _read_bans(self, abuse: Abuse) -> None:
        """Without a Redis the table is what tells processes of each other's bans."""
        from noa_perf.ratelimit.models import Ban as Row

        rows = Row.objects.active(datetime.fromtimestamp(self._clock.time(), UTC))
        version = rows.version()
        if version == self._version:
            return
        found = list(rows.order_by("-until").values_list("client", "rule", "tier", "until")[:LIMIT])
        since = self._clock.monotonic() - self._clock.time()
        # Of two bans of one client the longer is read last.
        bans = {client: Ban(client, rule, tier, until.timestamp() + since) for client, rule, tier, until in found[::-1]}
        local = abuse.bans.local
        local.put(bans.values())
        # What ends by itself is over here at about the same time, and is not forgiven.
        soon = self._clock.monotonic() + ABOUT
        gone = (local.of(client) for client in self._known - set(bans))
        abuse.bans.forget([ban.client for ban in gone if ban is not None and ban.ends > soon])
        self._known, self._version = set(bans), version

    def _safely(self, what: str, call: Callable[[], object]) -> None:
        try:
            call()
        except StorageDown:
            self.faults[what] = self.faults.get(what, 0) + 1  # told of already, by whoever asks Redis
        except Exception as error:
            self.faults[what] = self.faults.get(what, 0) + 1
            if what not in self._told:
                self._told.add(what)
                message = "noa_perf.ratelimit failed in %s (%s); what is known holds, and it is tried again. Is the "
                message += "database there, and did manage.py migrate run? Logged once."
                logger.error(message, what, type(error).__name__)
        else:
            self._told.discard(what)

    def _begin_anew(self) -> None:
        """Begin with nothing read, as a child has to: its parent's thread is not here."""
        self._lock = threading.Lock()
        self._is_running = False
        self._reading = self._version = None
        self._known = set()
        self._told: set[str] = set()
        self._delete_at = self._clock.monotonic() + DELETE_EVERY * random.random()  # noqa: S311


def write(abuse: Abuse) -> int:
    """Write the audit rows of bans that rules made; return how many. Raises what the database raises."""
    from noa_perf.ratelimit.models import Ban as Row

    waiting = abuse.bans.unwritten
    entries = [waiting.popleft() for _ in range(min(len(waiting), BATCH))]
    try:
        Row.objects.bulk_create(
            Row(
                client=entry.ban.client, rule=entry.ban.rule, tier=min(entry.ban.tier, 32_767),
                begun=datetime.fromtimestamp(entry.begun, UTC), until=datetime.fromtimestamp(entry.until, UTC),
            )
            for entry in entries
        )  # fmt: skip
    except Exception:
        waiting.extendleft(reversed(entries))
        raise
    return len(entries)


def delete_old(days: int, now: float) -> int:
    """Delete bans that have been over for so many days, and entries of lists that expired as long ago."""
    from noa_perf.ratelimit.models import Ban as Row
    from noa_perf.ratelimit.models import ListEntry

    before = datetime.fromtimestamp(now, UTC) - timedelta(days=days)
    gone, _ = Row.objects.over(before).delete()
    expired, _ = ListEntry.objects.filter(expires__lt=before).delete()
    return gone + expired


def _work(held: weakref.ref[Housekeeper], wake: threading.Event) -> None:
    """Tick until told to stop or nobody is left."""
    going, seconds = True, 0.0
    while going:
        wake.wait(seconds)
        keeper = held()
        if keeper is None:
            return
        going = keeper.tick()
        seconds = keeper.seconds
        del keeper
        connections.close_all()


_all: weakref.WeakSet[Housekeeper] = weakref.WeakSet()


def _after_fork() -> None:
    for one in _all:
        one._begin_anew()


def _farewell() -> None:
    for one in list(_all):
        one.write()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_farewell)
