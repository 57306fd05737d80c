"""The way to Redis: what a story asks for is done with hard timeouts, a breaker and a budget, sync or async.

A story is a generator that yields what it wants of Redis and is sent the reply. So each operation is told once, and
runs on either client. When Redis is not to be had, ``Unavailable`` is thrown into the story; nothing else is.
"""

from __future__ import annotations

import logging
import signal
import traceback
from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar

from noa_perf.cache import budget
from noa_perf.cache.budget import Budget
from noa_perf.cache.tiers.redis import aperform, perform, size
from noa_perf.cache.tiers.wishes import Batch, Story, Unavailable, Wish
from noa_perf.core import redis
from noa_perf.core.breaker import BreakerPolicy, CircuitBreaker
from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.core.exceptions import NoaPerfError
from noa_perf.core.histogram import bucket
from noa_perf.core.redis import RedisTarget

logger = logging.getLogger("noa_perf.cache")

T = TypeVar("T")

CURES = {
    "down": "See that it runs and that LOCATION and password are right.",
    "timeout": "It took longer than OPTIONS['SOCKET_TIMEOUT'].",
    "readonly": "It is a replica: point LOCATION at the primary, or use Sentinel.",
    "oom": "It is full: raise its maxmemory, or set a maxmemory-policy that evicts.",
    "refused": "It refuses to write: see its log (a full disk, missing replicas, an ACL).",
    "fault": "This is a fault of noa_perf, or of what the settings name: please report it.",
    "data": "A key holds what a cache does not write: give it a database or a KEY_PREFIX of its own.",
}
"""What a person can do about each kind of failure."""

COUNTED = frozenset({"down", "timeout"})
"""Failures that tell of Redis as a whole; others concern one command, or writes alone."""

SHARE = 0.25
"""What part of the budget each wait may take: for a connection, to connect, for the reply."""


