"""What middleware and decorator have in common: who is charged what for a request, and what a request remembers."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from noa_perf.ratelimit import denial, headers, registry
from noa_perf.ratelimit.conf import settings
from noa_perf.ratelimit.decision import ALLOWED, Decision
from noa_perf.ratelimit.identity import aidentify, identify, is_async
from noa_perf.ratelimit.policy import MAX_COST, Policy
from noa_perf.ratelimit.storages.base import Charge

logger = logging.getLogger("noa_perf.ratelimit")

_STATE = "_noa_perf_rate_limit"
_told: set[str] = set()


class State:
    """What was decided about one request."""

    __slots__ = ("asked", "decisions", "exempt")

    def __init__(self) -> None:
        """Know of nothing yet."""
        self.decisions: list[Decision] = []
        """In order; the headers tell of all."""
        self.exempt = False
        """Whether the client is on an allow list."""
        self.asked = False
        """Whether the policies of the settings were asked."""


def state(request: HttpRequest) -> State:
    """Return what was decided about a request so far; ``request.rate_limit`` is there from then on."""
    found = getattr(request, _STATE, None)
    if found is None:
        found = State()
        setattr(request, _STATE, found)
        request.rate_limit = ALLOWED  # type: ignore[attr-defined]  # a view reads it, whether or not anybody is asked
    return found


def ask(request: HttpRequest, policies: Iterable[Policy]) -> Decision | None:
    """Charge the client of ``request`` under all of these policies, or under none; None where none holds for it."""
    charges = [
        Charge(one, client, cost_of(one, request))
        for one in policies
        if (client := identify(one.by, request)) is not None
    ]
    if not charges:
        return None
    limiter = registry.limiter()
    return noted(request, limiter.hit(*charges[0]) if len(charges) == 1 else limiter.decide(charges))


async def aask(request: HttpRequest, policies: Iterable[Policy]) -> Decision | None:
    """Do the same on an event loop."""
    charges = [
        Charge(one, client, await acost_of(one, request))
        for one in policies
        if (client := await aidentify(one.by, request)) is not None
    ]
    if not charges:
        return None
    return noted(request, await registry.limiter().adecide(charges))


def noted(request: HttpRequest, decision: Decision) -> Decision:
    """Remember a decision; ``request.rate_limit`` is all that were made, as one."""
    tallies = registry.tallies()
    for one in decision.verdicts:
        tallies.of(one.policy.name).look(one.remaining, one.limit.size)
    state(request).decisions.append(decision)
    before: Decision = request.rate_limit  # type: ignore[attr-defined]
    request.rate_limit = decision if before is ALLOWED else before.and_(decision)  # type: ignore[attr-defined]
    return decision


def refusal(request: HttpRequest, decision: Decision | None) -> HttpResponseBase | None:
    """Return what a denied request gets, None for one that passes or whose policies leave it to the view."""
    if decision is None or decision.allowed:
        return None
    refused = decision.violated
    if refused and all(one.policy.on_denial == "mark" for one in refused):
        return None
    return denial.response(request, decision)


def tell(response: HttpResponseBase, decisions: Iterable[Decision]) -> HttpResponseBase:
    """Write into the headers what was decided."""
    style = settings().headers
    for decision in decisions:
        headers.apply(response, decision, style)
    return response


def cost_of(policy: Policy, request: HttpRequest) -> int:
    """Return the units of a request: 1 where the callable that should tell fails."""
    if isinstance(policy.cost, int):
        return policy.cost
    try:
        plain = async_to_sync(policy.cost) if is_async(policy.cost) else policy.cost
        return _whole(plain(request))
    except Exception as error:
        return _failed(policy, error)


async def acost_of(policy: Policy, request: HttpRequest) -> int:
    """Do the same; a callable may be ``async``, and one that is not runs beside the loop, for it may ask a database."""
    if isinstance(policy.cost, int):
        return policy.cost
    try:
        awaited = policy.cost if is_async(policy.cost) else sync_to_async(policy.cost)
        return _whole(await awaited(request))
    except Exception as error:
        return _failed(policy, error)


def _whole(told: Any) -> int:
    return int(min(MAX_COST, max(0, math.ceil(told))))


def _failed(policy: Policy, error: Exception) -> int:
    if policy.name not in _told:
        _told.add(policy.name)
        message = "noa_perf.ratelimit: the cost of policy %r raises %s; such requests cost 1. Logged once."
        logger.warning(message, policy.name, type(error).__name__)
    return 1
