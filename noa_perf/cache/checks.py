"""System checks of the cache: settings read, nothing asked of the network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings as django_settings
from django.core import checks

from noa_perf.cache import moving, options, registry
from noa_perf.cache.conf import settings
from noa_perf.cache.redis_api import reverse_key_function
from noa_perf.cache.tiers.link import SHARE
from noa_perf.core import conf, redis
from noa_perf.core.checks import KINDS, SETTINGS_CHECKS, check_section

LABEL = "noa_perf_cache"
_ADDRESS = re.compile(r"\[?[\w.:-]+\]?:\d+")
MIDDLEWARE = "noa_perf.cache.middleware.CacheBudgetMiddleware"

CHECKS: Mapping[str, str] = {
    **SETTINGS_CHECKS,
    "E005": "LOCATION leads to a Redis, and redis-py is not installed.",
    "E006": "SERIALIZER cannot be imported.",
    "E007": "REVERSE_KEY_FUNCTION cannot be imported.",
    "W001": "Pickles without a signature are read: whoever can write to that Redis can run code here.",
    "W002": "There is an ASGI application, and the middleware that limits a request's time for the cache is missing.",
    "W003": "An option of another package has no meaning here and is left out.",
    "W004": "LOCATION looks like an address, and is taken for the name of a place in memory.",
    "W005": "A timeout is longer than a quarter of the budget, and is cut to that.",
}
"""What each id of ``noa_perf_cache`` means, for the reference."""


def check_settings(**kwargs: Any) -> list[checks.CheckMessage]:
    """Check ``NOA_PERF["CACHE"]``, and each entry of CACHES whose backend this is."""
    found = check_section(settings, LABEL)
    for alias in registry.aliases():
        entry = dict(django_settings.CACHES[alias])
        entry.pop("BACKEND")
        location = entry.pop("LOCATION", "")
        found += [*_check_entry(f"CACHES[{alias!r}]", location, entry)]
    if registry.aliases():
        found += [_ignored(problem) for problem in moving.ignored_globals(django_settings)]
    return found


def _check_entry(setting: str, location: Any, params: Mapping[str, Any]) -> Iterator[checks.CheckMessage]:
    for problem in options.problems(params, setting):
        yield checks.Error(problem.message, hint=problem.hint, id=f"{LABEL}.E{KINDS[problem.kind]:03}")
    if registry.is_redis(location):
        yield from _check_redis(setting, location, params)
    elif _ADDRESS.fullmatch(str(location)):
        yield checks.Warning(
            f"{setting}: LOCATION {location!r} is no URL, so memory is all there is.",
            hint=f"For a Redis there, write redis://{location}/0.",
            id=f"{LABEL}.W004",
        )
    for problem in moving.ignored(options.options_of(params), f'{setting}["OPTIONS"]'):
        yield _ignored(problem)
    yield from _check_reverse(setting, params)
    own = options.parse(params, setting)
    if own.serializer:
        yield from _check_serializer(setting, own.serializer, params)
    if own.trust_pickles:
        yield checks.Warning(
            f'{setting} reads pickles that nobody signed (OPTIONS["trust_pickles"]).',
            hint="Leave it on only until what the former backend wrote has expired.",
            id=f"{LABEL}.W001",
        )


def _check_redis(setting: str, location: Any, params: Mapping[str, Any]) -> Iterator[checks.CheckMessage]:
    if not redis.ERRORS:
        yield checks.Error(
            f"{setting} leads to a Redis, and redis-py is not installed.",
            hint="Install it: pip install noa-perf[redis]",
            id=f"{LABEL}.E005",
        )
    for problem in redis.problems(location, options.of_redis(params), setting=setting):
        if problem.kind == "unknown":
            yield _ignored(problem)
        else:
            yield checks.Error(problem.message, hint=problem.hint, id=f"{LABEL}.E{KINDS[problem.kind]:03}")
    yield from _check_timeouts(setting, location, params)


def _check_timeouts(setting: str, location: Any, params: Mapping[str, Any]) -> Iterator[checks.CheckMessage]:
    try:
        target = redis.parse(location, options.of_redis(params), setting=setting)
    except redis.RedisSettingsError:
        return  # told of already
    budget = options.parse(params, setting).budget
    if budget and target.within(budget * SHARE) != target:
        yield checks.Warning(
            f"{setting}: a call may wait longer than a request's whole time for the cache allows; it is cut to "
            f"{budget * SHARE:g} seconds.",
            hint='Lower SOCKET_TIMEOUT and SOCKET_CONNECT_TIMEOUT, or raise OPTIONS["budget"] to four times as much.',
            id=f"{LABEL}.W005",
        )


def _ignored(problem: conf.Problem) -> checks.Warning:
    return checks.Warning(problem.message, hint=problem.hint, id=f"{LABEL}.W003")


def _check_reverse(setting: str, params: Mapping[str, Any]) -> Iterator[checks.CheckMessage]:
    try:
        reverse_key_function({**params, "OPTIONS": options.options_of(params)})
    except Exception as error:  # importing runs the site's own code
        message = f"{setting}: REVERSE_KEY_FUNCTION cannot be imported ({type(error).__name__}: {error})."
        hint = "Name a function of one key that returns what KEY_FUNCTION was given, or leave it out."
        yield checks.Error(message, hint=hint, id=f"{LABEL}.E007")


def _check_serializer(setting: str, path: str, params: Mapping[str, Any]) -> Iterator[checks.CheckMessage]:
    try:
        made = options.custom_serializer(path, options.options_of(params))
        fits = callable(getattr(made, "dumps", None)) and callable(getattr(made, "loads", None))
        why = "has no dumps and loads"
    except Exception as error:  # importing and making it runs the site's own code
        fits, why = False, f"cannot be made ({type(error).__name__}: {error})"
    if not fits:
        hint = 'Name a class with dumps(value) and loads(bytes), or leave it out for OPTIONS["codec"].'
        yield checks.Error(f"{setting}: the serializer {path!r} {why}.", hint=hint, id=f"{LABEL}.E006")


def check_middleware(**kwargs: Any) -> list[checks.CheckMessage]:
    """Check that requests under ASGI have a budget, where a cache leads to a Redis."""
    entries = (django_settings.CACHES[alias].get("LOCATION", "") for alias in registry.aliases())
    wanted = getattr(django_settings, "ASGI_APPLICATION", None) and any(map(registry.is_redis, entries))
    if not wanted or not conf.enabled("CACHE") or MIDDLEWARE in django_settings.MIDDLEWARE:
        return []
    message = "Under ASGI a request's time for the cache is not limited as a whole, only each call's."
    return [checks.Warning(message, hint=f'Add "{MIDDLEWARE}" to MIDDLEWARE, first.', id=f"{LABEL}.W002")]
