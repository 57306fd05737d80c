"""The middleware that gives each request its time for the cache, where signals cannot: under ASGI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from noa_perf.cache import budget
from noa_perf.core import conf


class CacheBudgetMiddleware:
    """Put it first: all that runs inside shares one budget (``OPTIONS["budget"]`` of each cache)."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]) -> None:
        """Decide once whether this is an async chain; take itself out where the app is switched off."""
        if not conf.enabled("CACHE"):
            raise MiddlewareNotUsed
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer the request within a budget of its own."""
        if self.is_async:
            return self.__acall__(request)
        token = budget.current.set(budget.Budget())
        try:
            return self.get_response(request)
        finally:
            budget.current.reset(token)

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Do the same on an event loop."""
        token = budget.current.set(budget.Budget())
        try:
            response: HttpResponseBase = await self.get_response(request)  # type: ignore[misc]
            return response
        finally:
            budget.current.reset(token)
