"""Counts in a Redis: all limits of a request in one call of a script, by the clock of Redis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from functools import cache, partial
from importlib.resources import files
from itertools import groupby
from json import JSONEncoder
from typing import Any, NamedTuple

from noa_perf.core import stories
from noa_perf.core.redis import Guard, MissingRedis, Script, Tail, Unavailable, fast_call
from noa_perf.ratelimit.algorithms.base import Figures
from noa_perf.ratelimit.decision import Decision, Verdict
from noa_perf.ratelimit.exceptions import StorageDown
from noa_perf.ratelimit.keys import names, safe
from noa_perf.ratelimit.limits import Limit
from noa_perf.ratelimit.policy import Policy
from noa_perf.ratelimit.storages import looking
from noa_perf.ratelimit.storages.base import LONGEST, Charge, Hit, Storage, What, agreed
from noa_perf.ratelimit.tally import Tally

Reply = list[int]
"""The moment, then three figures of each limit."""

_json = JSONEncoder(separators=(",", ":")).encode


class Call(NamedTuple):
    """A script that is to be run."""

    script: Script
    keys: list[str]
    arguments: list[Any]


class Asked(NamedTuple):
    """One limit of one charge."""

    policy: Policy
    limit: Limit
    part: str
    client: str
    cost: int


@cache
def script(*names: str) -> Script:
    """Return the script that these files of ``lua/`` make together."""
    folder = files(__package__) / "lua"
    return Script("\n".join((folder / f"{name}.lua").read_text(encoding="utf-8") for name in names))


class RedisStorage(Storage):
    """A standalone Redis, what Sentinels name, or a Cluster.

    On a Cluster one call reaches one client's keys. Where a request is about several clients (a user and an address),
    they are charged one after the other, and given back what they were charged if a later one says no.
    """

    shared = True

    def __init__(self, guard: Guard, prefix: str) -> None:
        """Keep keys that begin with ``prefix``."""
        self.guard = guard
        self.prefix = prefix
        self._cluster = guard.target.mode == "cluster"

    def run(self, what: What, charges: Sequence[Charge]) -> list[Verdict]:
        """Do it for all charges: at once, but for several clients on a Cluster."""
        asked = _asked(charges)
        if self._cluster:
            return stories.run(self._one_by_one(what, asked), self._call, StorageDown)
        return _verdicts(asked, self._call(self._packed(what, asked)))

    async def arun(self, what: What, charges: Sequence[Charge]) -> list[Verdict]:
        """Do the same on an event loop."""
        asked = _asked(charges)
        if self._cluster:
            return await stories.arun(self._one_by_one(what, asked), self._acall, StorageDown)
        return _verdicts(asked, await self._acall(self._packed(what, asked)))

    def bind(self, policy: Policy, tally: Tally) -> Hit:
        """Return a quicker :meth:`run` for a cost of 1: what never changes is packed once."""
        asked = _asked([Charge(policy, "")])
        names = _names(policy)
        script, _, arguments = self._packed("hit", asked)
        tail = Tail(*arguments)

        def hit(client: str, cost: int) -> Decision | None:
            if cost != 1 or len(client) > LONGEST:
                return None
            place = self._key(client, "")
            keys = [place + name for name in names]
            verdicts = _verdicts(asked, self._guarded(lambda redis: script.run(redis, keys, tail=tail)))
            if all(one.allowed for one in verdicts):
                tally.allowed += 1
            else:
                tally.refuse(client, shadow=policy.shadow)
            return Decision(agreed(verdicts), verdicts)

        return hit

    def reset(self, policy: Policy, client: str) -> bool:
        """Forget a client, and what blocks it."""
        keys = [self._key(client, name) for name in _names(policy)]
        return bool(self._guarded(lambda redis: fast_call(redis, "DEL", *keys, again=True)))

    async def areset(self, policy: Policy, client: str) -> bool:
        """Do the same on an event loop."""
        keys = [self._key(client, name) for name in _names(policy)]
        return bool(await self._aguarded(lambda redis: redis.execute_command("DEL", *keys)))

    def block(self, policy: Policy, client: str, microseconds: int) -> None:
        """Refuse a client whatever is left."""
        self._call(Call(script("block"), [self._key(client, _block(policy))], [microseconds]))

    async def ablock(self, policy: Policy, client: str, microseconds: int) -> None:
        """Do the same on an event loop."""
        await self._acall(Call(script("block"), [self._key(client, _block(policy))], [microseconds]))

    def forget(self, client: str, *, dry: bool = False) -> int:
        """Forget a client under every policy: on a Cluster of every primary."""
        begun = f"{self.prefix}:{{"
        pattern = f"{looking.literal(begun)}*{looking.literal(client)}*}}:*"
        seen = self._guarded(partial(looking.keys_like, pattern))
        his = [key for key in seen if names(_text(key).removeprefix(begun).partition("}")[0], client)]
        for key in [] if dry else his:
            self._guarded(partial(looking.delete, key))
        return len(his)

    def reachable(self, ask: bool) -> bool:
        """Tell whether Redis answers; unless to ``ask`` it, whether it is not left alone for now."""
        if not ask:
            return self.guard.breaker.closed
        try:
            self._guarded(lambda redis: fast_call(redis, "EXISTS", self.prefix, again=True))
        except StorageDown:
            return False
        return True

    def _one_by_one(self, what: What, asked: Sequence[Asked]) -> Generator[Call, Reply, list[Verdict]]:
        """Ask about each client in turn; give back what was charged once one says no."""
        found: dict[Asked, Verdict] = {}
        charged: list[tuple[list[Asked], int]] = []
        refused = False
        for own in _by_client(asked):
            reply = yield self._packed("test" if refused else what, own)
            verdicts = _verdicts(own, reply)
            refused = refused or (what == "hit" and not agreed(verdicts))
            refusing = {said.policy for said in verdicts if not said.allowed}
            had = [one for one in own if one.policy not in refusing]
            if had and not refused:
                charged.append((had, reply[0]))
            found.update(zip(own, verdicts, strict=True))
        if refused:
            for others, at in charged:
                found.update((yield from self._give_back(others, at)))
        return [found[one] for one in asked]

    def _give_back(self, asked: list[Asked], at: int) -> Generator[Call, Reply, dict[Asked, Verdict]]:
        try:
            reply = yield self._packed("give", asked, at)
        except StorageDown:
            return {}  # counted there; the client has paid for what it did not get, which time makes good
        return dict(zip(asked, _verdicts(asked, reply), strict=True))

    def _packed(self, what: What, asked: Sequence[Asked], at: int = 0) -> Call:
        keys: list[str] = []
        charges: list[list[Any]] = []
        for (policy, client, cost), limits in groupby(asked, lambda one: (one.policy, one.client, one.cost)):
            place = self._key(client, "")
            keys.append(place + _block(policy))
            charges.append([cost, policy.shadow])
            for one in limits:
                keys.append(place + one.part)
                charges[-1].append([*one.limit.arithmetic.arguments, one.limit.arithmetic.lua])
        names = sorted({one.limit.arithmetic.lua for one in asked})
        return Call(script("prelude", *names, "main"), keys, [what, at, _json(charges)])

    def _key(self, client: str, name: str) -> str:
        # Braces: on a Cluster all keys of one client lie in one slot. Around nothing they mean nothing, and
        # safe() makes "#" alone of no client.
        return f"{self.prefix}:{{{safe(client) or '#'}}}:{name}"

    def _call(self, call: Call) -> Reply:
        return self._guarded(lambda redis: call.script.run(redis, call.keys, call.arguments))  # type: ignore[no-any-return]

    async def _acall(self, call: Call) -> Reply:
        return await self._aguarded(lambda redis: call.script.arun(redis, call.keys, call.arguments))  # type: ignore[no-any-return]

    def _guarded(self, call: Callable[[Any], Any]) -> Any:
        try:
            return self.guard.call(call)
        except (Unavailable, MissingRedis) as error:
            raise StorageDown(getattr(error, "kind", "missing")) from error

    async def _aguarded(self, call: Callable[[Any], Awaitable[Any]]) -> Any:
        try:
            return await self.guard.acall(call)
        except (Unavailable, MissingRedis) as error:
            raise StorageDown(getattr(error, "kind", "missing")) from error


def _asked(charges: Iterable[Charge]) -> list[Asked]:
    return [
        Asked(policy, limit, part, client, cost)
        for policy, client, cost in charges
        for limit, part in zip(policy.limits, policy.parts, strict=True)
    ]


def _by_client(asked: Iterable[Asked]) -> list[list[Asked]]:
    found: dict[str, list[Asked]] = {}
    for one in asked:
        found.setdefault(one.client, []).append(one)
    return list(found.values())


def _verdicts(asked: Sequence[Asked], reply: Reply) -> list[Verdict]:
    _, *figures = reply
    three = [iter(figures)] * 3
    return [
        Verdict(one.policy, one.limit, Figures(retry == 0, remaining, reset, retry))
        for one, remaining, reset, retry in zip(asked, *three, strict=True)
    ]


def _names(policy: Policy) -> list[str]:
    """Return what the keys of a client are called under a policy, in the order of the script."""
    return [_block(policy), *policy.parts]


def _text(key: Any) -> str:
    return key.decode(errors="replace") if isinstance(key, bytes) else str(key)


def _block(policy: Policy) -> str:
    return f"{policy.name}:block"
