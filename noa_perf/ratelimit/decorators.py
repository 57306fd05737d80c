"""``@ratelimit``: limits on a view, sync or async, on a method of a class-based one, or on all views of a URLconf."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from types import ModuleType
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver

from noa_perf.core import conf
from noa_perf.ratelimit import asking, registry
from noa_perf.ratelimit.exceptions import BadPolicy
from noa_perf.ratelimit.matching import dotted, fits_method
from noa_perf.ratelimit.policy import Match, Policy

View = Callable[..., Any]


class ratelimit:  # noqa: N801 -- a decorator, named as one
    """Limit what it is put on: ``@ratelimit("100/m", by="user_or_ip")``.

    Takes a rate or a list of them, and the keys of a policy (see the reference). Counts are kept under ``name``: by
    default the view's dotted path, so that each view has its own; views that are to share their quota get one name.
    A view is limited through ``@method_decorator(ratelimit(...), name="dispatch")`` where it is a class, and whole
    URLconfs are by ``path("api/", ratelimit("100/m")(include("api.urls")))``. Raises
    :class:`~noa_perf.ratelimit.exceptions.BadPolicy` when the module is imported, not when a request comes.
    """

    def __init__(self, limits: Any = None, *, name: str = "", **more: Any) -> None:
        """Read the policy now, so that a slip in it is told now."""
        self._written = {"limits": limits, **more}
        self._name = name
        self._made: dict[str, Policy] = {}
        self._policy(name or "unnamed")

    def __call__(self, target: Any) -> Any:
        """Return what is limited."""
        if isinstance(target, type):
            raise BadPolicy(
                f"{target.__name__} is a class. Put @method_decorator(ratelimit(...), name='dispatch') on it."
            )
        if isinstance(target, (tuple, list, ModuleType, str)):
            return self._urlconf(target)
        return _limited(target, self._policy(self._name or _name_of(target)))

    def _policy(self, name: str) -> Policy:
        found = self._made.get(name)
        if found is None:
            found = self._made[name] = Policy.parse(name, self._written, owner=name)
            if found.match != Match(methods=found.match.methods):
                raise BadPolicy(
                    "@ratelimit limits the view that it is put on, for everybody. Routes, namespaces, views and groups "
                    'belong to a policy in NOA_PERF["RATELIMIT"]["POLICIES"].'
                )
            if "_locals_" not in name and name != "unnamed":
                registry.declare(found)
        return found

    def _urlconf(self, target: Any) -> Any:
        if isinstance(target, tuple) and len(target) == 3:  # what include() returns
            patterns, app, namespace = target
            return self._urlconf(patterns), app, namespace
        if isinstance(target, str):
            target = import_module(target)
        patterns = target.urlpatterns if isinstance(target, ModuleType) else target
        name = self._name or (_fitting(target.__name__) if isinstance(target, ModuleType) else "")
        if not name:
            raise BadPolicy('A list of URL patterns has no name to count under. Write ratelimit(..., name="api").')
        return _limited_patterns(patterns, self._policy(name))


def _limited(view: View, policy: Policy) -> View:
    if iscoroutinefunction(view) or getattr(_owner(view), "view_is_async", False):

        async def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if _passes(request, policy):
                return await view(request, *args, **kwargs)  # type: ignore[no-any-return]
            decision = await asking.aask(request, (policy,))
            response = asking.refusal(request, decision) or await view(request, *args, **kwargs)
            return asking.tell(response, [decision] if decision else [])

    else:

        def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[misc]
            if _passes(request, policy):
                return view(request, *args, **kwargs)  # type: ignore[no-any-return]
            decision = asking.ask(request, (policy,))
            response = asking.refusal(request, decision) or view(request, *args, **kwargs)
            return asking.tell(response, [decision] if decision else [])

    return wraps(view)(wrapper)


def _passes(request: Any, policy: Policy) -> bool:
    """Tell whether nothing is to be asked: the app is off, the method is another, or an allow list has the client."""
    if not isinstance(request, HttpRequest) and not hasattr(request, "META"):
        raise BadPolicy(
            f"@ratelimit got {type(request).__name__} for a request. On a method write "
            "@method_decorator(ratelimit(...))."
        )
    is_exempt = asking.state(request).exempt
    return is_exempt or not (conf.enabled("RATELIMIT") and fits_method(policy, request.method))


def _limited_patterns(patterns: Sequence[Any], policy: Policy) -> list[Any]:
    return [_limited_pattern(one, policy) for one in patterns]


def _limited_pattern(one: Any, policy: Policy) -> Any:
    if isinstance(one, URLResolver):
        inner = _limited_patterns(one.url_patterns, policy)
        return URLResolver(one.pattern, inner, one.default_kwargs, one.app_name, one.namespace)
    return URLPattern(one.pattern, _limited(one.callback, policy), one.default_args, one.name)


def _owner(view: View) -> Any:
    """Return whose method it is: method_decorator hands over a bound one."""
    return getattr(getattr(view, "func", None), "__self__", None)


def _name_of(view: View) -> str:
    owner = _owner(view)
    if owner is None:
        return _fitting(dotted(view))
    # All classes inherit one dispatch: its own path would be one quota for all of them.
    method = getattr(view, "__name__", "dispatch")
    return _fitting(dotted(type(owner)) + ("" if method == "dispatch" else f".{method}"))


def _fitting(path: str) -> str:
    """Return a dotted path as a policy's name: its end, where it is too long."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", path)[-64:].lstrip("_.-0123456789") or "view"
