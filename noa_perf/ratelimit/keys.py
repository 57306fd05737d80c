"""The text that names a client in keys: no two clients share one, and none breaks out of its hash tag."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

from django.conf import settings
from django.utils.encoding import force_bytes

LONGEST = 150
"""Characters of a joined text at most."""

# Printable ASCII without white space and braces; "#" does not begin it, for that marks a digest.
_plain = re.compile(r"(?!#)[!-z|~]{0,80}").fullmatch
_prefixed = re.compile(r"(\d+):|(#[0-9a-f]{32})").match


def join(parts: Sequence[str]) -> str:
    """Return one text for ``parts``, different for any other list of parts: each has its length before it.

    Of printable ASCII without white space and braces, at most 150 characters; a part that is longer than 80 or has
    other characters, and a list too long, stand there as a digest of 128 bits.
    """
    text = _part(parts[0]) if len(parts) == 1 else "".join(map(_part, parts)) or "."
    return text if len(text) <= LONGEST else f"*{_digest(text)}"


def split(text: str) -> list[str]:
    """Return the parts of what :func:`join` made, with ``#`` and the digest for one that is not plain.

    Of any other text there are none.
    """
    parts = []
    at = 0
    while found := _prefixed(text, at):
        end = found.end() + int(found[1] or 0)
        parts.append(found[2] or text[found.end() : end])
        at = end
    return parts if at == len(text) else []


def names(text: str, client: str) -> bool:
    """Tell whether ``text`` is ``client``, or joined of parts of which one is."""
    parts = split(text)
    return text == client or (parts != [text] and any(names(part, client) for part in parts))


def safe(text: str) -> str:
    """Return ``text``, or ``#`` and its digest where it is not fit for a key."""
    return text if _plain(text) else f"#{_digest(text)}"


def hashed(secret: str) -> str:
    """Return 32 hexadecimal digits that tell ``secret`` from others, and only who has SECRET_KEY can try it."""
    key = _pepper(settings.SECRET_KEY)
    return blake2b(_bytes(secret), digest_size=16, key=key, person=b"noa_perf.key").hexdigest()


def _part(text: str) -> str:
    return f"{len(text)}:{text}" if _plain(text) else f"#{_digest(text)}"


def _digest(text: str) -> str:
    return blake2b(_bytes(text), digest_size=16).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@lru_cache(maxsize=4)
def _pepper(secret_key: str | bytes) -> bytes:
    # A key of blake2b has 64 bytes at most.
    return blake2b(force_bytes(secret_key)).digest()
