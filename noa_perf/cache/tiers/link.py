"""The way to Redis: what a story asks for is done with hard timeouts, a breaker and a budget, sync or async.

Each operation is told once, as a story, and runs on either client. When Redis is not to be had, ``Unavailable`` is
thrown into it; nothing else is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, TypeVar

from noa_perf.cache import budget
from noa_perf.cache.tiers.redis import aperform, perform, size
from noa_perf.cache.tiers.wishes import Batch, Story, Wish
from noa_perf.core import redis, stories
from noa_perf.core.breaker import BreakerPolicy
from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.core.redis import Guard, RedisTarget, Unavailable

logger = logging.getLogger("noa_perf.cache")

T = TypeVar("T")

SHARE = 0.25
"""What part of the budget each wait may take: for a connection, to connect, for the reply."""


class Link(Guard):
    """One process's way to one Redis."""

    def __init__(
        self, target: RedisTarget, *, limit: float | None, policy: BreakerPolicy, alias: str, clock: Clock = SYSTEM
    ) -> None:
        """Open nothing yet. ``limit`` is how many seconds of a request may be spent here; None or 0 sets none."""
        super().__init__(
            target.within(limit * SHARE) if limit else target,
            breaker=policy,
            logger=logger,
            what=f"noa_perf.cache: Redis of CACHES[{alias!r}]",
            setting=f"CACHES[{alias!r}]",
            consequence="The site is not affected.",
            clock=clock,
        )
        self.alias = alias
        self.limit = limit or float("inf")
        self.clamped = self.target != target
        """Whether the settings let one wait for Redis take more than a quarter of the budget, and it was cut to that.

        Without that the longest wish would fit into no budget, and each would be refused.
        """
        self.reserve = self.target.longest_call
        """Seconds that one wish may take at worst: it is not begun where less is left of the budget."""
        if self.clamped:
            message = (
                "noa_perf.cache: CACHES[%r] lets one wait for Redis take more than a quarter of OPTIONS['budget'] "
                "(%s s); each takes %s s at most."
            )
            logger.info(message, alias, limit, self.limit * SHARE)

    def run(self, story: Story[T]) -> T:
        """Return what the story comes to."""
        return stories.run(story, self._do, Unavailable)

    async def arun(self, story: Story[T]) -> T:
        """Return what the story comes to, on the running loop's own client."""
        return await stories.arun(story, self._ado, Unavailable)

    def _do(self, wish: Wish) -> Any:
        started = self._enter()
        try:
            reply = perform(self.clients, wish)
        except BaseException as error:
            self._raise(error, started)
        self._fulfilled(started, wish, reply)
        return reply

    async def _ado(self, wish: Wish) -> Any:
        started = self._enter()
        try:
            reply = await aperform(self.clients, wish)
        except BaseException as error:
            self._raise(error, started)
        self._fulfilled(started, wish, reply)
        return reply

    def _enter(self) -> float:
        """Raise :class:`Unavailable` where nothing may be sent now; return the moment."""
        spending = budget.current.get()
        if spending is not None and spending.spent + self.reserve > self.limit:
            spending.refused += 1
            raise self._unavailable("budget")
        return super()._enter()

    def _fulfilled(self, started: float, wish: Wish, reply: Any) -> None:
        self._succeeded(started, max(1, size(wish)))
        if isinstance(wish, Batch):
            self._note_refusals(reply)

    def _spent(self, seconds: float) -> None:
        spending = budget.current.get()
        if spending is not None:
            spending.spent += seconds

    def _note_refusals(self, replies: Iterable[Any]) -> None:
        """Count what Redis would not do of a batch that it answered; log the first of each kind."""
        for reply in replies:
            if isinstance(reply, Exception):
                kind = redis.classify(reply)
                self.failures[kind] = self.failures.get(kind, 0) + 1
                self._tell(kind, reply)
