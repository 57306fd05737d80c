"""The Django middleware that opens a scope over each request, sync or async, until its last chunk is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import MiddlewareNotUsed
from django.http import FileResponse, HttpRequest
from django.http.response import HttpResponseBase

from noa_perf.core import conf
from noa_perf.core.muting import IGNORED
from noa_perf.optimizer import capture
from noa_perf.optimizer.conf import settings
from noa_perf.optimizer.scopes import Scope, current

NO_ROUTE = "(no route)"


class QueryMonitorMiddleware:
    """Lays every query of a request to it; put it first, so that the queries of other middleware count too."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        """Wrap ``get_response``; leaves itself out of the chain where the optimizer is switched off."""
        if not conf.enabled("OPTIMIZER"):
            raise MiddlewareNotUsed("the optimizer is switched off")
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer ``request`` inside a scope of its own."""
        if self.is_async:
            return self.__acall__(request)
        if _ignored(request):
            return self.get_response(request)  # type: ignore[no-any-return]
        scope = _open(request)
        token = current.set(scope)
        try:
            response = self.get_response(request)
        except BaseException:
            _close(request, scope)
            raise
        finally:
            current.reset(token)
        return _leave(request, response, scope)

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer ``request`` inside a scope of its own, in an event loop."""
        if _ignored(request):
            return await self.get_response(request)  # type: ignore[no-any-return]
        scope = _open(request)
        token = current.set(scope)
        try:
            response = await self.get_response(request)
        except BaseException:
            _close(request, scope)
            raise
        finally:
            current.reset(token)
        return _leave(request, response, scope)


def route_of(request: HttpRequest) -> str:
    """Return the URL pattern that answered ``request``; :data:`NO_ROUTE` where none did."""
    match = getattr(request, "resolver_match", None)
    return f"/{(match.route or '').lstrip('^/')}" if match is not None else NO_ROUTE


def view_of(request: HttpRequest) -> Any:
    """Return the view that answered ``request``, or None."""
    return getattr(getattr(request, "resolver_match", None), "func", None)


def _ignored(request: HttpRequest) -> bool:
    prefixes = settings().ignore_paths
    return bool(prefixes) and request.path.startswith(prefixes)


def _open(request: HttpRequest) -> Scope:
    return capture.open_scope(f"{request.method} {request.path}", kind="request")


def _leave(request: HttpRequest, response: HttpResponseBase, scope: Scope) -> HttpResponseBase:
    # A file's chunks cost no query, and wrapping them would take the server's sendfile away.
    if getattr(response, "streaming", False) and not isinstance(response, FileResponse):
        try:
            _watch_chunks(request, response, scope)
        except Exception:
            capture.faults.note("streaming")
    else:
        _close(request, scope)
    return response


def _watch_chunks(request: HttpRequest, response: Any, scope: Scope) -> None:
    wrapper = _AsyncChunks if getattr(response, "is_async", False) else _Chunks
    response.streaming_content = wrapper(response.streaming_content, scope, lambda: _close(request, scope))


def _close(request: HttpRequest, scope: Scope) -> None:
    try:
        if getattr(request, IGNORED, False):
            scope.closed = True
            return
        scope.route, scope.view = route_of(request), view_of(request)
        capture.close_scope(scope)
    except Exception:
        capture.faults.note("request")


class _Chunks:
    """The chunks of a streaming response, each made inside the request's scope."""

    def __init__(self, content: Iterator[Any], scope: Scope, finish: Callable[[], None]) -> None:
        self._content = iter(content)
        self._scope = scope
        self._finish = finish

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        token = current.set(self._scope)
        try:
            return next(self._content)
        except BaseException:
            self._finish()
            raise
        finally:
            current.reset(token)

    def close(self) -> None:
        """End the scope; Django calls this when the response is closed, begun or not."""
        try:
            close = getattr(self._content, "close", None)
            if close is not None:
                close()
        finally:
            self._finish()


class _AsyncChunks:
    """The chunks of an asynchronous streaming response, each made inside the request's scope."""

    def __init__(self, content: AsyncIterator[Any], scope: Scope, finish: Callable[[], None]) -> None:
        self._content = aiter(content)
        self._scope = scope
        self._finish = finish

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        token = current.set(self._scope)
        try:
            return await anext(self._content)
        except BaseException:
            self._finish()
            raise
        finally:
            current.reset(token)

    def close(self) -> None:
        """End the scope; Django calls this when the response is closed, begun or not."""
        self._finish()
