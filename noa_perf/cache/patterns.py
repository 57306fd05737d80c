"""Patterns of keys as Redis writes them: how text is put into one, and what one matches."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

_SPECIAL = re.compile(r"([*?\[\]\\])")
_TOKENS = re.compile(
    rb"\\(?P<plain>.)|(?P<any>\*+)|(?P<one>\?)|\[(?P<not>\^?)(?P<class>(?:\\.|[^\]]-.|[^\]])*)\]?", re.DOTALL
)
_MEMBERS = re.compile(rb"\\(.)|(.)-(.)|(.)", re.DOTALL)


def escaped(text: str) -> str:
    """Return a pattern that matches ``text`` alone."""
    return _SPECIAL.sub(r"\\\1", text)


@lru_cache(maxsize=256)
def matcher(pattern: str) -> Callable[[str], bool]:
    """Return what tells whether a key matches ``pattern``, by the same rules as the server's SCAN."""
    given = pattern.encode("utf-8", "surrogatepass")
    parts, at = [], 0
    for found in _TOKENS.finditer(given):
        parts += [re.escape(given[at : found.start()]), _part(found)]
        at = found.end()
    whole = re.compile(b"".join([*parts, re.escape(given[at:])]), re.DOTALL)
    return lambda key: whole.fullmatch(key.encode("utf-8", "surrogatepass")) is not None


def _part(found: re.Match[bytes]) -> bytes:
    if found["plain"] is not None:
        return re.escape(found["plain"])
    if found["any"]:
        return b".*"
    if found["one"]:
        return b"."
    members = b"".join(map(_member, _MEMBERS.finditer(found["class"])))
    if not members:
        return b"." if found["not"] else b"(?!)"
    return b"[" + found["not"] + members + b"]"


def _member(found: re.Match[bytes]) -> bytes:
    escaped, first, last, alone = found.groups()
    if first is None:
        return re.escape(escaped or alone)
    least, most = sorted((first, last))
    return re.escape(least) + b"-" + re.escape(most)
