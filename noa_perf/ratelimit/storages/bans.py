"""Where bans are kept beyond one process's own: in a Redis that all share, or nowhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.core.redis import Guard, MissingRedis, Script, Unavailable, fast_call
from noa_perf.ratelimit.deny_cache import LIMIT, Ban
from noa_perf.ratelimit.exceptions import StorageDown
from noa_perf.ratelimit.storages import looking

Mode = Literal["once", "set", "longest"]
"""What becomes of a ban in force: it stays, gives way, or stays if it ends later."""

CHANGES = 10_000
"""Changes that Redis can tell one by one; who has missed more reads all bans."""
PAGE = 1_000
DAY = 86_400.0


class Terms(NamedTuple):
    """How long a rule bans. Seconds."""

    rule: str
    first: float
    factor: float = 1.0
    longest: float = float("inf")
    memory: float = 0.0
    """After the end of a ban the next one still lasts longer for so long."""

    def seconds(self, tier: int) -> float:
        """Return how long the ban of this tier lasts."""
        try:
            return min(self.first * self.factor ** (tier - 1), self.longest)
        except OverflowError:
            return self.longest


class Wider(NamedTuple):
    """A network that is banned too once enough of its addresses are."""

    network: str
    enough: int
    within: float
    """Seconds."""


class Made(NamedTuple):
    """What came of a ban."""

    ban: Ban
    is_new: bool
    """Whether this call made it; or else it was there."""


class News(NamedTuple):
    """What has changed of the bans since they were last asked for."""

    bans: Sequence[Ban] = ()
    released: Sequence[str] = ()
    complete: bool = False
    """Whether ``bans`` are all that there are: whoever is not among them was released."""
    lost: bool = False
    """Whether ``bans`` are all that Redis knows, and it may have forgotten others: it was emptied, or failed over."""


class MemoryBans:
    """One process's own: how often somebody was banned, and who was in which network. Bounded, never asks anybody."""

    def __init__(self, clock: Clock = SYSTEM, limit: int = LIMIT) -> None:
        """Know of nobody."""
        self._clock = clock
        self._limit = limit
        self._tiers: dict[str, tuple[int, float]] = {}
        self._banned: dict[str, dict[str, float]] = {}
        self._in_force: dict[str, Ban] = {}

    def ban(self, client: str, terms: Terms, mode: Mode = "once", wider: Wider | None = None) -> list[Made]:
        """Ban a client, and the network around it if that is due."""
        made = [self._ban(client, terms, mode)]
        if wider is not None and made[0].is_new and self._enough(client, wider):
            made.append(self._ban(wider.network, terms, mode))
        return made

    def release(self, client: str, network: str = "") -> bool:
        """End a ban, and forget how many there were, in the network around it too; tell whether there was one."""
        self._tiers.pop(client, None)
        self._banned.pop(client, None)
        if within := self._banned.get(network):
            within.pop(client, None)
        return self._in_force.pop(client, None) is not None

    def _ban(self, client: str, terms: Terms, mode: Mode) -> Made:
        now = self._clock.monotonic()
        known = self._in_force.get(client)
        if known and known.ends > now and (mode == "once" or (mode == "longest" and known.ends >= now + terms.first)):
            return Made(known, False)
        so_far, until = self._tiers.pop(client, (0, now))
        tier = so_far + 1 if until > now else 1
        ends = now + terms.seconds(tier)
        # What was touched last stands last: the first of a full dict is the one to be forgotten.
        self._tiers[client] = tier, max(until, ends + terms.memory)
        self._in_force.pop(client, None)
        self._in_force[client] = ban = Ban(client, terms.rule, tier, ends)
        for kept in (self._tiers, self._in_force):
            _bounded(kept, self._limit)
        return Made(ban, True)

    def _enough(self, client: str, wider: Wider) -> bool:
        now = self._clock.monotonic()
        banned = {one: at for one, at in self._banned.pop(wider.network, {}).items() if at > now - wider.within}
        banned[client] = now
        self._banned[wider.network] = banned
        _bounded(self._banned, self._limit)
        return len(banned) >= wider.enough


