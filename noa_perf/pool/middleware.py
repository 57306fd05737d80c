"""Says for which request a connection is taken, so that a leak can be told by its route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from noa_perf.pool.requests import current


class PoolMiddleware:
    """Put it first, so that whatever the others take is told of too; sync and async."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        """Wrap the next layer."""
        self.get_response = get_response
        self._async = iscoroutinefunction(get_response)
        if self._async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Pass the request on."""
        if self._async:
            return self.__acall__(request)
        token = current.set(request)
        try:
            return self.get_response(request)  # type: ignore[no-any-return]
        finally:
            current.reset(token)

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        token = current.set(request)
        try:
            return await self.get_response(request)  # type: ignore[no-any-return]
        finally:
            current.reset(token)
