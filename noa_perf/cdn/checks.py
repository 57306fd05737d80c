"""System checks of the CDN app: settings read, nothing asked of the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings as django_settings
from django.core import checks
from django.utils.module_loading import import_string

from noa_perf.cdn import edges, headers
from noa_perf.cdn.conf import settings
from noa_perf.cdn.purging import TAG
from noa_perf.core.checks import SETTINGS_CHECKS, check_section

LABEL = "noa_perf_cdn"
MIDDLEWARE = "noa_perf.cdn.middleware.EdgeHeadersMiddleware"

CHECKS: Mapping[str, str] = {
    **SETTINGS_CHECKS,
    "E005": "An entry of PROVIDERS cannot be used.",
    "E006": "An entry of HEADERS cannot be used.",
    "E007": "PURGE, or the tags of an entry of HEADERS, hold what no edge takes as a tag.",
    "E010": "A PictureField has no JSONField to write its variants to.",
    "W001": "EdgeHeadersMiddleware is not the first of MIDDLEWARE: a cookie that is set later would be kept at edges.",
    "W002": "HEADERS are set, and EdgeHeadersMiddleware is not in MIDDLEWARE: nobody writes them.",
    "W003": "STORAGES['staticfiles'] holds no releases: cdn_deploy has nowhere to publish (--deploy).",
    "W004": "The token of a provider stands in the settings themselves (--deploy).",
}
"""What each id of ``noa_perf_cdn`` means, for the reference."""


def check_settings(**kwargs: Any) -> list[checks.CheckMessage]:
    """Check ``NOA_PERF["CDN"]``, its providers and headers."""
    found = check_section(settings, LABEL)
    found += [checks.Error(one.message, hint=one.hint, id=f"{LABEL}.E005") for one in edges.problems()]
    return [*found, *_headers(), *_tags(), *_middleware()]


def check_deployment(**kwargs: Any) -> list[checks.CheckMessage]:
    """Check what matters where a site is served."""
    return [*_storage(), *_tokens()]


def _headers() -> Iterator[checks.CheckMessage]:
    for prefix, entry in settings().headers.items():
        if not prefix.startswith("/"):
            message = f"{headers.PATH} has {prefix!r}, and paths begin with a slash."
            yield checks.Error(message, hint=f"Write '/{prefix}'.", id=f"{LABEL}.E006")
        for one in headers.shape(prefix).problems_of(entry):
            yield checks.Error(one.message, hint=one.hint, id=f"{LABEL}.E006")


def _tags() -> Iterator[checks.CheckMessage]:
    places = {'NOA_PERF["CDN"]["PURGE"]': settings().purge}
    for prefix, entry in settings().headers.items():
        places[f"{headers.PATH}[{prefix!r}]['TAGS']"] = headers.shape(prefix).load(entry).tags
    for place, tags in places.items():
        for tag in tags:
            if not TAG.fullmatch(str(tag)):
                hint = "Use a-z, 0-9, '_', '.' and '-', 128 characters at most."
                yield checks.Error(f"{place} has {tag!r}, which no edge takes as a tag.", hint=hint, id=f"{LABEL}.E007")


def _middleware() -> Iterator[checks.CheckMessage]:
    chain = list(django_settings.MIDDLEWARE)
    if MIDDLEWARE in chain:
        before = [each for each in chain[: chain.index(MIDDLEWARE)] if not each.startswith("noa_perf.")]
        if before:
            message = f"{MIDDLEWARE} stands behind {before[0]}, which may set a cookie after it has looked."
            yield checks.Warning(message, hint="Put it first in MIDDLEWARE.", id=f"{LABEL}.W001")
    elif settings().headers:
        message = f"{headers.PATH} is set, and {MIDDLEWARE} is not in MIDDLEWARE."
        yield checks.Warning(message, hint="Put it first in MIDDLEWARE.", id=f"{LABEL}.W002")


def _storage() -> Iterator[checks.CheckMessage]:
    from noa_perf.cdn.storage import ReleaseMixin

    backend = django_settings.STORAGES.get("staticfiles", {}).get("BACKEND", "")
    try:
        holds = issubclass(import_string(backend), ReleaseMixin)
    except Exception:  # whatever a module raises when it is imported
        return  # Django says so itself
    if not holds:
        message = f"STORAGES['staticfiles'] is {backend}, which holds no releases."
        hint = "Set its BACKEND to 'noa_perf.cdn.storage.ReleaseStaticFilesStorage', or remove noa_perf.cdn."
        yield checks.Warning(message, hint=hint, id=f"{LABEL}.W003")


def _tokens() -> Iterator[checks.CheckMessage]:
    for name, entry in settings().providers.items():
        token = entry.get("TOKEN", "") if isinstance(entry, Mapping) else ""
        if isinstance(token, str) and token and not token.startswith(("env:", "file:")):
            message = f"{edges.PATH}[{name!r}]['TOKEN'] stands in the settings."
            yield checks.Warning(message, hint="Say where it is: 'env:NAME' or 'file:/path'.", id=f"{LABEL}.W004")
