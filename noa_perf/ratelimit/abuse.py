"""Before a view: who is listed or banned. After it: who does too often what nobody does who means well."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Awaitable, Callable, Generator, Iterable
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve
from django.utils.translation import get_language, get_language_from_path, override

from noa_perf.core import conf, stories
from noa_perf.core.clock import SYSTEM, Clock
from noa_perf.ratelimit import identity
from noa_perf.ratelimit.addresses import Address
from noa_perf.ratelimit.bans import Ban, Bans, Terms
from noa_perf.ratelimit.conf import RateLimitSettings, settings
from noa_perf.ratelimit.decision import ALLOWED, Decision
from noa_perf.ratelimit.exceptions import BadPolicy, StorageDown
from noa_perf.ratelimit.housekeeper import Housekeeper
from noa_perf.ratelimit.limiter import Limiter
from noa_perf.ratelimit.lists import Lists, of_settings
from noa_perf.ratelimit.rates import SECOND
from noa_perf.ratelimit.rules import AbuseRule
from noa_perf.ratelimit.storages.bans import RedisBans

logger = logging.getLogger("noa_perf.ratelimit")

SETTLED = "_noa_perf_settled"
"""Attribute of a request of which no rule has anything to say: let in by a list, or refused."""

Story = Generator["Wish", Any, Any]


class Wish(NamedTuple):
    """Something of which Redis, a session or a database may have to be asked."""

    what: str
    """``match``, ``identify``, ``hit``, ``reset`` or ``ban``."""
    arguments: tuple[Any, ...]


class Tally:
    """What one rule has done, in plain ints."""

    __slots__ = ("banned", "matched", "shadowed")

    def __init__(self) -> None:
        """Start from nothing."""
        self.matched = 0
        self.banned = 0
        self.shadowed = 0
        """Whom it would have banned."""


class Abuse:
    """One process's lists, bans and rules. Nothing here raises into a view."""

    def __init__(
        self, own: RateLimitSettings, limiter: Limiter, bans: Bans, rules: Iterable[AbuseRule], clock: Clock = SYSTEM
    ) -> None:
        """Hold what the settings say; the housekeeper reads the table."""
        self.settings = own
        self.lists = Lists(of_settings(own))
        """Replaced as a whole where the table has changed."""
        self.bans = bans
        self.rules = tuple(rules)
        self.tallies = {rule.name: Tally() for rule in self.rules}
        self.faults: dict[str, int] = {}
        """Predicates that failed, by rule."""
        self._limiter = limiter
        self._clock = clock
        self.housekeeper = Housekeeper(self, clock)
        self._early = tuple(rule for rule in self.rules if not rule.needs_response and not rule.login_failed)
        self._late = tuple(rule for rule in self.rules if rule.needs_response)
        self._logins = tuple(rule for rule in self.rules if rule.login_failed)

    def screen(self, request: HttpRequest) -> Decision | None:
        """Return what lists, bans and rules say before all else: yes without any limit, no, or None for nothing.

        Where it is not known yet who the user is, :meth:`screen_user` has to be asked later.
        """
        self.housekeeper.start()
        return None if self.is_idle else self._run(self._screened(request))

    async def ascreen(self, request: HttpRequest) -> Decision | None:
        """Do the same on an event loop."""
        self.housekeeper.start()
        return None if self.is_idle else await self._arun(self._screened(request))

    def screen_user(self, request: HttpRequest) -> Decision | None:
        """Return what lists and bans say of a request whose user is known now, and was not at :meth:`screen`."""
        return self._run(self._identified(request)) if self._has_users(request) else None

    async def ascreen_user(self, request: HttpRequest) -> Decision | None:
        """Do the same on an event loop."""
        return await self._arun(self._identified(request)) if self._has_users(request) else None

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to be said before any view."""
        return not (self.lists.size or len(self.bans.local) or self._early)

    def after(self, request: HttpRequest, response: HttpResponseBase) -> None:
        """Count what the rules say of a response."""
        if self._late:
            self._run(self._followed(request, response))

    async def aafter(self, request: HttpRequest, response: HttpResponseBase) -> None:
        """Do the same on an event loop."""
        if self._late:
            await self._arun(self._followed(request, response))

    def login_failed(self, request: HttpRequest) -> None:
        """Count a login that failed."""
        if self._logins and not getattr(request, SETTLED, False):
            self._run(self._counted(self._logins, request))

    def forgive(self, client: str) -> None:
        """Forget what the rules have counted of a client."""
        for rule in self.rules:
            if rule.policy is not None:
                self._limiter.reset(rule.policy, client)

    def _screened(self, request: HttpRequest) -> Generator[Wish, Any, Decision | None]:
        decision = yield from self._looked(request)
        if decision is None:
            decision = yield from self._matched(request)
        elif not decision and self.lists.allows_users and not hasattr(request, "user"):
            return None  # the user may be one who is let in from anywhere
        return _settled(request, decision)

    def _identified(self, request: HttpRequest) -> Generator[Wish, Any, Decision | None]:
        return _settled(request, (yield from self._looked(request)))

    def _looked(self, request: HttpRequest) -> Generator[Wish, Any, Decision | None]:
        """Return what lists and bans say."""
        address = identity.client_address(request)
        user, key = yield from self._names(request)
        listed = self.lists.look(address, _value(user), _value(key))
        if listed is not None:
            return ALLOWED if listed == "allow" else Decision(False, reason="deny")
        ban = self._ban_of(address, user, key)
        return None if ban is None else self._refused(ban)

    def _matched(self, request: HttpRequest) -> Generator[Wish, Any, Decision | None]:
        """Return what the rules say that need no response."""
        refused: Decision | None = None
        for rule in self._early:
            if not (yield Wish("match", (rule, request))):
                continue
            if ban := (yield from self._count(rule, request)):
                return self._refused(ban)
            if rule.kind == "fail2ban" and not rule.shadow:
                refused = Decision(False, reason="deny")
        return refused

    def _followed(self, request: HttpRequest, response: HttpResponseBase) -> Generator[Wish, Any, None]:
        if not getattr(request, SETTLED, False):
            for rule in self._late:
                if (yield Wish("match", (rule, request, response))):
                    yield from self._count(rule, request)

    def _counted(self, rules: Iterable[AbuseRule], request: HttpRequest) -> Generator[Wish, Any, None]:
        for rule in rules:
            yield from self._count(rule, request)

    def _count(self, rule: AbuseRule, request: HttpRequest) -> Generator[Wish, Any, Ban | None]:
        """Count a match; return the ban if it was one too many."""
        tally = self.tallies[rule.name]
        tally.matched += 1
        client = yield Wish("identify", (rule.by, request))
        if client is None or client == f"ip:{identity.UNKNOWN}":
            return None
        if rule.policy is not None:
            decision = yield Wish("hit", (rule.policy, client))
            if decision or decision.reason != "limit":
                return None
            yield Wish("reset", (rule.policy, client))
        if rule.shadow:
            tally.shadowed += 1
            return None
        tally.banned += 1
        return (yield Wish("ban", (client, terms(rule))))  # type: ignore[no-any-return]

    def _matches(self, rule: AbuseRule, request: HttpRequest, response: Any = None) -> bool:
        try:
            return rule.matches(request, lambda: _route(request), response)
        except Exception as error:
            return self._failed(rule, error)

    async def _amatches(self, rule: AbuseRule, request: HttpRequest, response: Any = None) -> bool:
        """Do the same; a predicate runs beside the loop, for it may ask a database."""
        try:
            fits = rule.fits(request, lambda: _route(request), response)
            if not fits or rule.predicate is None:
                return fits
            return await sync_to_async(rule.judges)(request, response)
        except Exception as error:
            return self._failed(rule, error)

    def _failed(self, rule: AbuseRule, error: Exception) -> bool:
        self.faults[rule.name] = self.faults.get(rule.name, 0) + 1
        if self.faults[rule.name] == 1:
            message = (
                "noa_perf.ratelimit: the predicate of abuse rule %r fails (%s), so it matches nothing. Logged once."
            )
            logger.error(message, rule.name, type(error).__name__)
        return False

    def _has_users(self, request: HttpRequest) -> bool:
        known = self.lists.has_users or self.bans.local.knows("user")
        return known and not getattr(request, SETTLED, False)

    def _names(self, request: HttpRequest) -> Generator[Wish, Any, tuple[str | None, str | None]]:
        """Return who is there by user and by key, each only where somebody of that kind is listed or banned."""
        user = key = None
        if self.lists.has_users or self.bans.local.knows("user"):
            user = yield Wish("identify", ("user", request))
        if self.lists.has_keys or self.bans.local.knows("key"):
            key = yield Wish("identify", ("api_key", request))
        return user, key if key and key.startswith("key:") else None

    def _ban_of(self, address: Address | None, user: str | None, key: str | None) -> Ban | None:
        local = self.bans.local
        if not len(local):
            return None
        ban = None if address is None else local.of_address(address)
        return ban or (user and local.of(user)) or (key and local.of(key)) or None

    def _refused(self, ban: Ban) -> Decision:
        left = max(0.0, ban.ends - self._clock.monotonic())
        return Decision(False, reason="ban", retry=int(left * SECOND))

    def _run(self, story: Story) -> Any:
        return stories.run(story, lambda wish: self._sync[wish.what](*wish.arguments), StorageDown)

    async def _arun(self, story: Story) -> Any:
        return await stories.arun(story, lambda wish: self._async[wish.what](*wish.arguments), StorageDown)

    @property
    def _sync(self) -> dict[str, Callable[..., Any]]:
        limiter = self._limiter
        return {
            "match": self._matches,
            "identify": identity.identify,
            "hit": limiter.hit,
            "reset": limiter.reset,
            "ban": self.bans.ban,
        }

    @property
    def _async(self) -> dict[str, Callable[..., Awaitable[Any]]]:
        limiter = self._limiter
        return {
            "match": self._amatches,
            "identify": identity.aidentify,
            "hit": limiter.ahit,
            "reset": limiter.areset,
            "ban": self.bans.aban,
        }


def terms(rule: AbuseRule) -> Terms:
    """Return how long a rule bans."""
    seconds = (one / SECOND for one in (rule.bantime, rule.max_bantime, rule.memory))
    first, longest, memory = seconds
    return Terms(rule.name, first, rule.factor, longest, memory)


def usable(own: RateLimitSettings) -> list[AbuseRule]:
    """Return the rules of the settings; one that cannot be used is left out, and the system check tells."""
    found = []
    for name, written in own.abuse.items():
        try:
            found.append(AbuseRule.parse(name, written))
        except BadPolicy as error:
            logger.error("noa_perf.ratelimit: an abuse rule is left out. %s", error)
    return found


def problems(own: RateLimitSettings) -> list[str]:
    """Return what is wrong with the abuse rules of the settings."""
    found = []
    for name, written in own.abuse.items():
        try:
            AbuseRule.parse(name, written)
        except BadPolicy as error:
            found.append(str(error))
    return found


_current: Abuse | None = None
_making = threading.Lock()


def current() -> Abuse:
    """Return this process's, made anew where the settings have changed; opens no connection."""
    global _current
    own = settings()
    found = _current
    if found is None or found.settings is not own:
        # One for all threads: what another one's had learnt, and was to write down, would be lost with it.
        with _making:
            found = _current
            if found is None or found.settings is not own:
                _current = found = _made(own)
    return found


