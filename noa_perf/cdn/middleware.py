"""Writes the headers for edges, once all other middleware has had its say."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from noa_perf.cdn import edges
from noa_perf.cdn.conf import settings
from noa_perf.cdn.exceptions import CdnError
from noa_perf.cdn.headers import ATTRIBUTE, NotKept, PagePolicy, apply, policy_of, shape
from noa_perf.cdn.purging import TAG
from noa_perf.core.conf import enabled

logger = logging.getLogger("noa_perf.cdn")

Answer = HttpResponseBase | Awaitable[HttpResponseBase]


class EdgeHeadersMiddleware:
    """Stands first in ``MIDDLEWARE``: only there it is known which cookies an answer sets."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        """Read the policies once; raise ``MiddlewareNotUsed`` where the app is switched off."""
        if not enabled("CDN"):
            raise MiddlewareNotUsed
        self.get_response = get_response
        self._policies = {prefix: shape(prefix).load(entry) for prefix, entry in settings().headers.items()}
        self._tag_headers = _tag_headers()
        self._told: set[str] = set()
        self._async = iscoroutinefunction(get_response)
        if self._async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Answer:
        """Answer, with headers."""
        if self._async:
            return self._answer(request)
        response: HttpResponseBase = self.get_response(request)
        self._write(request, response)
        return response

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = await self.get_response(request)
        self._write(request, response)
        return response

    def _write(self, request: HttpRequest, response: HttpResponseBase) -> None:
        said: PagePolicy | NotKept | None = getattr(response, ATTRIBUTE, None)
        if isinstance(said, NotKept):
            self._tell(said.why, said.error)
            return
        policy = said or policy_of(request.path_info, self._policies)
        if policy is None:
            return
        bad = [tag for tag in policy.tags if not TAG.fullmatch(str(tag))]
        if bad:
            # What cannot be purged by its tag must not be kept.
            self._tell(f"an answer is not kept at edges, for it has a tag that none takes: {bad[0]!r}.")
            return
        apply(request, response, policy, self._tag_headers)

    def _tell(self, text: str, error: Exception | None = None) -> None:
        if text not in self._told and len(self._told) < 100:
            self._told.add(text)
            logger.warning("noa_perf.cdn: %s Logged once.", text, exc_info=error)


def _tag_headers() -> tuple[tuple[str, str], ...]:
    try:
        known = {each.tag_header: each.tag_separator for each in edges.providers() if each.tag_header}
    except CdnError as error:  # a check has said so; pages go on without tags
        logger.error("noa_perf.cdn: pages get no tags. %s", error)
        return ()
    return tuple(known.items())
