"""The section ``NOA_PERF["CACHE"]``: what concerns every cache; the rest stands in CACHES itself."""

from __future__ import annotations

from dataclasses import dataclass

from noa_perf.core.conf import Section


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """What concerns every cache."""

    enabled: bool = True
    """Whether memory stands before Redis. ``False``: each read asks Redis; a cache without Redis works as ever."""


settings = Section("CACHE", CacheSettings)