def _made(own: RateLimitSettings) -> Abuse:
    from noa_perf.ratelimit import registry

    guard = registry.guard()
    shared = None if guard is None else RedisBans(guard, own.key_prefix)
    # A tally of its own: what rules count is no policy of the site's.
    return Abuse(own, Limiter(registry.limiter().storage), Bans(own, shared), usable(own))


def on_login_failed(sender: Any, request: HttpRequest | None = None, **kwargs: Any) -> None:
    """Receive ``user_login_failed``."""
    if request is not None and conf.enabled("RATELIMIT"):
        current().login_failed(request)


def install() -> None:
    """Listen for logins that fail."""
    from django.contrib.auth.signals import user_login_failed

    user_login_failed.connect(on_login_failed, dispatch_uid="noa_perf.ratelimit")


def _settled(request: HttpRequest, decision: Decision | None) -> Decision | None:
    if decision is not None:
        setattr(request, SETTLED, True)
    return decision


def _value(client: str | None) -> str | None:
    return client.partition(":")[2] if client else None


def _route(request: HttpRequest) -> str:
    match = request.resolver_match
    if match is None:
        # Nobody may have told yet which language it is, and routes have its prefix.
        with override(get_language_from_path(request.path_info) or get_language()):
            try:
                match = resolve(request.path_info, getattr(request, "urlconf", None))
            except Resolver404:
                return ""
    return match.view_name or ""


def _after_fork() -> None:
    global _making
    _making = threading.Lock()  # a thread that the child has not may have held it


os.register_at_fork(after_in_child=_after_fork)
