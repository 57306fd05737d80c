"""Calls to one Redis, with a breaker before them: counted, timed, and each kind of failure logged once."""

from __future__ import annotations

import logging
import signal
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

from noa_perf.core.breaker import BreakerPolicy, CircuitBreaker
from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.core.exceptions import NoaPerfError
from noa_perf.core.histogram import bucket
from noa_perf.core.redis.clients import clients
from noa_perf.core.redis.errors import ERRORS, classify
from noa_perf.core.redis.target import RedisTarget
from noa_perf.core.told import Told

T = TypeVar("T")

COUNTED = frozenset({"down", "timeout"})
"""Failures that tell of Redis as a whole; others concern one command, or writes alone."""


class Unavailable(NoaPerfError):
    """Redis was not asked, or did not do it; ``kind`` is one of :data:`~noa_perf.core.redis.Kind`, or ``open``."""

    def __init__(self, kind: str) -> None:
        """Say why."""
        super().__init__(kind)
        self.kind = kind


class Guard:
    """One process's way to one Redis. Nothing but :class:`Unavailable` comes of a Redis that fails."""

    def __init__(
        self,
        target: RedisTarget,
        *,
        breaker: BreakerPolicy,
        logger: logging.Logger,
        what: str,
        setting: str,
        consequence: str,
        clock: Clock = SYSTEM,
    ) -> None:
        """Open nothing yet.

        ``what`` names this Redis in logs (``"Redis of CACHES['default']"``), ``setting`` where its address and
        timeouts stand, ``consequence`` what a failure means for the site, as a sentence.
        """
        self.target = target
        self.clients = clients(target)
        self.clock = clock
        self.logger = logger
        self.what = what
        self.setting = setting
        self.consequence = consequence
        self.breaker = CircuitBreaker(breaker, clock=clock, name=what)
        self.breaker.on_change(self._changed)
        self.failures: dict[str, int] = {}
        """Calls that came to nothing, by kind."""
        self.calls = 0
        self.seconds = 0.0
        self.buckets: dict[int, int] = {}
        """Answers by how long they took: ``n`` is below ``2**n`` µs."""
        self.told = Told()
        """For who tells of the failures."""
        self._logged: dict[str, object] = {}

    def call(self, call: Callable[[Any], T]) -> T:
        """Return what ``call`` returns of a client; raises :class:`Unavailable`."""
        started = self._enter()
        try:
            reply = call(self.clients.get())
        except BaseException as error:
            self._raise(error, started)
        self._succeeded(started)
        return reply

    async def acall(self, call: Callable[[Any], Awaitable[T]]) -> T:
        """Return what ``call`` returns of the running loop's client; raises :class:`Unavailable`."""
        started = self._enter()
        try:
            reply = await call(self.clients.on_loop())
        except BaseException as error:
            self._raise(error, started)
        self._succeeded(started)
        return reply

    def drain(self) -> tuple[int, float, dict[int, int]]:
        """Return answers, their seconds and how those are spread, since the last time."""
        told = self.calls, self.seconds, self.buckets
        self.calls, self.seconds, self.buckets = 0, 0.0, {}
        return told

    def _enter(self) -> float:
        if not self.breaker.allow():
            raise self._unavailable("open")
        return self.clock.monotonic()

    def _succeeded(self, started: float, parts: int = 1) -> None:
        seconds = self.clock.monotonic() - started
        self._spent(seconds)
        # Bulk takes its time: what drags is judged by one command's share.
        self.breaker.success(seconds / parts)
        self.seconds += seconds
        self.calls += 1
        index = bucket(seconds)
        self.buckets[index] = self.buckets.get(index, 0) + 1

    def _raise(self, error: BaseException, started: float) -> NoReturn:
        """Raise :class:`Unavailable` for what went wrong; what ends a task, a thread or the process passes through."""
        seconds = self.clock.monotonic() - started
        self._spent(seconds)
        if isinstance(error, ERRORS):
            kind: str = classify(error)
            if kind in COUNTED:
                self.breaker.failure(seconds)
            else:
                self.breaker.success(seconds)  # it answered
        else:
            if not self.breaker.closed:
                self.breaker.failure(seconds)  # a probe cut short has not shown that all is well
            if not isinstance(error, Exception) or isinstance(error, NoaPerfError) or raised_by_signal(error):
                raise error
            kind = "fault"
        self._tell(kind, error)
        raise self._unavailable(kind) from error

    def _spent(self, seconds: float) -> None:
        """Be told what a call took, whatever came of it."""

    def _unavailable(self, kind: str) -> Unavailable:
        self.failures[kind] = self.failures.get(kind, 0) + 1
        return Unavailable(kind)

    def _tell(self, kind: str, error: Exception) -> None:
        """Log the first failure of a kind, and the next one only after all was well again."""
        mine = object()
        if self._logged.setdefault(kind, mine) is not mine:  # one step: two threads may fail at once
            return
        message = "%s fails (%s, %s). %s %s Logged once."
        self.logger.warning(message, self.what, kind, type(error).__name__, self._cure(kind), self.consequence)

    def _cure(self, kind: str) -> str:
        cures = {
            "down": f"See that it runs, and that its address and password in {self.setting} are right.",
            "timeout": f"It took longer than the timeout of {self.setting}.",
            "readonly": "It is a replica: name the primary, or use Sentinel.",
            "oom": "It is full: raise its maxmemory, or set a maxmemory-policy that evicts.",
            "refused": "It refuses to write: see its log (a full disk, missing replicas, an ACL).",
            "data": "A key holds what others have written: give this site a database or a prefix of its own.",
            "fault": "This is a fault of noa_perf, or of what the settings name: please report it.",
        }
        return cures.get(kind, "")

    def _changed(self, breaker: CircuitBreaker, old: str, new: str) -> None:
        if new == "closed":
            self._logged.clear()
            self.logger.info("%s answers again.", self.what)
        elif new == "open" and old == "closed":
            self.logger.warning("%s is left alone for now. %s", self.what, self.consequence)


def raised_by_signal(error: BaseException) -> bool:
    """Tell whether a signal's handler raised it, as the time limit of a worker's task: it is no error of the call."""
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    codes = {getattr(handler, "__code__", None) for handler in handlers}
    return any(frame.f_code in codes for frame, _ in traceback.walk_tb(error.__traceback__))
