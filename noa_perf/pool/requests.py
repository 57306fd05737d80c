"""For which request a connection is taken: a context variable, so that it follows a request into other threads."""

from __future__ import annotations

from contextvars import ContextVar

from django.http import HttpRequest

current: ContextVar[HttpRequest | None] = ContextVar("noa_perf_pool_request", default=None)


def route(request: HttpRequest | None) -> str:
    """Return the route of a request as the URLconf has it, never its path; empty outside requests."""
    match = getattr(request, "resolver_match", None)
    return match.route if match is not None else ""
