"""The facade: asks the storage, says yes or no, and never fails; everything that limits goes through here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from noa_perf.ratelimit.decision import Decision, Verdict
from noa_perf.ratelimit.exceptions import BadPolicy, StorageDown
from noa_perf.ratelimit.keys import safe
from noa_perf.ratelimit.policy import MAX_COST, Policy, is_cost
from noa_perf.ratelimit.rates import SECOND, duration
from noa_perf.ratelimit.storages.base import LONGEST, Charge, Hit, Storage, What, agreed
from noa_perf.ratelimit.tally import Tallies

PAUSE = SECOND
"""Microseconds after which it is worth while to ask again where the storage is away."""


class Limiter:
    """Charges clients under policies. No method raises but for bad input; where the storage is away, policies tell."""

    def __init__(self, storage: Storage, tallies: Tallies | None = None) -> None:
        """Count in ``storage``."""
        self.storage = storage
        self.tallies = Tallies() if tallies is None else tallies
        """What was decided, for the figures."""
        self._quick: dict[Policy, Hit] = {}

    def hit(self, policy: Policy, client: str, cost: int = 1) -> Decision:
        """Charge ``client`` ``cost`` units if all limits of the policy agree; return what came of it."""
        quick = self._quick.get(policy)
        if quick is None:
            quick = self._bind(policy)
        try:
            found = quick(client, cost)
        except StorageDown as error:
            return self._degraded((Charge(policy, client, cost),), error.kind)
        return self.decide((Charge(policy, client, cost),)) if found is None else found

    async def ahit(self, policy: Policy, client: str, cost: int = 1) -> Decision:
        """Do the same on an event loop."""
        return await self.adecide((Charge(policy, client, cost),))

    def decide(self, charges: Sequence[Charge]) -> Decision:
        """Charge several policies at once: all or none."""
        charges = _tidy(charges)
        try:
            return self._decided(self.storage.run("hit", charges), charges)
        except StorageDown as error:
            return self._degraded(charges, error.kind)

    async def adecide(self, charges: Sequence[Charge]) -> Decision:
        """Do the same on an event loop."""
        charges = _tidy(charges)
        try:
            return self._decided(await self.storage.arun("hit", charges), charges)
        except StorageDown as error:
            return self._degraded(charges, error.kind)

    def test(self, policy: Policy, client: str, cost: int = 1) -> Decision:
        """Tell what :meth:`hit` would, and charge nothing."""
        return self._do("test", policy, client, cost)

    async def atest(self, policy: Policy, client: str, cost: int = 1) -> Decision:
        """Do the same on an event loop."""
        return await self._ado("test", policy, client, cost)

    def status(self, policy: Policy, client: str) -> Decision:
        """Tell what is left of each limit."""
        return self._do("test", policy, client, 0)

    async def astatus(self, policy: Policy, client: str) -> Decision:
        """Do the same on an event loop."""
        return await self._ado("test", policy, client, 0)

    def penalty(self, policy: Policy, client: str, cost: int = 1) -> Decision:
        """Take ``cost`` units away, or as many as are left; tell what is left."""
        return self._do("take", policy, client, cost)

    async def apenalty(self, policy: Policy, client: str, cost: int = 1) -> Decision:
        """Do the same on an event loop."""
        return await self._ado("take", policy, client, cost)

    def reward(self, policy: Policy, client: str, cost: int = 1) -> Decision:
        """Give ``cost`` units back, or as many as were taken; tell what is left."""
        return self._do("give", policy, client, cost)

    async def areward(self, policy: Policy, client: str, cost: int = 1) -> Decision:
        """Do the same on an event loop."""
        return await self._ado("give", policy, client, cost)

    def block(self, policy: Policy, client: str, seconds: Any) -> bool:
        """Refuse a client under this policy, whatever is left; 0 ends that. Tell whether the storage has it."""
        (charge,) = _tidy((Charge(policy, client),))
        try:
            self.storage.block(policy, charge.client, _micros(seconds))
        except StorageDown:
            return False
        return True

    async def ablock(self, policy: Policy, client: str, seconds: Any) -> bool:
        """Do the same on an event loop."""
        (charge,) = _tidy((Charge(policy, client),))
        try:
            await self.storage.ablock(policy, charge.client, _micros(seconds))
        except StorageDown:
            return False
        return True

    def reset(self, policy: Policy, client: str) -> bool | None:
        """Forget a client under this policy; tell whether there was anything, None where the storage is away."""
        (charge,) = _tidy((Charge(policy, client),))
        try:
            return self.storage.reset(policy, charge.client)
        except StorageDown:
            return None

    async def areset(self, policy: Policy, client: str) -> bool | None:
        """Do the same on an event loop."""
        (charge,) = _tidy((Charge(policy, client),))
        try:
            return await self.storage.areset(policy, charge.client)
        except StorageDown:
            return None

    def _bind(self, policy: Policy) -> Hit:
        made = self.storage.bind(policy, self.tallies.of(policy.name)) or _never
        return self._quick.setdefault(policy, made)

    def _do(self, what: What, policy: Policy, client: str, cost: int) -> Decision:
        charges = _tidy((Charge(policy, client, cost),))
        try:
            return _told(self.storage.run(what, charges))
        except StorageDown as error:
            return _unknown(charges, error.kind)

    async def _ado(self, what: What, policy: Policy, client: str, cost: int) -> Decision:
        charges = _tidy((Charge(policy, client, cost),))
        try:
            return _told(await self.storage.arun(what, charges))
        except StorageDown as error:
            return _unknown(charges, error.kind)

    def _decided(self, verdicts: list[Verdict], charges: Sequence[Charge]) -> Decision:
        decision = _told(verdicts)
        refused = {one.policy.name for one in verdicts if not one.allowed}
        for policy, client, _ in charges:
            tally = self.tallies.of(policy.name)
            if policy.name in refused:
                tally.refuse(client, shadow=policy.shadow)
            elif decision.allowed:
                tally.allowed += 1
            else:
                tally.uncharged += 1
        return decision

    def _degraded(self, charges: Sequence[Charge], kind: str) -> Decision:
        for policy, _, _ in charges:
            self.tallies.of(policy.name).degrade(policy.on_failure)
        return _unknown(charges, kind)


def _never(client: str, cost: int) -> None:
    """Be no quicker way."""


def _told(verdicts: list[Verdict]) -> Decision:
    return Decision(agreed(verdicts), verdicts)


def _unknown(charges: Sequence[Charge], kind: str) -> Decision:
    closed = any(charge.policy.on_failure == "closed" and not charge.policy.shadow for charge in charges)
    if not closed:
        return Decision(True, degraded=kind)
    return Decision(False, degraded=kind, reason="unavailable", retry=PAUSE)


def _tidy(charges: Sequence[Charge]) -> Sequence[Charge]:
    """Return the charges with names of a bearable length, those of one client under one policy added up."""
    found: dict[tuple[str, str], Charge] = {}
    for policy, client, cost in charges:
        if not is_cost(cost):
            raise BadPolicy(f"A cost is {cost!r}. It has to be a whole number from 0 to {MAX_COST}.")
        name = safe(client) if len(client) > LONGEST else client
        before = found.get((policy.name, name))
        found[policy.name, name] = Charge(policy, name, cost + (before.cost if before else 0))
    return list(found.values())


def _micros(seconds: Any) -> int:
    return 0 if seconds == 0 else duration(seconds)
