"""Which policies of the settings a request is about."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest
from django.urls import ResolverMatch

from noa_perf.ratelimit import registry
from noa_perf.ratelimit.identity import METHODS
from noa_perf.ratelimit.policy import Policy

_KEPT = 5_000
"""Routes and methods whose policies are remembered."""

_found: tuple[object, dict[tuple[str, str, str], tuple[Policy, ...]]] | None = None


def policies_for(request: HttpRequest, match: ResolverMatch | None) -> tuple[Policy, ...]:
    """Return the policies whose route, view and method fit; groups are another matter. ``match`` None: no view."""
    global _found
    own = registry.policies()
    if _found is None or _found[0] is not own:
        _found = own, {}
    method = request.method or ""
    view = dotted(match.func) if match is not None else ""
    key = (match.view_name if match is not None else "", view, method)
    found = _found[1].get(key)
    if found is None:
        found = tuple(one for one in own.values() if _fits(one, match, view, method))
        # What a client makes up is remembered nowhere.
        if method in METHODS and len(_found[1]) < _KEPT:
            _found[1][key] = found
    return found


def of_groups(policies: Iterable[Policy], names: frozenset[str]) -> list[Policy]:
    """Return the policies that are about a member of these groups."""
    return [
        one
        for one in policies
        if (not one.match.groups or one.match.groups & names) and not one.match.except_groups & names
    ]


def asks_for_groups(policies: Iterable[Policy]) -> bool:
    """Tell whether any of them depends on who the user is."""
    return any(one.match.groups or one.match.except_groups for one in policies)


def groups_of(user: Any) -> frozenset[str]:
    """Return the names of a user's groups; asks the database."""
    groups = getattr(user, "groups", None)
    if groups is None or not getattr(user, "is_authenticated", False):
        return frozenset()
    return frozenset(groups.values_list("name", flat=True))


def dotted(view: Any) -> str:
    """Return the dotted path of a view, of its class where it has one."""
    view = getattr(view, "view_class", None) or getattr(view, "cls", None) or view
    name = getattr(view, "__qualname__", type(view).__qualname__)
    return f"{getattr(view, '__module__', '')}.{name}"


def fits_method(policy: Policy, method: str | None) -> bool:
    """Tell whether a policy is about requests of this method."""
    wanted = policy.match.methods
    return not wanted or method in wanted or (method == "HEAD" and "GET" in wanted)


def _fits(policy: Policy, match: ResolverMatch | None, view: str, method: str) -> bool:
    wanted = policy.match
    if not fits_method(policy, method):
        return False
    if wanted.anywhere:
        return True
    if match is None:
        return False
    spaces = {":".join(match.namespaces[: end + 1]) for end in range(len(match.namespaces))}
    return bool(match.view_name in wanted.routes or wanted.namespaces & spaces or view in wanted.views)
