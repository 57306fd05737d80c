"""Reads the site's own URL patterns: which pages need no argument, and which pattern answers a path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from django.urls import ResolverMatch, URLPattern, URLResolver, get_resolver
from django.utils.encoding import iri_to_uri
from django.utils.regex_helper import normalize
from django.utils.translation import get_language, get_language_from_path, override

from noa_perf.optimizer import capture

MAX_DEPTH = 12
"""Includes followed into one another: a URLconf may include itself."""
MAX_PATTERNS = 5_000


def match_of(path: str) -> ResolverMatch | None:
    """Return what the site's URL patterns say of a path, or None."""
    language = get_language_from_path(path) or get_language()
    with capture.muted(), override(language):  # a converter may ask the database
        try:
            return get_resolver().resolve(unquote(path))
        except Exception:  # no pattern has it; or a converter of the site's own failed, as it will for the request
            return None


def values_of(match: ResolverMatch | None) -> list[str]:
    """Return the texts that a pattern took out of a path."""
    named = getattr(match, "captured_kwargs", None) or {}
    values = (*match.args, *named.values()) if match is not None else ()
    return [value for value in values if isinstance(value, str)]


def without_arguments() -> list[str]:
    """Return the paths that patterns without arguments answer, those nearest to the root first."""
    found: list[str] = []
    for path, callback in _walk(get_resolver(), "", 0):
        match = match_of(path)
        if match is not None and match.func is callback:
            found.append(iri_to_uri(path))
        if len(found) >= MAX_PATTERNS:
            break
    return sorted(dict.fromkeys(found), key=lambda path: path.count("/"))


def _walk(resolver: URLResolver, prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    literal = _literal(resolver)
    if literal is None or depth > MAX_DEPTH:
        return
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            yield from _walk(entry, prefix + literal, depth + 1)
        elif (rest := _literal(entry)) is not None:
            yield prefix + literal + rest, entry.callback


def _literal(entry: URLPattern | URLResolver) -> str | None:
    """Return the text that a pattern stands for if it captures nothing."""
    forms = normalize(entry.pattern.regex.pattern)
    return next((str(text) for text, arguments in forms if not arguments), None)