class RedisBans:
    """Those that all processes share. Raises :class:`~noa_perf.ratelimit.exceptions.StorageDown`, and nothing else."""

    def __init__(self, guard: Guard, prefix: str, clock: Clock = SYSTEM, limit: int = LIMIT) -> None:
        """Keep keys that begin with ``prefix``; on a Cluster all of them lie in one slot."""
        self._guard = guard
        self._clock = clock
        self._limit = limit
        self._names = f"{prefix}:{{bans}}:"
        self._shared = [self._names + name for name in ("now", "ends", "log", "state")]
        self._epoch, self._number, self._last = "", 0, ""

    def ban(self, client: str, terms: Terms, mode: Mode = "once", wider: Wider | None = None) -> list[Made]:
        """Ban a client, and the network around it if that is due."""
        keys, arguments = self._packed(client, terms, mode, wider)
        return self._made(self._run(lambda redis: script("ban").run(redis, keys, arguments)))

    async def aban(self, client: str, terms: Terms, mode: Mode = "once", wider: Wider | None = None) -> list[Made]:
        """Do the same on an event loop."""
        keys, arguments = self._packed(client, terms, mode, wider)
        return self._made(await self._arun(lambda redis: script("ban").arun(redis, keys, arguments)))

    def release(self, client: str, network: str = "", *, erase: bool = False) -> bool:
        """End a ban, and forget how many there were, in the network around it too; tell whether there was one.

        ``erase`` leaves nothing that names the client, not even for other processes to read of the release: they read
        all bans instead.
        """
        keys = [*self._shared, self._so_far(client), self._in(client), *([self._in(network)] if network else [])]
        return bool(self._run(lambda redis: script("release").run(redis, keys, [client, CHANGES, int(erase)])))

    def forget_former(self) -> None:
        """Forget how often anybody was banned, and who was in which network; bans in force stay."""
        for kind in ("tier", "in"):
            pattern = f"{looking.literal(self._names)}{kind}:*"
            for key in self._run(partial(looking.keys_like, pattern)):
                self._run(partial(looking.delete, key))

    def news(self) -> News:
        """Return what has changed since the last time: all bans the first time, and where too much was missed."""
        reply = self._since()
        if reply.followed:
            self._number, self._last = reply.number, (reply.changes or [self._last])[-1]
            return self._changes(reply.changes, reply.now)
        # Those that Redis has lost are not released: where it has forgotten them, processes have not.
        complete = self._epoch == reply.epoch and self._number <= reply.number and not reply.is_another
        bans = list(self._all(reply.now))
        self._epoch, self._number, self._last = reply.epoch, reply.number, (reply.changes or [""])[-1]
        released = set(self._changes(reply.changes, reply.now).released) - {ban.client for ban in bans}
        return News(bans, list(released), complete=complete, lost=not complete)

    def _packed(self, client: str, terms: Terms, mode: Mode, wider: Wider | None) -> tuple[list[str], list[Any]]:
        keys = [*self._shared, self._so_far(client)]
        longest = min(terms.longest, max(terms.first, 3650 * DAY))
        arguments = [client, terms.rule, mode, _ms(terms.first), terms.factor, _ms(longest), _ms(terms.memory)]
        arguments += [self._limit, CHANGES]
        if wider is None:
            return keys, [*arguments, "", 0, 0]
        keys += [self._so_far(wider.network), self._in(wider.network)]
        return keys, [*arguments, wider.network, wider.enough, _ms(wider.within)]

    def _so_far(self, client: str) -> str:
        return f"{self._names}tier:{client}"

    def _in(self, network: str) -> str:
        return f"{self._names}in:{network}"

    def _made(self, reply: list[Any]) -> list[Made]:
        now = self._clock.monotonic()
        # From now on it is seen where Redis forgets; what it knew before is read from its first change on.
        *found, epoch = reply
        self._epoch = self._epoch or _text(epoch)
        return [
            Made(Ban(_text(client), _text(rule), int(tier), now + int(left) / 1_000), bool(is_new))
            for client, rule, tier, left, is_new in zip(*[iter(found)] * 5, strict=True)
        ]

    def _since(self) -> _Reply:
        keys = self._shared[2:]
        known: list[Any] = [self._epoch, self._number, self._last]
        reply = self._run(lambda redis: script("bans_since").run(redis, keys, known, again=True))
        changes = list(map(_text, reply[4:]))
        return _Reply(_text(reply[0]), int(reply[1]), int(reply[2]), reply[3] == 1, reply[3] == -1, changes)

    def _changes(self, changes: Iterable[str], redis_now: int) -> News:
        bans: dict[str, Ban] = {}
        released: set[str] = set()
        now = self._clock.monotonic()
        for change in changes:
            _, until, tier, rule, client = change.split(" ", 4)
            released.add(client)
            bans.pop(client, None)
            if int(until) > redis_now:
                released.discard(client)
                bans[client] = Ban(client, rule, int(tier), now + (int(until) - redis_now) / 1_000)
        return News(list(bans.values()), list(released))

    def _all(self, redis_now: int) -> Iterator[Ban]:
        cursor: Any = "0"
        while True:
            cursor, found = self._run(partial(_scanned, self._shared[0], cursor))
            now = self._clock.monotonic()
            for client, told in zip(found[::2], found[1::2], strict=True):
                until, tier, rule = _text(told).split(" ", 2)
                if int(until) > redis_now:
                    yield Ban(_text(client), rule, int(tier), now + (int(until) - redis_now) / 1_000)
            if int(cursor) == 0:
                return

    def _run(self, call: Callable[[Any], Any]) -> Any:
        try:
            return self._guard.call(call)
        except (Unavailable, MissingRedis) as error:
            raise StorageDown(getattr(error, "kind", "missing")) from error

    async def _arun(self, call: Callable[[Any], Awaitable[Any]]) -> Any:
        try:
            return await self._guard.acall(call)
        except (Unavailable, MissingRedis) as error:
            raise StorageDown(getattr(error, "kind", "missing")) from error


class _Reply(NamedTuple):
    epoch: str
    number: int
    now: int
    """Milliseconds since 1970 by the clock of Redis."""
    followed: bool
    is_another: bool
    """Whether what was known of it is lost, and its numbers are those of other changes."""
    changes: list[str]


@cache
def script(name: str) -> Script:
    """Return a script of ``lua/``."""
    return Script((files(__package__) / "lua" / f"{name}.lua").read_text(encoding="utf-8"))


def _scanned(key: str, cursor: Any, redis: Any) -> Any:
    return fast_call(redis, "HSCAN", key, cursor, "COUNT", PAGE, again=True)


def _bounded(kept: dict[str, Any], limit: int) -> None:
    while len(kept) > limit:
        kept.pop(next(iter(kept)), None)


def _ms(seconds: float) -> int:
    return round(seconds * 1_000)


def _text(reply: Any) -> str:
    return reply.decode() if isinstance(reply, bytes) else str(reply)
