"""A circuit breaker: stops asking a service that fails or drags, and asks again with care."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from noa_perf.core.clock import SYSTEM, Clock

logger = logging.getLogger("noa_perf.core")

State = Literal["closed", "open", "half_open"]
Listener = Callable[["CircuitBreaker", State, State], object]
"""Called with the breaker, the state that it left and the one that it is in, in order, outside its lock."""

_Caller = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When a breaker opens, and how it closes again."""

    window: float = 10.0
    """Seconds within which failures and slow calls are counted."""
    failures: int = 5
    """Failures within the window that open it."""
    slow_seconds: float = 0.1
    """Seconds beyond which a call that succeeded was slow; ``inf`` counts none."""
    slow_calls: int = 20
    """Slow calls within the window that open it."""
    cooldown: float = 1.0
    """Seconds for which it stays open at first; doubled each time that a probe fails."""
    max_cooldown: float = 30.0
    """Seconds beyond which the cooldown does not grow."""
    probes: int = 1
    """Calls let through at a time while half open, and successes in a row that close it."""
    probe_timeout: float = 5.0
    """Seconds after which a probe that has not reported is taken for lost, and another one let through."""

    def __post_init__(self) -> None:
        """Refuse numbers with which a breaker would never open, or never close."""
        for name in ("failures", "slow_calls", "probes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it has to be at least 1.")
        for name in ("window", "slow_seconds", "cooldown", "probe_timeout"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it has to be more than 0 seconds.")
        if self.max_cooldown < self.cooldown:
            raise ValueError(f"max_cooldown is {self.max_cooldown!r}; it has to be at least cooldown.")


DEFAULT = BreakerPolicy()


class CircuitBreaker:
    """Ask :meth:`allow` before each call, and tell :meth:`success` or :meth:`failure` after it.

    Closed: all calls pass. Open: none does, until the cooldown is over. Half open: a few pass as probes; their
    successes close it, and one failed or slow probe opens it again for twice as long. Both ends of one call belong to
    the same thread or asyncio task: that is how a probe is known from a call begun before the breaker opened, which
    says nothing about now. It starts no thread, never waits, and costs no lock while all is well.
    """

    __slots__ = (
        "__weakref__",
        "_changes",
        "_clock",
        "_closed_at",
        "_cooldown",
        "_failed",
        "_listeners",
        "_lock",
        "_probes",
        "_retry_at",
        "_slow",
        "_slow_seconds",
        "_state",
        "_succeeded",
        "_telling",
        "closed",
        "name",
        "policy",
    )

    def __init__(self, policy: BreakerPolicy = DEFAULT, *, clock: Clock = SYSTEM, name: str = "") -> None:
        """Begin closed. ``name`` is for listeners and logs."""
        self.policy = policy
        self.name = name
        self.closed = True
        """Whether all calls pass; to be read, not set."""
        self._clock = clock
        self._slow_seconds = policy.slow_seconds
        self._state: State = "closed"
        self._failed: deque[float] = deque(maxlen=policy.failures)
        self._slow: deque[float] = deque(maxlen=policy.slow_calls)
        self._probes: dict[_Caller, float] = {}
        self._succeeded = 0
        self._cooldown = policy.cooldown
        self._closed_at = self._retry_at = float("-inf")
        self._listeners: tuple[Listener, ...] = ()
        self._changes: deque[tuple[State, State]] = deque()
        self._unlock()
        _all.add(self)

    def allow(self) -> bool:
        """Tell whether a call may be made now; who is told so reports how it went."""
        return self.closed or self._admit()

    def success(self, seconds: float) -> None:
        """Note a call that was answered after ``seconds``."""
        if self.closed and seconds <= self._slow_seconds:
            return
        if seconds > self._slow_seconds:
            self._note(self._slow, seconds)
        else:
            self._probed()

    def failure(self, seconds: float = 0.0) -> None:
        """Note a call that failed after ``seconds``; one begun before the breaker last closed does not count."""
        self._note(self._failed, seconds)

    @property
    def state(self) -> State:
        """``closed``, ``open`` (also when the cooldown is over and nobody has asked since) or ``half_open``."""
        return self._state

    @property
    def retry_at(self) -> float:
        """When the next probe passes, on the clock's monotonic scale; in the past unless open, ``inf`` if forced."""
        return self._retry_at

    @property
    def seconds_left(self) -> float:
        """Seconds until a probe passes; 0 unless open, ``inf`` if forced."""
        return max(0.0, self._retry_at - self._clock.monotonic())

    def on_change(self, listener: Listener) -> None:
        """Call ``listener`` at each change of state; what it raises is logged."""
        with self._lock:
            self._listeners = (*self._listeners, listener)

    def force_open(self) -> None:
        """Let no call pass until :meth:`reset`."""
        with self._lock:
            self._probes.clear()
            self._retry_at = float("inf")
            self._become("open")
        self._tell()

    def reset(self) -> None:
        """Close it and forget what was counted."""
        with self._lock:
            self._close()
        self._tell()

    def _admit(self) -> bool:
        with self._lock:
            admitted = self._state == "closed" or self._admit_probe(self._clock.monotonic())
        self._tell()
        return admitted

    def _admit_probe(self, now: float) -> bool:
        if self._state == "open":
            if now < self._retry_at:
                return False
            self._succeeded = 0
            self._become("half_open")
        caller = _caller()
        lost = now - self.policy.probe_timeout
        # Who asks again has given its last probe up.
        self._probes = {who: begun for who, begun in self._probes.items() if begun > lost and who != caller}
        if len(self._probes) >= self.policy.probes:
            return False
        self._probes[caller] = now
        return True

    def _probed(self) -> None:
        with self._lock:
            if self._probes.pop(_caller(), None) is not None:
                self._succeeded += 1
                if self._succeeded >= self.policy.probes:
                    self._close()
        self._tell()

    def _note(self, counted: deque[float], seconds: float) -> None:
        with self._lock:
            now = self._clock.monotonic()
            if self._state == "closed":
                if now - seconds >= self._closed_at:
                    self._count(counted, now)
            elif _caller() in self._probes:
                self._open(now, min(self._cooldown * 2, self.policy.max_cooldown))
        self._tell()

    def _count(self, counted: deque[float], now: float) -> None:
        counted.append(now)
        # A full deque holds just as many as open it: all of them recent, or not yet.
        if len(counted) == counted.maxlen and counted[0] > now - self.policy.window:
            self._open(now, self.policy.cooldown)

    def _open(self, now: float, cooldown: float) -> None:
        self._probes.clear()
        self._cooldown = cooldown
        self._retry_at = now + cooldown
        self._become("open")

    def _close(self) -> None:
        for counted in (self._failed, self._slow, self._probes):
            counted.clear()
        self._retry_at = float("-inf")
        self._closed_at = self._clock.monotonic()
        self._become("closed")

    def _become(self, state: State) -> None:
        if state != self._state:
            self._changes.append((self._state, state))
        self._state = state
        self.closed = state == "closed"

    def _tell(self) -> None:
        # One thread tells at a time, so that listeners hear of changes in order. Whoever appends one while another
        # thread tells leaves it to that thread, which looks once more after it has let go.
        while self._changes and self._telling.acquire(blocking=False):
            try:
                while self._changes:
                    self._tell_of(*self._changes.popleft())
            finally:
                self._telling.release()

    def _tell_of(self, old: State, new: State) -> None:
        for listener in self._listeners:
            try:
                listener(self, old, new)
            except Exception:
                logger.exception("a listener of the circuit breaker %s failed", self.name)

    def _unlock(self) -> None:
        self._lock = threading.Lock()
        self._telling = threading.Lock()


def _caller() -> _Caller:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs here
        task = None
    return threading.get_ident(), id(task)


_all: weakref.WeakSet[CircuitBreaker] = weakref.WeakSet()


def _after_fork() -> None:
    for breaker in _all:
        breaker._unlock()  # a thread that the child has not may have held it


os.register_at_fork(after_in_child=_after_fork)
