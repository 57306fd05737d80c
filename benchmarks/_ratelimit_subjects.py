"""The rate limiters that are measured, each set up as its own documentation says, as what asks for many keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noa_perf.ratelimit.limiter import Limiter

Many = Callable[[Iterable[str]], int]
"""Asks once for each key, reads each answer, and returns how many were admitted."""
Make = Callable[[str, int], Many]
"""Given a Redis' URL (or nothing, for memory) and the limit of a day, sets the rate limiter up."""

ROOMY = 200_000
"""Keys that memory holds where that can be said, so that no peer forgets what it is asked for."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One rate limiter with one algorithm, in memory or on Redis."""

    name: str
    package: str
    kind: str
    """``memory`` or ``redis``."""
    make: Make

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name} ({version(self.package)})"

    @property
    def installed(self) -> bool:
        """Whether its package is here."""
        try:
            version(self.package)
        except PackageNotFoundError:
            return False
        return True


def django(**more: Any) -> None:
    """Set Django up."""
    import django
    from django.conf import settings

    if not settings.configured:  # one process may be asked to set two limits up
        settings.configure(SECRET_KEY="benchmark", INSTALLED_APPS=[], **more)
        django.setup()


def ours(url: str) -> Limiter:
    """Return the limiter of a site's settings."""
    # Patience: a breaker that opens on a machine that is busy with eight processes would let all pass.
    django(NOA_PERF={"RATELIMIT": {"STORAGE": url, "TIMEOUT": 10.0} if url else {}})
    from noa_perf.ratelimit.registry import limiter

    return limiter()


def _noa_perf(**fields: Any) -> Make:
    def make(url: str, limit: int) -> Many:
        from noa_perf.ratelimit.policy import Policy

        burst = {"burst": limit} if fields["algorithm"] == "leaky_bucket" else {}
        policy = Policy.parse("measured", {"limits": f"{limit}/d", **fields, **burst})
        hit = ours(url).hit
        return lambda keys: sum([hit(policy, key).allowed for key in keys])

    return make


def _limits(strategy: str) -> Make:
    def make(url: str, limit: int) -> Many:
        from limits import RateLimitItemPerDay
        from limits.storage import storage_from_string
        from limits.strategies import STRATEGIES

        hit = STRATEGIES[strategy](storage_from_string(url or "memory://")).hit
        item = RateLimitItemPerDay(limit)
        return lambda keys: sum([hit(item, key) for key in keys])

    return make


def _throttled(algorithm: str) -> Make:
    def make(url: str, limit: int) -> Many:
        from throttled import Throttled
        from throttled.rate_limiter import per_duration
        from throttled.store import MemoryStore, RedisStore

        store: Any = RedisStore(server=url) if url else MemoryStore(options={"MAX_SIZE": ROOMY})
        quota = per_duration(timedelta(days=1), limit, burst=limit)
        ask = Throttled(using=algorithm, quota=quota, store=store).limit
        return lambda keys: sum([not ask(key).limited for key in keys])

    return make


def _cached(url: str, backend: str) -> None:
    local = "django.core.cache.backends.locmem.LocMemCache"
    redis = {"BACKEND": backend, "LOCATION": url}
    django(CACHES={"default": redis if url else {"BACKEND": local, "OPTIONS": {"MAX_ENTRIES": ROOMY}}})


def _django_ratelimit(backend: str = "") -> Make:
    def make(url: str, limit: int) -> Many:
        _cached(url, backend)
        from django_ratelimit.core import is_ratelimited

        rate = f"{limit}/d"

        def client(group: str, request: Any) -> Any:
            return request  # the key itself stands for the request: nothing else reads it

        more = {"group": "measured", "key": client, "rate": rate, "increment": True}
        return lambda keys: sum([not is_ratelimited(key, **more) for key in keys])

    return make


def _drf(backend: str = "") -> Make:
    def make(url: str, limit: int) -> Many:
        _cached(url, backend)
        from rest_framework.throttling import SimpleRateThrottle

        class Throttle(SimpleRateThrottle):
            rate = f"{limit}/d"

            def get_cache_key(self, request: Any, view: Any) -> Any:
                return request  # likewise

        view: Any = None
        # A view makes its throttles anew for each request.
        return lambda keys: sum([Throttle().allow_request(key, view) for key in keys])  # type: ignore[arg-type]

    return make


def _smart(algorithm: str) -> Make:
    def make(url: str, limit: int) -> Many:
        place = "redis_backend.RedisBackend" if url else "memory.MemoryBackend"
        django(
            RATELIMIT_BACKEND=f"django_smart_ratelimit.backends.{place}",
            RATELIMIT_ALGORITHM=algorithm,
            RATELIMIT_REDIS={"url": url},
            RATELIMIT_MEMORY_MAX_KEYS=ROOMY,
        )
        from django_smart_ratelimit.algorithms import TokenBucketAlgorithm
        from django_smart_ratelimit.backends import get_backend

        backend = get_backend()
        day = 86_400
        if algorithm == "token_bucket":
            ask = TokenBucketAlgorithm({"bucket_size": limit}).is_allowed
            return lambda keys: sum([ask(backend, key, limit, day)[0] for key in keys])
        count = backend.incr
        return lambda keys: sum([count(key, day) <= limit for key in keys])

    return make


OURS = "noa_perf gcra"
DJANGO_REDIS = "django_redis.cache.RedisCache"

_FAMILIES: tuple[tuple[str, str, dict[str, Make]], ...] = (
    (
        "noa_perf",
        "noa_perf",
        {
            "gcra": _noa_perf(algorithm="gcra"),
            "token bucket": _noa_perf(algorithm="token_bucket"),
            "leaky bucket": _noa_perf(algorithm="leaky_bucket"),
            "fixed window": _noa_perf(algorithm="fixed_window"),
            "sliding counter": _noa_perf(algorithm="sliding_counter"),
            "sliding counter, guaranteed": _noa_perf(algorithm="sliding_counter", guarantee="window"),
            "sliding log": _noa_perf(algorithm="sliding_log"),
        },
    ),
    (
        "limits",
        "limits",
        {
            "fixed window": _limits("fixed-window"),
            "sliding counter": _limits("sliding-window-counter"),
            "moving window": _limits("moving-window"),
        },
    ),
    (
        "throttled-py",
        "throttled-py",
        {
            "gcra": _throttled("gcra"),
            "token bucket": _throttled("token_bucket"),
            "leaking bucket": _throttled("leaking_bucket"),
            "fixed window": _throttled("fixed_window"),
            "sliding window": _throttled("sliding_window"),
        },
    ),
    (
        "smart-ratelimit",
        "django-smart-ratelimit",
        {
            "token bucket": _smart("token_bucket"),
            "fixed window": _smart("fixed_window"),
            "sliding window": _smart("sliding_window"),
        },
    ),
)

SUBJECTS = (
    *(
        Subject(f"{family} {algorithm}", package, kind, make)
        for kind in ("memory", "redis")
        for family, package, algorithms in _FAMILIES
        for algorithm, make in algorithms.items()
    ),
    Subject("django-ratelimit, LocMem", "django-ratelimit", "memory", _django_ratelimit()),
    Subject("DRF throttle, LocMem", "djangorestframework", "memory", _drf()),
    Subject("django-ratelimit, django-redis", "django-ratelimit", "redis", _django_ratelimit(DJANGO_REDIS)),
    Subject("DRF throttle, django-redis", "djangorestframework", "redis", _drf(DJANGO_REDIS)),
)
