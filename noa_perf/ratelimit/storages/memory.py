"""Counts in the memory of this process: bounded, safe for threads, and the longest idle forgotten first."""

from __future__ import annotations

import os
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Sequence
from time import monotonic_ns
from typing import Any

from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.ratelimit.algorithms.base import Figures
from noa_perf.ratelimit.decision import Decision, OneLimit, Refused, Shadowed, Verdict
from noa_perf.ratelimit.keys import names
from noa_perf.ratelimit.limits import Limit
from noa_perf.ratelimit.policy import Policy, is_cost
from noa_perf.ratelimit.rates import SECOND
from noa_perf.ratelimit.storages.base import LONGEST, Charge, Hit, Storage, What
from noa_perf.ratelimit.tally import Tally

Generation = defaultdict[str, dict[str, Any]]
"""States by policy and limit, and then by client."""


class MemoryStorage(Storage):
    """Two generations: what is used is in the young one, which becomes the old one when it is full.

    So what was not used for a whole generation is forgotten, at no cost for what is used, and nothing has to be put
    in order. A state weighs one; a sliding log more, by its length.
    """

    def __init__(self, max_keys: int = 100_000, clock: Clock = SYSTEM) -> None:
        """Begin empty. ``max_keys`` is what both generations may weigh together."""
        self._nanoseconds = monotonic_ns if clock is SYSTEM else _nanoseconds(clock)
        self._half = max(1, max_keys // 2)
        self._young: Generation = defaultdict(dict)
        self._old: Generation = defaultdict(dict)
        self._weight = 0
        """Of the young."""
        self._blocked: dict[tuple[str, str], int] = {}
        """Until when, by policy and client."""
        self._unlock()
        _all.add(self)

    def __len__(self) -> int:
        return sum(map(len, (*self._young.values(), *self._old.values())))

    def bind(self, policy: Policy, tally: Tally) -> Hit | None:
        """Return a quicker :meth:`run` where a policy has one limit, as most have, and its state is never changed."""
        (limit, *others), (part, *_) = policy.limits, policy.parts
        if others or limit.arithmetic.mutable:
            return None
        admit = limit.arithmetic.admit
        nanoseconds = self._nanoseconds
        name, shadow = policy.name, policy.shadow
        refusal: type[OneLimit] = Shadowed if shadow else Refused

        def hit(client: str, cost: int) -> Decision | None:
            if (cost != 1 and not (cost and is_cost(cost))) or (self._blocked and (name, client) in self._blocked):
                return None
            self._acquire()  # half as dear as "with"
            try:
                now = nanoseconds() // 1000
                kept = self._young[part]
                state = kept.get(client)
                if state is None:
                    if len(client) > LONGEST:
                        return None
                    self._make_room()
                    kept = self._young[part]
                    state = self._found(part, client, limit)
                new = admit(state, now, cost)
                if new is not None:
                    kept[client] = new
                    if state is None:
                        self._weight += 1
            finally:
                self._release()
            if new is not None:
                tally.allowed += 1
                decision: OneLimit = OneLimit()
                decision.facts = policy, limit, new, now, cost
                return decision
            tally.refuse(client, shadow=shadow)
            decision = refusal()
            decision.facts = policy, limit, state, now, cost
            return decision

        return hit

    def run(self, what: What, charges: Sequence[Charge]) -> list[Verdict]:
        """Do it for all charges at once."""
        with self._lock:
            now = self._nanoseconds() // 1000
            self._make_room()
            parts = [
                _Part(policy, limit, name, client, cost)
                for policy, client, cost in charges
                for limit, name in zip(policy.limits, policy.parts, strict=True)
            ]
            for part in parts:
                self._ask(part, now)
            refusing = {(part.policy, part.client) for part in parts if not part.allowed}
            agreed = all(policy.shadow for policy, _ in refusing)
            if what != "test":
                for part in parts:
                    self._change(what, part, now, passes=agreed and (part.policy, part.client) not in refusing)
            return [self._verdict(part, now) for part in parts]

    async def arun(self, what: What, charges: Sequence[Charge]) -> list[Verdict]:
        """Do the same: nothing here waits."""
        return self.run(what, charges)

    def reset(self, policy: Policy, client: str) -> bool:
        """Forget a client, and what blocks it."""
        with self._lock:
            found = [self._blocked.pop((policy.name, client), None)]
            for limit, part in zip(policy.limits, policy.parts, strict=True):
                young = self._young[part].pop(client, None)
                self._weight -= _weight(limit, young)
                found += [young, self._old[part].pop(client, None)]
        return any(one is not None for one in found)

    async def areset(self, policy: Policy, client: str) -> bool:
        """Do the same: nothing here waits."""
        return self.reset(policy, client)

    def block(self, policy: Policy, client: str, microseconds: int) -> None:
        """Refuse a client whatever is left."""
        now = self._nanoseconds() // 1000
        with self._lock:
            self._blocked = {key: until for key, until in self._blocked.items() if until > now}
            self._blocked.pop((policy.name, client), None)
            if microseconds > 0:
                self._blocked[policy.name, client] = now + microseconds
            while len(self._blocked) > self._half:
                del self._blocked[next(iter(self._blocked))]

    async def ablock(self, policy: Policy, client: str, microseconds: int) -> None:
        """Do the same: nothing here waits."""
        self.block(policy, client, microseconds)

    def forget(self, client: str, *, dry: bool = False) -> int:
        """Forget a client under every policy."""
        with self._lock:
            young = [(part, name) for part, kept in self._young.items() for name in kept if names(name, client)]
            old = [(part, name) for part, kept in self._old.items() for name in kept if names(name, client)]
            blocked = [key for key in self._blocked if names(key[1], client)]
            if not dry:
                for kept, found in ((self._young, young), (self._old, old)):
                    for part, name in found:
                        del kept[part][name]  # its weight stays: room is made a little early
                for key in blocked:
                    del self._blocked[key]
        return len(young) + len(old) + len(blocked)

    def clear(self) -> None:
        """Forget everybody."""
        with self._lock:
            self._young, self._old, self._blocked, self._weight = defaultdict(dict), defaultdict(dict), {}, 0

    def _ask(self, part: _Part, now: int) -> None:
        state = self._young[part.name].get(part.client)
        if state is None:
            state = self._found(part.name, part.client, part.limit)
        part.blocked = max(0, self._blocked.get((part.policy.name, part.client), 0) - now)
        self._weigh(part, state, now)

    def _weigh(self, part: _Part, state: Any, now: int) -> None:
        before = _weight(part.limit, state)
        part.state = state
        part.new = part.limit.arithmetic.admit(state, now, part.cost)
        part.before = _weight(part.limit, state)
        self._weight += part.before - before  # a log forgets what is over, whoever asks
        part.admits = part.new is not None
        part.allowed = part.admits and not part.blocked

    def _change(self, what: What, part: _Part, now: int, *, passes: bool) -> None:
        arithmetic = part.limit.arithmetic
        if what == "hit" and not passes:
            return
        if what == "take":
            part.cost = min(part.cost, arithmetic.figures(part.state, now, 0, True).remaining)
            part.new = arithmetic.admit(part.state, now, part.cost)
        if what != "hit":
            part.admits, part.allowed = True, not part.blocked
        if part.cost:
            if what == "give":
                part.state = arithmetic.give(part.state, now, part.cost)
            else:
                part.state = arithmetic.commit(part.new, now, part.cost)
            self._keep(part, part.state)

    def _keep(self, part: _Part, new: Any) -> None:
        self._weight += _weight(part.limit, new) - part.before
        if new is None:
            self._young[part.name].pop(part.client, None)
        else:
            self._young[part.name][part.client] = new

    @staticmethod
    def _verdict(part: _Part, now: int) -> Verdict:
        figures = part.limit.arithmetic.figures(part.state, now, part.cost, part.admits)
        if part.blocked:
            retry = -1 if figures.retry < 0 else max(part.blocked, figures.retry)
            figures = Figures(False, 0, max(part.blocked, figures.reset), retry)
        return Verdict(part.policy, part.limit, figures)

    def _found(self, part: str, client: str, limit: Limit) -> Any:
        """Return what the old generation has of a client, which is young from now on."""
        state = self._old[part].pop(client, None)
        if state is not None:
            self._young[part][client] = state
            self._weight += _weight(limit, state)
        return state

    def _make_room(self) -> None:
        """Begin a new generation where the young one is full: before a call looks at it, for what it holds is young."""
        if self._weight >= self._half:
            self._old, self._young, self._weight = self._young, defaultdict(dict), 0

    def _unlock(self) -> None:
        self._lock = threading.Lock()
        self._acquire, self._release = self._lock.acquire, self._lock.release


class _Part:
    """One limit of one charge, while it is decided."""

    __slots__ = ("admits", "allowed", "before", "blocked", "client", "cost", "limit", "name", "new", "policy", "state")

    state: Any
    new: Any
    admits: bool
    allowed: bool
    before: int

    def __init__(self, policy: Policy, limit: Limit, name: str, client: str, cost: int) -> None:
        self.policy = policy
        self.limit = limit
        self.name = name
        self.client = client
        self.cost = cost
        self.blocked = 0


def _weight(limit: Limit, state: Any) -> int:
    return 0 if state is None else limit.arithmetic.weight(state)


def _nanoseconds(clock: Clock) -> Callable[[], int]:
    # Never 0, which is no moment.
    return lambda: (round(clock.monotonic() * SECOND) + SECOND) * 1000


_all: weakref.WeakSet[MemoryStorage] = weakref.WeakSet()


def _after_fork() -> None:
    for storage in list(_all):
        storage._unlock()  # a thread that the child has not may have held it


os.register_at_fork(after_in_child=_after_fork)
