"""The section ``NOA_PERF["POOL"]``; each database's pool has options of its own, in ``DATABASES``."""

from __future__ import annotations

from dataclasses import dataclass

from noa_perf.core.conf import Section


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """Pools: what holds for all of them."""

    enabled: bool = True
    """Whether the engines pool; where not, they are Django's own."""


settings = Section("POOL", PoolSettings)
"""Read with :func:`settings`."""
