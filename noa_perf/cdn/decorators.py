"""``@edge_cached``: how long edges may keep what a view answers, and its tags."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import wraps
from inspect import isawaitable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http.response import HttpResponseBase

from noa_perf.cdn.headers import ATTRIBUTE, NotKept, PagePolicy
from noa_perf.core.conf import enabled

Tags = str | Iterable[str] | Callable[..., str | Iterable[str]]


def edge_cached(
    s_maxage: int = 60, *, max_age: int = 0, stale_while_revalidate: int = 0, stale_if_error: int = 0, tags: Tags = (),
    authorized: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:  # fmt: skip
    """Let edges keep a view's answers for ``s_maxage`` seconds, and browsers for ``max_age``.

    ``tags`` are names, or a function of the request and the view's arguments that returns them. Where it raises, the
    answer is not kept, and that is logged. An answer that sets a cookie, varies by cookies, is private or no 200 is
    left as it is; so is one to a request with an ``Authorization``, unless ``authorized`` says that it is the same for
    whoever asks. ``EdgeHeadersMiddleware`` writes the headers, once all other middleware has had its say.
    """

    def policy(args: tuple[Any, ...], kwargs: dict[str, Any]) -> PagePolicy:
        chosen = tags(*args, **kwargs) if callable(tags) else tags
        return PagePolicy(
            max_age=max_age, s_maxage=s_maxage, stale_while_revalidate=stale_while_revalidate,
            stale_if_error=stale_if_error, tags=_several(chosen), authorized=authorized,
        )  # fmt: skip

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        def marked(response: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if isinstance(response, HttpResponseBase) and enabled("CDN"):
                setattr(response, ATTRIBUTE, _said(view, policy, args, kwargs))
            return response

        async def later(answer: Awaitable[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return marked(await answer, args, kwargs)

        if iscoroutinefunction(view):

            @wraps(view)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                return marked(await view(*args, **kwargs), args, kwargs)

            return awaited

        @wraps(view)
        def called(*args: Any, **kwargs: Any) -> Any:
            answer = view(*args, **kwargs)
            # The dispatch() of a class with async methods is no coroutine function, and returns a coroutine.
            return later(answer, args, kwargs) if isawaitable(answer) else marked(answer, args, kwargs)

        return called

    return decorate


def _several(tags: str | Iterable[str]) -> tuple[str, ...]:
    return (tags,) if isinstance(tags, str) else tuple(str(tag) for tag in tags)


def _said(
    view: Callable[..., Any], policy: Callable[..., PagePolicy], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> PagePolicy | NotKept:
    try:
        return policy(args, kwargs)
    except Exception as error:  # a page is worth more than its tags; without these it could not be purged
        name = getattr(view, "__qualname__", repr(view))
        return NotKept(f"the answers of {name} are not kept at edges, for its tags cannot be told.", error)
