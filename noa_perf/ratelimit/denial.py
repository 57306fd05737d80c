"""What a denied request is answered: a problem as JSON (RFC 9457), or a page for people."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from noa_perf.ratelimit import headers
from noa_perf.ratelimit.conf import settings
from noa_perf.ratelimit.decision import Decision

logger = logging.getLogger("noa_perf.ratelimit")

PROBLEM = "application/problem+json"
_HTML = "text/html"
# Of equals the first is taken.
_OFFERED = (PROBLEM, "application/json", _HTML, "application/xhtml+xml")
_REGISTRY = "https://iana.org/assignments/http-problem-types#"


class Kind(NamedTuple):
    """How one reason for a denial is answered."""

    status: int
    type: str
    title: Promise | str
    detail: Promise | str


_LIMIT = Kind(
    429,
    f"{_REGISTRY}quota-exceeded",
    _("Too many requests"),
    _("More requests came from you than are allowed in this time."),
)
KINDS: Mapping[str, Kind] = {
    "": _LIMIT,
    "limit": _LIMIT,
    "unavailable": Kind(
        503,
        f"{_REGISTRY}temporary-reduced-capacity",
        _("Not available at the moment"),
        _("This part of the site serves no requests for now. That is not your fault."),
    ),
    "ban": Kind(
        429,
        f"{_REGISTRY}abnormal-usage-detected",
        _("Blocked for a while"),
        _("Requests that came from you looked like abuse, so none are served for now."),
    ),
    "deny": Kind(403, "about:blank", _("Forbidden"), _("Requests from you are not served here.")),
}
"""By the decision's reason; one that is ``about:blank`` says no more than its status."""

_broken: set[str] = set()


def response(request: HttpRequest, decision: Decision) -> HttpResponse:
    """Return the answer to a request that ``decision`` denies, in the form that its Accept header prefers.

    It names the limits that were reached, and never who was counted.
    """
    kind = KINDS[decision.reason]
    seconds = headers.retry_after(decision)
    made = (_page(request, kind, seconds) if _wants_page(request) else None) or _problem(kind, decision, seconds)
    made["Cache-Control"] = "no-store"
    patch_vary_headers(made, ["Accept"])
    headers.apply(made, decision, settings().headers)
    # Django would write a line with the path for each: a log that grows with the attack. They are counted instead.
    made._has_been_logged = True  # type: ignore[attr-defined]
    # Nothing above may be there to say it, and without it a server closes the connection.
    made["Content-Length"] = str(len(made.content))
    if request.method == "HEAD":
        made.content = b""
    return made


def in_words(seconds: int) -> str:
    """Return a time to wait as people say it, rounded up: 45 seconds, 2 minutes, 3 hours, 2 days."""
    if seconds < 100:
        return ngettext("%(count)d second", "%(count)d seconds", seconds) % {"count": seconds}
    if (minutes := -(-seconds // 60)) < 100:
        return ngettext("%(count)d minute", "%(count)d minutes", minutes) % {"count": minutes}
    if (hours := -(-seconds // 3600)) < 48:
        return ngettext("%(count)d hour", "%(count)d hours", hours) % {"count": hours}
    days = -(-seconds // 86_400)
    return ngettext("%(count)d day", "%(count)d days", days) % {"count": days}


def _wants_page(request: HttpRequest) -> bool:
    return request.get_preferred_type(_OFFERED) in _OFFERED[2:]


def _problem(kind: Kind, decision: Decision, seconds: int | None) -> HttpResponse:
    """Return JSON; ``retry-after`` stands in it too, for a script of another origin may not read that header."""
    body: dict[str, Any] = {
        "type": kind.type,
        "title": str(kind.title),
        "status": kind.status,
        "detail": str(kind.detail),
    }
    if violated := decision.violated:
        body["violated-policies"] = [verdict.policy.label(verdict.limit) for verdict in violated]
    if seconds is not None:
        body["retry-after"] = seconds
    return JsonResponse(body, status=kind.status, content_type=PROBLEM)


def _page(request: HttpRequest, kind: Kind, seconds: int | None) -> HttpResponse | None:
    """Return the page, or None where the template cannot be rendered."""
    name = settings().template
    context = {
        "request": request,
        "status": kind.status,
        "title": kind.title,
        "detail": kind.detail,
        "seconds": seconds,
        "wait": in_words(seconds) if seconds is not None else "",
    }
    try:
        # Without context processors: those of a site may ask its database, which a denial is to spare.
        return HttpResponse(render_to_string(name, context), status=kind.status)
    except Exception as error:
        _complain(name, error)
        return None


def _complain(name: str, error: Exception) -> None:
    if name not in _broken:
        _broken.add(name)
        message = "noa_perf.ratelimit: the page %r cannot be rendered (%s); browsers get JSON. Logged once."
        logger.error(message, name, type(error).__name__)
