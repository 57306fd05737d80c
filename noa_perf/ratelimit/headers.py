"""What answers tell of limits: ``RateLimit``, its forerunners, and ``Retry-After``.

``q`` is what comes back in a period ``w`` (for a bucket under ``guarantee="window"`` less than the limit), ``r`` what
is left and never more than ``q``: a burst beyond the limit is there, and not promised. ``t`` is when the whole quota is
there again, and where a limit said no, when what was asked for would pass. Seconds are whole and rounded up.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Literal, NamedTuple

from django.http.response import HttpResponseBase

from noa_perf.ratelimit.decision import Decision, Verdict
from noa_perf.ratelimit.rates import SECOND

Style = Literal["draft11", "draft6", "legacy", "off"]

RETRY_AFTER = "Retry-After"
_LISTS = ("RateLimit-Policy", "RateLimit")
_SINGLE = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
_LEGACY = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
_LARGEST = 10**15 - 1
"""The largest integer of a structured field."""

_ITEM = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^",])+')
_NAME = re.compile(r'"(?:[^"\\]|\\.)*"')


class Told(NamedTuple):
    """What one limit tells a client."""

    label: str
    quota: int
    window: int
    """Seconds."""
    remaining: int
    reset: int
    """Seconds."""

    @property
    def tightness(self) -> tuple[int, int]:
        """Less is tighter."""
        return self.remaining, -self.reset


def told(decision: Decision) -> list[Told]:
    """Return what a client may know of: the limits that are enforced."""
    return [_told(verdict) for verdict in decision.told]


def retry_after(decision: Decision) -> int | None:
    """Return the whole seconds after which a denied request may pass, at least 1; None if never or nobody knows."""
    seconds = decision.retry_after
    if decision.allowed or seconds is None:
        return None
    return max(1, math.ceil(seconds), *(_told(verdict).reset for verdict in decision.violated))


def fields(decisions: Iterable[Decision], style: Style) -> dict[str, str]:
    """Return the headers that tell of ``decisions`` in one style; ``off`` leaves ``Retry-After`` alone."""
    decisions = list(decisions)
    found = [one for decision in decisions for one in told(decision)]
    made = _STYLES[style](found) if found else {}
    waits = [wait for wait in map(retry_after, decisions) if wait is not None]
    return {**made, RETRY_AFTER: str(max(waits))} if waits else made


def apply(response: HttpResponseBase, decision: Decision, style: Style) -> None:
    """Add to ``response`` what tells of ``decision``, beside what another limiter told already.

    Lists get what they do not name yet; where one limit alone can be told of, the tightest is. ``Retry-After`` stands
    on errors alone, and is never made earlier.
    """
    headers = fields([decision], style)
    wait = headers.pop(RETRY_AFTER, None)
    for name in _LISTS:
        if name in headers:
            response[name] = _merged(response.get(name, ""), headers.pop(name))
    if headers and _is_tighter(headers, response):
        for name, value in headers.items():
            response[name] = value
    if wait and response.status_code >= 400:
        _delay(response, int(wait))


def _told(verdict: Verdict) -> Told:
    limit = verdict.limit
    remaining, reset, retry = verdict.figures[1:]
    return Told(
        label=verdict.policy.label(limit),
        quota=min(limit.refill, _LARGEST),
        window=_seconds(limit.rate.period),
        remaining=max(0, min(remaining, limit.refill, _LARGEST)),
        reset=_seconds(reset if verdict.allowed or retry < 0 else retry),
    )


def _draft11(found: list[Told]) -> dict[str, str]:
    unlike: dict[str, Told] = {}
    for one in found:
        unlike.setdefault(one.label, one)
    return {
        "RateLimit-Policy": ", ".join(f"{_string(one.label)};q={one.quota};w={one.window}" for one in unlike.values()),
        "RateLimit": ", ".join(f"{_string(one.label)};r={one.remaining};t={one.reset}" for one in unlike.values()),
    }


def _draft6(found: list[Told]) -> dict[str, str]:
    policies = dict.fromkeys(f"{one.quota};w={one.window}" for one in found)
    return {"RateLimit-Policy": ", ".join(policies), **_tightest(found, _SINGLE)}


def _legacy(found: list[Told]) -> dict[str, str]:
    # Some sites have a moment here; as in the drafts these are seconds from now, which need no common clock.
    return _tightest(found, _LEGACY)


def _off(found: list[Told]) -> dict[str, str]:
    return {}


_STYLES: dict[str, Callable[[list[Told]], dict[str, str]]] = {
    "draft11": _draft11,
    "draft6": _draft6,
    "legacy": _legacy,
    "off": _off,
}


def _tightest(found: list[Told], names: tuple[str, str, str]) -> dict[str, str]:
    one = min(found, key=lambda told: told.tightness)
    return dict(zip(names, map(str, (one.quota, one.remaining, one.reset)), strict=True))


@lru_cache(maxsize=1024)
def _string(text: str) -> str:
    """Return a string of RFC 9651; what it cannot hold becomes ``?``."""
    printable = "".join(c if " " <= c <= "~" else "?" for c in text)
    return '"' + printable.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _seconds(microseconds: int) -> int:
    return min(-(-microseconds // SECOND), _LARGEST)


def _merged(before: str, more: str) -> str:
    if not before:
        return more
    items = _items(before)
    known = set(map(_identity, items))
    return ", ".join(items + [item for item in _items(more) if _identity(item) not in known])


def _items(value: str) -> list[str]:
    return [item.strip() for item in _ITEM.findall(value) if item.strip()]


def _identity(item: str) -> str:
    """Return the name of an item; all of it where it has none."""
    named = _NAME.match(item)
    return named[0] if named else item


def _is_tighter(headers: dict[str, str], response: HttpResponseBase) -> bool:
    _, remaining, reset = headers
    try:
        before = int(response[remaining]), -int(response[reset])
    except (KeyError, ValueError):
        return True
    return (int(headers[remaining]), -int(headers[reset])) < before


def _delay(response: HttpResponseBase, seconds: int) -> None:
    before = response.get(RETRY_AFTER, "0")
    # A view may have named a date: that is its own affair.
    if before.isdecimal() and int(before) < seconds:
        response[RETRY_AFTER] = str(seconds)
