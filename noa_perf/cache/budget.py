"""How long a request may wait for the cache: beyond it, memory alone answers."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from django.core.signals import request_finished, request_started

_UID = "noa_perf.cache.budget"


class Budget:
    """What one request has spent; shared by all that runs on its behalf."""

    __slots__ = ("refused", "spent")

    def __init__(self) -> None:
        """Start with nothing spent."""
        self.spent = 0.0
        """Seconds, over all caches and threads of the request."""
        self.refused = 0
        """Wishes that were not sent because nothing was left."""


current: ContextVar[Budget | None] = ContextVar("noa_perf_cache_budget", default=None)
"""The running request's; None in commands and tasks, which may take their time."""


def begin(**kwargs: Any) -> None:
    """Give this context a budget of its own."""
    current.set(Budget())


def end(**kwargs: Any) -> None:
    """Take the budget off."""
    current.set(None)


def install() -> None:
    """Give each request under WSGI a budget; under ASGI signals cannot, and the middleware does."""
    request_started.connect(begin, dispatch_uid=_UID)
    request_finished.connect(end, dispatch_uid=_UID)
