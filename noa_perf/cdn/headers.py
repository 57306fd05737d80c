"""Which headers tell browsers and edges how long a page may be kept, and by which tags it is purged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from noa_perf.core.conf import Shape, bounded

SVG_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""An SVG is a document that may hold scripts: opened by itself it may do nothing."""

ATTRIBUTE = "noa_perf_edge"
"""Where a view's answer carries what :func:`~noa_perf.cdn.decorators.edge_cached` said of it, or a
:class:`NotKept`."""


@dataclass(frozen=True, slots=True)
class NotKept:
    """Stands for a policy that could not be made: the answer is not kept."""

    why: str
    error: Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class PagePolicy:
    """How long pages may be kept. Times are seconds."""

    max_age: int = bounded(0, least=0)
    """In browsers."""
    s_maxage: int = bounded(60, least=0)
    """At edges."""
    stale_while_revalidate: int = bounded(0, least=0)
    """For how long after that an edge may go on to serve it while it asks anew (RFC 5861)."""
    stale_if_error: int = bounded(0, least=0)
    """Likewise, while the site fails."""
    tags: tuple[str, ...] = ()
    """By which it is purged."""
    authorized: bool = False
    """Whether answers to requests with an ``Authorization`` may be kept for everybody too: they are the same for
    whoever asks."""

    def cache_control(self) -> str:
        """Return the Cache-Control."""
        parts = ["public", f"max-age={self.max_age}", f"s-maxage={self.s_maxage}"]
        if self.stale_while_revalidate:
            parts.append(f"stale-while-revalidate={self.stale_while_revalidate}")
        if self.stale_if_error:
            parts.append(f"stale-if-error={self.stale_if_error}")
        return ", ".join(parts)


PATH = 'NOA_PERF["CDN"]["HEADERS"]'


def shape(prefix: str) -> Shape[PagePolicy]:
    """Return the shape of the policy of pages below ``prefix``."""
    return Shape(PagePolicy, f"{PATH}[{prefix!r}]")


def policy_of(path: str, policies: Mapping[str, PagePolicy]) -> PagePolicy | None:
    """Return the policy of the longest prefix that a path begins with."""
    prefix = max((each for each in policies if path.startswith(each)), key=len, default=None)
    return None if prefix is None else policies[prefix]


PERSONAL = {"cookie", "authorization", "*"}
"""What an answer for one visitor varies by."""


def may_be_shared(method: str | None, response: HttpResponseBase) -> bool:
    """Tell whether an answer may be kept for everybody: it is a page, and nothing in it is for one visitor alone."""
    control = response.get("Cache-Control", "").lower()
    personal = re.search(r"\b(private|no-store|no-cache)\b", control) or response.cookies
    varies = {each.strip().lower() for each in response.get("Vary", "").split(",")}
    return method in {"GET", "HEAD"} and response.status_code == 200 and not personal and not varies & PERSONAL


def apply(
    request: HttpRequest, response: HttpResponseBase, policy: PagePolicy, tag_headers: Iterable[tuple[str, str]]
) -> None:
    """Write the headers, if the answer may be kept for everybody; what a view has written itself stays."""
    if not may_be_shared(request.method, response):
        return
    if not response.has_header("Cache-Control"):
        # Without a word of ours no shared cache keeps it (RFC 9111, 3.5).
        if "HTTP_AUTHORIZATION" in request.META and not policy.authorized:
            return
        response["Cache-Control"] = policy.cache_control()
    for name, separator in tag_headers if policy.tags else ():
        response[name] = separator.join(policy.tags)


def for_whitenoise(headers: Any, path: str, url: str) -> None:
    """Add what static files need beside WhiteNoise's own: ``WHITENOISE_ADD_HEADERS_FUNCTION`` takes this."""
    if path.lower().endswith((".svg", ".svg.br", ".svg.gz")):
        headers["Content-Security-Policy"] = SVG_POLICY