class Link:
    """One process's way to one Redis."""

    def __init__(
        self, target: RedisTarget, *, limit: float | None, policy: BreakerPolicy, alias: str, clock: Clock = SYSTEM
    ) -> None:
        """Open nothing yet. ``limit`` is how many seconds of a request may be spent here; None or 0 sets none."""
        self.limit = limit or float("inf")
        self.target = target.within(limit * SHARE) if limit else target
        self.clamped = self.target != target
        """Whether the settings let one wait for Redis take more than a quarter of the budget, and it was cut to that.

        Without that the longest wish would fit into no budget, and each would be refused.
        """
        self.alias = alias
        self._clients = redis.clients(self.target)
        self.reserve = self.target.longest_call
        """Seconds that one wish may take at worst: it is not begun where less is left of the budget."""
        self.clock = clock
        self.breaker = CircuitBreaker(policy, clock=clock, name=alias)
        self.breaker.on_change(self._changed)
        self.failures: dict[str, int] = {}
        """Wishes that were not fulfilled, by kind."""
        self.calls = 0
        self.seconds = 0.0
        self.buckets: dict[int, int] = {}
        """Answers by how long they took: ``n`` is below ``2**n`` µs."""
        self._told: set[str] = set()
        if self.clamped:
            message = (
                "noa_perf.cache: CACHES[%r] lets one wait for Redis take more than a quarter of OPTIONS['budget'] "
                "(%s s); each takes %s s at most."
            )
            logger.info(message, alias, limit, self.limit * SHARE)

    def run(self, story: Story[T]) -> T:
        """Return what the story comes to."""
        try:
            wish = next(story)
            while True:
                try:
                    reply = self._do(wish)
                except Unavailable as error:
                    wish = story.throw(error)
                else:
                    wish = story.send(reply)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]

    async def arun(self, story: Story[T]) -> T:
        """Return what the story comes to, on the running loop's own client."""
        try:
            wish = next(story)
            while True:
                try:
                    reply = await self._ado(wish)
                except Unavailable as error:
                    wish = story.throw(error)
                else:
                    wish = story.send(reply)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]

    def drain(self) -> tuple[int, float, dict[int, int]]:
        """Return answers, their seconds and how those are spread, since the last time."""
        told = self.calls, self.seconds, self.buckets
        self.calls, self.seconds, self.buckets = 0, 0.0, {}
        return told

    def _do(self, wish: Wish) -> Any:
        spent = self._enter()
        started = self.clock.monotonic()
        try:
            reply = perform(self._clients, wish)
        except BaseException as error:
            self._raise(error, started, spent)
        self._succeeded(started, spent, wish, reply)
        return reply

    async def _ado(self, wish: Wish) -> Any:
        spent = self._enter()
        started = self.clock.monotonic()
        try:
            reply = await aperform(self._clients, wish)
        except BaseException as error:
            self._raise(error, started, spent)
        self._succeeded(started, spent, wish, reply)
        return reply

    def _enter(self) -> Budget | None:
        """Raise :class:`Unavailable` where nothing may be sent now; return the request's budget, if it has one."""
        spending = budget.current.get()
        if spending is not None and spending.spent + self.reserve > self.limit:
            spending.refused += 1
            raise self._unavailable("budget")
        if not self.breaker.allow():
            raise self._unavailable("open")
        return spending

    def _raise(self, error: BaseException, started: float, spending: Budget | None) -> NoReturn:
        """Raise :class:`Unavailable` for what went wrong; what ends a task, a thread or the process passes through."""
        if isinstance(error, redis.ERRORS):
            raise self._failed(error, started, spending) from error
        if not self.breaker.closed:
            self.breaker.failure(self.clock.monotonic() - started)  # a probe cut short has not shown that all is well
        if not isinstance(error, Exception) or isinstance(error, NoaPerfError) or _by_signal(error):
            raise error
        if spending is not None:
            spending.spent += self.clock.monotonic() - started
        self._tell("fault", error)
        raise self._unavailable("fault") from error

    def _succeeded(self, started: float, spending: Budget | None, wish: Wish, reply: Any) -> None:
        seconds = self.clock.monotonic() - started
        # Bulk takes its time: what drags is judged by one command's share.
        self.breaker.success(seconds / max(1, size(wish)))
        if isinstance(wish, Batch):
            self._note_refusals(reply)
        self.seconds += seconds
        self.calls += 1
        index = bucket(seconds)
        self.buckets[index] = self.buckets.get(index, 0) + 1
        if spending is not None:
            spending.spent += seconds

    def _failed(self, error: Exception, started: float, spending: Budget | None) -> Unavailable:
        seconds = self.clock.monotonic() - started
        if spending is not None:
            spending.spent += seconds
        kind = redis.classify(error)
        if kind in COUNTED:
            self.breaker.failure(seconds)
        else:
            self.breaker.success(seconds)  # it answered
        self._tell(kind, error)
        return self._unavailable(kind)

    def _note_refusals(self, replies: Iterable[Any]) -> None:
        """Count what Redis would not do of a batch that it answered; log the first of each kind."""
        for reply in replies:
            if isinstance(reply, Exception):
                kind = redis.classify(reply)
                self.failures[kind] = self.failures.get(kind, 0) + 1
                self._tell(kind, reply)

    def _unavailable(self, kind: str) -> Unavailable:
        self.failures[kind] = self.failures.get(kind, 0) + 1
        return Unavailable(kind)

    def _tell(self, kind: str, error: Exception) -> None:
        """Log the first failure of a kind, and the next one only after all was well again."""
        if kind in self._told:
            return
        self._told.add(kind)
        message = "noa_perf.cache: Redis of CACHES[%r] fails (%s, %s). %s The site is not affected; logged once."
        logger.warning(message, self.alias, kind, type(error).__name__, CURES.get(kind, ""))

    def _changed(self, breaker: CircuitBreaker, old: str, new: str) -> None:
        if new == "closed":
            self._told.clear()
            logger.info("noa_perf.cache: Redis of CACHES[%r] answers again.", self.alias)
        elif new == "open" and old == "closed":
            logger.warning("noa_perf.cache: Redis of CACHES[%r] is left alone for now.", self.alias)


def _by_signal(error: BaseException) -> bool:
    """Tell whether a signal's handler raised it, as the time limit of a worker's task: it is no error of the call."""
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    codes = {getattr(handler, "__code__", None) for handler in handlers}
    return any(frame.f_code in codes for frame, _ in traceback.walk_tb(error.__traceback__))
