"""Clients as a person writes them at a terminal or in the admin, and as limits know them."""

from __future__ import annotations

from collections.abc import Sequence

from noa_perf.ratelimit.addresses import client_network, kind_of, parse_address
from noa_perf.ratelimit.conf import settings
from noa_perf.ratelimit.exceptions import BadPolicy
from noa_perf.ratelimit.keys import join, safe, split


def client_of(written: Sequence[str]) -> str:
    """Return who is counted: ``203.0.113.7`` or ``ip:203.0.113.7``, ``user:17``, ``session:…``, ``key:…``.

    A policy that counts several things together has one of these for each, in the order of its ``by``. Raises
    :class:`~noa_perf.ratelimit.exceptions.BadPolicy`.
    """
    parts = [_part(one) for one in written]
    if not parts:
        raise BadPolicy("Name a client: 203.0.113.7, user:17, or one for each part of the policy's by.")
    return parts[0] if len(parts) == 1 else join(parts)


def _part(written: str) -> str:
    text = written.strip()
    own = settings()
    address = parse_address(text.removeprefix("ip:").split("/")[0])
    if address is not None:
        return f"ip:{client_network(address, own.ipv4_prefix, own.ipv6_prefix)}"
    if ":" not in text:
        raise BadPolicy(f"{written!r} is no client. Write 203.0.113.7, user:17, session:…, key:… or header:…:….")
    kind, value = kind_of(text)
    # As identity names them: what is not plain by its digest, unless it was copied from Redis, and is one already.
    return kind.lower() + (value if split(value) else safe(value))
