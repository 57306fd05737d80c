"""An abuse guard for tests: in memory, on a clock that is moved by hand."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.test import RequestFactory

from noa_perf.core.clock import ManualClock
from noa_perf.ratelimit.abuse import Abuse, usable
from noa_perf.ratelimit.bans import Bans
from noa_perf.ratelimit.conf import RateLimitSettings
from noa_perf.ratelimit.limiter import Limiter
from noa_perf.ratelimit.storages.bans import RedisBans
from noa_perf.ratelimit.storages.base import Storage
from noa_perf.ratelimit.storages.memory import MemoryStorage

ADA, BOB = "203.0.113.7", "203.0.113.8"


def abuse(
    clock: ManualClock, shared: RedisBans | None = None, storage: Storage | None = None, **settings: Any
) -> Abuse:
    """Return what a process has whose settings are these."""
    own = RateLimitSettings(**settings)
    limiter = Limiter(storage or MemoryStorage(1_000, clock=clock))
    return Abuse(own, limiter, Bans(own, shared, clock), usable(own), clock)


def request(address: str = ADA, path: str = "/", **more: Any) -> Any:
    """Return a request of this address."""
    return RequestFactory().get(path, REMOTE_ADDR=address, **more)


def visit(own: Abuse, address: str = ADA, path: str = "/", status: int = 200, **more: Any) -> Any:
    """Let a request pass through, as the middleware does; return what was decided."""
    asked = request(address, path, **more)
    decision = own.screen(asked)
    if decision is None or decision:
        own.after(asked, HttpResponse(status=status))
    return decision
