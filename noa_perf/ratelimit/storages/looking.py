"""Looks through all keys of a Redis, page by page: for erasures, which are rare and may take their time."""

from __future__ import annotations

import re
from typing import Any

from noa_perf.core.redis import fast_call

PAGE = 1_000
"""Keys that one command goes over."""


def keys_like(pattern: str, redis: Any) -> set[Any]:
    """Return the keys that fit a pattern of SCAN, on a Cluster those of every primary."""
    return set(redis.scan_iter(match=pattern, count=PAGE))


def delete(key: Any, redis: Any) -> bool:
    """Delete a key; tell whether it was there."""
    return bool(fast_call(redis, "DEL", key, again=True))


def literal(text: str) -> str:
    """Return a pattern of SCAN that means ``text`` alone."""
    return re.sub(r"([\\*?\[\]^-])", r"\\\1", text)
