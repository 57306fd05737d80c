"""The middleware: lists and bans first, then the policies of the settings, once it is known which view is meant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import ResolverMatch

from noa_perf.core import conf
from noa_perf.ratelimit import abuse, asking, denial, matching, registry
from noa_perf.ratelimit.decision import Decision
from noa_perf.ratelimit.policy import Policy

Next = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class RateLimitMiddleware:
    """Put it near the top. What is refused by a list or a ban reaches nothing below it; policies are asked once Django
    knows the view, so that users, sessions and routes are there whatever stands below.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Next) -> None:
        """Decide once whether this is an async chain; take itself out where the app is switched off."""
        if not conf.enabled("RATELIMIT"):
            raise MiddlewareNotUsed
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)
        self.process_view = self._aprocess_view if self.is_async else self._process_view

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer the request, or refuse it."""
        if self.is_async:
            return self.__acall__(request)
        own = abuse.current()
        response: Any = self._settled(request, own.screen(request))
        if response is None:
            response = self.get_response(request)
            own.after(request, response)
            response = _instead(response, self._unseen(request))
        return asking.tell(response, asking.state(request).decisions)

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Do the same on an event loop."""
        own = abuse.current()
        response: Any = self._settled(request, await own.ascreen(request))
        if response is None:
            response = await self.get_response(request)  # type: ignore[misc]
            await own.aafter(request, response)
            response = _instead(response, await self._aunseen(request))
        return asking.tell(response, asking.state(request).decisions)

    @staticmethod
    def _settled(request: HttpRequest, decision: Decision | None) -> HttpResponseBase | None:
        """Return the refusal of whom a list or a ban is about; remember whom none of the limits is about."""
        if decision is None:
            return None
        if decision.allowed:
            asking.state(request).exempt = True
            return None
        blocked = registry.tallies().blocked
        blocked[decision.reason] = blocked.get(decision.reason, 0) + 1
        return denial.response(request, decision)

    def _process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponseBase | None:
        return self._decided(request, request.resolver_match)

    async def _aprocess_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponseBase | None:
        return await self._adecided(request, request.resolver_match)

    def _unseen(self, request: HttpRequest) -> HttpResponseBase | None:
        """Decide about what has led to no view: paths that nothing answers to, and what middleware answers itself."""
        return None if asking.state(request).asked else self._decided(request, None)

    async def _aunseen(self, request: HttpRequest) -> HttpResponseBase | None:
        return None if asking.state(request).asked else await self._adecided(request, None)

    def _decided(self, request: HttpRequest, match: ResolverMatch | None) -> HttpResponseBase | None:
        asking.state(request).asked = True
        refused = self._settled(request, abuse.current().screen_user(request))
        return refused or asking.refusal(request, self._ask(request, match))

    async def _adecided(self, request: HttpRequest, match: ResolverMatch | None) -> HttpResponseBase | None:
        asking.state(request).asked = True
        refused = self._settled(request, await abuse.current().ascreen_user(request))
        return refused or asking.refusal(request, await self._aask(request, match))

    @staticmethod
    def _ask(request: HttpRequest, match: ResolverMatch | None) -> Decision | None:
        seen = asking.state(request)
        policies = matching.policies_for(request, match)
        if seen.exempt or not policies:
            return None
        if matching.asks_for_groups(policies):
            policies = _of_user(policies, getattr(request, "user", None))
        return asking.ask(request, policies)

    @staticmethod
    async def _aask(request: HttpRequest, match: ResolverMatch | None) -> Decision | None:
        seen = asking.state(request)
        policies = matching.policies_for(request, match)
        if seen.exempt or not policies:
            return None
        if matching.asks_for_groups(policies):
            policies = await sync_to_async(lambda: _of_user(policies, getattr(request, "user", None)))()
        return await asking.aask(request, policies)


def _instead(response: HttpResponseBase, refusal: HttpResponseBase | None) -> HttpResponseBase:
    """Return the refusal, if there is one: what it takes the place of is closed with it, a file being served, say."""
    if refusal is None:
        return response
    refusal._resource_closers.extend(response._resource_closers)  # type: ignore[attr-defined]
    return refusal


def _of_user(policies: tuple[Policy, ...], user: Any) -> tuple[Policy, ...]:
    return tuple(matching.of_groups(policies, matching.groups_of(user)))
