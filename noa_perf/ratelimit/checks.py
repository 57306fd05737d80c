"""System checks of the rate limiter: settings read, nothing asked of the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings as django_settings
from django.core import checks
from django.urls import URLPattern, URLResolver, get_resolver

from noa_perf.core import conf, redis
from noa_perf.core.checks import SETTINGS_CHECKS, check_section
from noa_perf.ratelimit import abuse, identity, lists, registry
from noa_perf.ratelimit.addresses import parse_network
from noa_perf.ratelimit.conf import settings
from noa_perf.ratelimit.matching import dotted
from noa_perf.ratelimit.policy import Policy
from noa_perf.ratelimit.registry import SETTING

LABEL = "noa_perf_ratelimit"
MIDDLEWARE = "noa_perf.ratelimit.middleware.RateLimitMiddleware"
EVERYBODY = 8
"""Bits of a trusted network below which it is most of the internet."""

CHECKS: Mapping[str, str] = {
    **SETTINGS_CHECKS,
    "E005": "A policy cannot be used.",
    "E006": "STORAGE leads to a Redis that cannot be used as it is written.",
    "E007": "STORAGE leads to a Redis, and redis-py is not installed.",
    "E008": "TRUSTED_PROXIES has an entry that is no network.",
    "E009": "ALLOW or DENY has an entry that cannot be used.",
    "E010": "A policy counts by tenant, and TENANT leads to no function.",
    "E011": "An abuse rule cannot be used.",
    "E012": "CLIENT_IP_HEADER or API_KEY_HEADER is no name of a header.",
    "W001": "There are policies, lists or abuse rules in the settings, and the middleware is missing.",
    "W002": "A policy counts by what a client can choose, and no other counts the same requests (--deploy).",
    "W003": "Each process counts for itself, so a site of several admits several times the limit (--deploy).",
    "W004": "The site seems to stand behind a proxy, and TRUSTED_PROXIES is empty: all clients look as one (--deploy).",
    "W005": "TRUSTED_PROXIES holds most of the internet: everybody can choose an address (--deploy).",
    "W006": "A policy names a route, a namespace or a view that the URLconf does not have.",
    "W007": "A policy names a method that HTTP itself does not have.",
}
"""What each id of ``noa_perf_ratelimit`` means, for the reference."""


def check_settings(**kwargs: Any) -> list[checks.CheckMessage]:
    """Check ``NOA_PERF["RATELIMIT"]``."""
    return [*check_section(settings, LABEL), *_policies(), *_storage(), *_clients(), *_middleware()]


def check_deployment(**kwargs: Any) -> list[checks.CheckMessage]:
    """Check, for ``check --deploy``, whether a client can be somebody else at will, or more than one."""
    if not conf.enabled("RATELIMIT"):
        return []
    own = settings()
    registry.import_views()
    counted = registry.known() or own.abuse
    if not (counted or own.allow or own.deny):
        return []
    return [*_free_identities(), *(_shared() if counted else ()), *_proxies()]


def check_routes(**kwargs: Any) -> list[checks.CheckMessage]:
    """Check that what policies name is there: one that is misspelt would limit nothing, and say nothing."""
    wanted = [one for one in registry.policies().values() if not one.match.anywhere]
    return list(_missing(wanted, *_names(get_resolver()))) if wanted else []


def _policies() -> Iterator[checks.CheckMessage]:
    for problem in registry.problems():
        yield checks.Error(problem, hint=f'See {SETTING}["POLICIES"].', id=f"{LABEL}.E005")
    for policy in registry.policies().values():
        for problem in identity.problems(policy.by):
            message = f"The rate limit policy {policy.name!r} cannot count anybody: {problem}"
            yield checks.Error(message, hint=f'See "by" in {SETTING}["POLICIES"].', id=f"{LABEL}.E010")
        for method in sorted(policy.match.methods - identity.METHODS):
            message = f"The rate limit policy {policy.name!r} is about the method {method!r}, which HTTP does not have."
            hint = 'Write a list: ["POST", "PUT"]. Silence this where it is one of an extension, as of WebDAV.'
            yield checks.Warning(message, hint=hint, id=f"{LABEL}.W007")


def _storage() -> Iterator[checks.CheckMessage]:
    own = settings()
    if not own.storage:
        return
    for problem in redis.problems(own.storage, own.storage_options, setting=f'{SETTING}["STORAGE"]'):
        yield checks.Error(problem.message, hint=problem.hint, id=f"{LABEL}.E006")
    if not redis.ERRORS:
        message = f'{SETTING}["STORAGE"] leads to a Redis, and redis-py is not installed.'
        yield checks.Error(message, hint="Install it: pip install noa-perf[redis]", id=f"{LABEL}.E007")


def _clients() -> Iterator[checks.CheckMessage]:
    for entry, cure in identity.proxy_problems(settings()).items():
        message = f'{SETTING}["TRUSTED_PROXIES"] has {entry!r}, which is no network.'
        yield checks.Error(message, hint=cure, id=f"{LABEL}.E008")
    for setting, cure in identity.header_problems(settings()).items():
        message = f"{SETTING}[{setting!r}] is {getattr(settings(), setting.lower())!r}, which names no header."
        yield checks.Error(message, hint=cure, id=f"{LABEL}.E012")
    for fault in lists.problems(settings()):
        message = f"{SETTING}[{fault.setting!r}] has {fault.entry!r}, which means nobody."
        yield checks.Error(message, hint=fault.message, id=f"{LABEL}.E009")
    for problem in abuse.problems(settings()):
        yield checks.Error(problem, hint=f'See {SETTING}["ABUSE"].', id=f"{LABEL}.E011")


def _middleware() -> Iterator[checks.CheckMessage]:
    own = settings()
    wanted = own.policies or own.allow or own.deny or own.abuse
    if wanted and conf.enabled("RATELIMIT") and MIDDLEWARE not in django_settings.MIDDLEWARE:
        message = f"{SETTING} holds policies, lists or abuse rules that nobody asks: the middleware is missing."
        yield checks.Warning(message, hint=f'Add "{MIDDLEWARE}" to MIDDLEWARE, near the top.', id=f"{LABEL}.W001")


def _free_identities() -> Iterator[checks.CheckMessage]:
    own = registry.policies().values()
    bound = {one.match for one in own if not one.shadow and identity.counts_everybody(one.by)}
    for policy in own:
        if identity.chosen_by_client(policy.by) and policy.match not in bound and not _anywhere(bound):
            message = f"The rate limit policy {policy.name!r} counts by {policy.by!r}: a client can be new each time."
            hint = 'Add a policy for the same requests that counts by "ip" or "user_or_ip".'
            yield checks.Warning(message, hint=hint, id=f"{LABEL}.W002")


def _anywhere(matches: set[Any]) -> bool:
    return any(one.anywhere and not (one.methods or one.groups or one.except_groups) for one in matches)


def _shared() -> Iterator[checks.CheckMessage]:
    if not settings().storage:
        message = "Rate limits are counted by each process for itself: of n processes they admit n times as much."
        hint = f'Name a Redis in {SETTING}["STORAGE"], or silence this where one process serves the site.'
        yield checks.Warning(message, hint=hint, id=f"{LABEL}.W003")


def _proxies() -> Iterator[checks.CheckMessage]:
    own = settings()
    behind = django_settings.SECURE_PROXY_SSL_HEADER or django_settings.USE_X_FORWARDED_HOST
    if behind and not own.trusted_proxies:
        message = "This site stands behind a proxy, whose address is taken for that of every client."
        hint = f'Name the networks of your proxies in {SETTING}["TRUSTED_PROXIES"].'
        yield checks.Warning(message, hint=hint, id=f"{LABEL}.W004")
    bad = identity.proxy_problems(own)
    for entry in own.trusted_proxies:
        if entry not in bad and entry != identity.UNIX and parse_network(entry)[1] < EVERYBODY:
            message = f'{SETTING}["TRUSTED_PROXIES"] has {entry!r}: everybody there can name any address as its own.'
            yield checks.Warning(message, hint="Name your own proxies alone.", id=f"{LABEL}.W005")


def _missing(
    policies: list[Policy], routes: set[str], namespaces: set[str], views: set[str]
) -> Iterator[checks.CheckMessage]:
    for policy in policies:
        match = policy.match
        for kind, wanted, there in (
            ("route", match.routes, routes),
            ("namespace", match.namespaces, namespaces),
            ("view", match.views, views),
        ):
            for name in sorted(wanted - there):
                message = f"The rate limit policy {policy.name!r} is about the {kind} {name!r}, which there is not."
                hint = "Write it as the URLconf has it, with its namespaces (admin:index)."
                yield checks.Warning(message, hint=hint, id=f"{LABEL}.W006")


def _names(resolver: URLResolver, spaces: tuple[str, ...] = ()) -> tuple[set[str], set[str], set[str]]:
    """Return all names of routes, of namespaces and of views below a resolver."""
    routes: set[str] = set()
    namespaces = {":".join(spaces[: end + 1]) for end in range(len(spaces))}
    views: set[str] = set()
    for one in resolver.url_patterns:
        if isinstance(one, URLPattern):
            views.add(dotted(one.callback))
            routes.add(":".join((*spaces, one.name or dotted(one.callback))))
        else:
            below = _names(one, (*spaces, one.namespace) if one.namespace else spaces)
            for names, more in zip((routes, namespaces, views), below, strict=True):
                names.update(more)
    return routes, namespaces, views
