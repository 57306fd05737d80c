"""``cache.lock(...)``: one holder at a time among all processes, and among this one's threads while Redis is away.

The key in Redis and what it holds are as redis-py's own locks have them, so a process that still runs django-redis and
one that runs this exclude each other.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from types import SimpleNamespace, TracebackType
from typing import Any

from noa_perf.cache.exceptions import LockNotTaken
from noa_perf.cache.stack import Stack
from noa_perf.cache.tiers.wishes import Command, Lua, Story
from noa_perf.core.redis import Script, Unavailable

logger = logging.getLogger("noa_perf.cache")

_GIVE = Script(
    """
    if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
    return redis.call('DEL', KEYS[1])
    """
)
_EXTEND = Script(
    """
    if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
    local left = redis.call('PTTL', KEYS[1])
    if ARGV[3] == '1' then left = 0 elseif left < 0 then return 0 end
    return redis.call('PEXPIRE', KEYS[1], left + ARGV[2])
    """
)


class _Lock:
    """What the sync and the async lock have in common: everything but waiting."""

    def __init__(
        self,
        stack: Stack,
        name: str,
        *,
        timeout: float | None,
        sleep: float,
        blocking: bool,
        blocking_timeout: float | None,
        thread_local: bool,
    ) -> None:
        self.name = name
        """The key in Redis."""
        self.timeout = timeout
        """Seconds after which it is free again whoever holds it; None: never."""
        self.sleep = sleep
        """Seconds between two tries to take it."""
        self.blocking = blocking
        self.blocking_timeout = blocking_timeout
        self._stack = stack
        # Without thread_local one thread may take it, and another that has this object give it back.
        self.local: Any = threading.local() if thread_local else SimpleNamespace()

    @property
    def token(self) -> str:
        """What this thread holds it by, or nothing."""
        return getattr(self.local, "token", "")

    def _plan(self, sleep: float | None, blocking: bool | None, seconds: float | None) -> Iterator[float]:
        """Return how long to wait before each further try."""
        pause = self.sleep if sleep is None else sleep
        seconds = self.blocking_timeout if seconds is None else seconds
        until = None if seconds is None else time.monotonic() + seconds
        while self.blocking if blocking is None else blocking:
            if until is not None and time.monotonic() + pause > until:
                return
            yield pause

    def _holding(self) -> str:
        if not self.token:
            raise LockNotTaken(f"The lock {self.name!r} is not held here.")
        return self.token

    def _not_in_time(self) -> LockNotTaken:
        return LockNotTaken(f"The lock {self.name!r} could not be had in time.")

    def _lost(self) -> None:
        logger.warning("noa_perf.cache: a lock of CACHES[%r] was over before it was given back.", self._stack.alias)

    # Stories

    def _take(self, token: str) -> Story[bool]:
        locks, link = self._stack.locks, self._stack.link
        if link is None:
            return locks.take(self.name, token, self.timeout)
        if locks.holder(self.name):
            return False  # taken while Redis was away
        lasting = () if self.timeout is None else ("PX", max(1, round(self.timeout * 1000)))
        try:
            taken = yield Command(("SET", self.name, token, "NX", *lasting))
        except Unavailable as error:
            return self._take_alone(token, error.kind)
        locks.told = False
        if not taken or locks.taken_in_redis(self.name, token, self.timeout):
            return bool(taken)
        yield from self._give(token)
        return False

    def _take_alone(self, token: str, why: str) -> bool:
        locks = self._stack.locks
        if not locks.take(self.name, token, self.timeout):
            return False
        locks.taken += 1
        if not locks.told:
            locks.told = True
            message = (
                "noa_perf.cache: Redis of CACHES[%r] is not to be had (%s): its locks hold within this process alone "
                "for now. Logged once."
            )
            logger.warning(message, self._stack.alias, why)
        return True

    def _give(self, token: str) -> Story[bool]:
        alone = self._stack.locks.give(self.name, token)
        if self._stack.link is None:
            return alone
        try:
            # Asked even of a lock that was taken alone: the answer may have been lost, and not the command.
            return bool((yield Lua(_GIVE, (self.name,), (token,)))) or alone
        except Unavailable:
            if self.timeout is None and not alone:
                self._stack.journal.note([self.name], "")  # nobody could take it ever again
            return True

    def _extend(self, token: str, seconds: float, anew: bool) -> Story[bool]:
        extended = self._stack.locks.extend(self.name, token, seconds, anew=anew)
        if extended or self._stack.link is None:
            return extended
        try:
            return bool((yield Lua(_EXTEND, (self.name,), (token, round(seconds * 1000), int(anew)))))
        except Unavailable:
            return False

    def _holder(self) -> Story[str]:
        alone = self._stack.locks.holder(self.name)
        if self._stack.link is None or alone:
            return alone
        try:
            found = yield Command(("GET", self.name))
        except Unavailable:
            return self.token  # nobody knows better
        return found.decode(errors="replace") if isinstance(found, bytes) else str(found or "")


class Lock(_Lock):
    """A lock as redis-py's: ``with cache.lock("k", timeout=10): ...``."""

    def acquire(
        self,
        sleep: float | None = None,
        blocking: bool | None = None,
        blocking_timeout: float | None = None,
        token: str | None = None,
    ) -> bool:
        """Take it, waiting as long as was said; tell whether it was had."""
        token = token or uuid.uuid4().hex
        plan = self._plan(sleep, blocking, blocking_timeout)
        while not self._stack.run(self._take(token)):
            pause = next(plan, None)
            if pause is None:
                return False
            time.sleep(pause)
        self.local.token = token
        return True

    def release(self) -> bool:
        """Give it back; tell whether it was still held. Raises LockNotTaken where this thread never took it."""
        token = self._holding()
        self.local.token = ""
        return self._stack.run(self._give(token))

    def extend(self, additional_time: float, replace_ttl: bool = False) -> bool:
        """Hold it so many seconds longer, or as many from now on; tell whether it is held."""
        return self._stack.run(self._extend(self._holding(), additional_time, replace_ttl))

    def reacquire(self) -> bool:
        """Hold it for its whole time from now on; tell whether it is held."""
        return self.timeout is not None and self.extend(self.timeout, replace_ttl=True)

    def locked(self) -> bool:
        """Tell whether anybody holds it."""
        return bool(self._stack.run(self._holder()))

    def owned(self) -> bool:
        """Tell whether this thread holds it."""
        return bool(self.token) and self._stack.run(self._holder()) == self.token

    def __enter__(self) -> Lock:
        """Take it; raises LockNotTaken where it cannot be had in time."""
        if not self.acquire():
            raise self._not_in_time()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give it back; if it was over before, that is logged: what was done under it is done."""
        if not self.release():
            self._lost()


class AsyncLock(_Lock):
    """The same on an event loop: ``async with cache.alock("k", timeout=10): ...``."""

    async def acquire(
        self,
        sleep: float | None = None,
        blocking: bool | None = None,
        blocking_timeout: float | None = None,
        token: str | None = None,
    ) -> bool:
        """Take it, waiting as long as was said; tell whether it was had."""
        token = token or uuid.uuid4().hex
        plan = self._plan(sleep, blocking, blocking_timeout)
        while not await self._stack.arun(self._take(token)):
            pause = next(plan, None)
            if pause is None:
                return False
            await asyncio.sleep(pause)
        self.local.token = token
        return True

    async def release(self) -> bool:
        """Give it back; tell whether it was still held. Raises LockNotTaken where it was never taken."""
        token = self._holding()
        self.local.token = ""
        return await self._stack.arun(self._give(token))

    async def extend(self, additional_time: float, replace_ttl: bool = False) -> bool:
        """Hold it so many seconds longer, or as many from now on; tell whether it is held."""
        return await self._stack.arun(self._extend(self._holding(), additional_time, replace_ttl))

    async def reacquire(self) -> bool:
        """Hold it for its whole time from now on; tell whether it is held."""
        return self.timeout is not None and await self.extend(self.timeout, replace_ttl=True)

    async def locked(self) -> bool:
        """Tell whether anybody holds it."""
        return bool(await self._stack.arun(self._holder()))

    async def owned(self) -> bool:
        """Tell whether it is held by this object."""
        return bool(self.token) and await self._stack.arun(self._holder()) == self.token

    async def __aenter__(self) -> AsyncLock:
        """Take it; raises LockNotTaken where it cannot be had in time."""
        if not await self.acquire():
            raise self._not_in_time()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Give it back; if it was over before, that is logged: what was done under it is done."""
        if not await self.release():
            self._lost()
