"""``@edge_cached``: how long edges may keep what a view answers, and its tags."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from noa_perf.cdn.headers import ATTRIBUTE, PagePolicy

Tags = Iterable[str] | Callable[..., Iterable[str]]


def edge_cached(
    s_maxage: int = 60, *, max_age: int = 0, stale_while_revalidate: int = 0, stale_if_error: int = 0, tags: Tags = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let edges keep a view's answers for ``s_maxage`` seconds, and browsers for ``max_age``.

    ``tags`` are names, or a function of the request and the view's arguments that returns them. An answer that sets a
    cookie, varies by cookies, is private or no 200 is left as it is. ``EdgeHeadersMiddleware`` writes the headers, once
    all other middleware has had its say.
    """

    def policy(args: tuple[Any, ...], kwargs: dict[str, Any]) -> PagePolicy:
        chosen = tags(*args, **kwargs) if callable(tags) else tags
        return PagePolicy(
            max_age=max_age, s_maxage=s_maxage, stale_while_revalidate=stale_while_revalidate,
            stale_if_error=stale_if_error, tags=tuple(chosen),
        )  # fmt: skip

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        if iscoroutinefunction(view):

            @wraps(view)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                response = await view(*args, **kwargs)
                setattr(response, ATTRIBUTE, policy(args, kwargs))
                return response

            return awaited

        @wraps(view)
        def called(*args: Any, **kwargs: Any) -> Any:
            response = view(*args, **kwargs)
            setattr(response, ATTRIBUTE, policy(args, kwargs))
            return response

        return called

    return decorate
