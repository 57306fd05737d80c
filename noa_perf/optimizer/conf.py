"""The section ``NOA_PERF["OPTIMIZER"]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from noa_perf.core.conf import Section, bounded


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSettings:
    """What the optimizer watches, when it speaks, and how much it may remember."""

    enabled: bool = True
    """Whether queries are watched at all. ``False`` puts nothing on the path of a query."""
    slow_query_ms: float = bounded(100.0, least=0.0)
    """Milliseconds (execute and fetch) from which a query counts as slow."""
    slow_query_ms_by_alias: Mapping[str, float] = bounded({}, least=0.0)
    """The same by database alias, where one differs: ``{"reports": 2000}``."""
    n_plus_one_threshold: int = bounded(3, least=2)
    """Queries of one shape from one place in one scope that make an N+1."""
    on_n_plus_one: Literal["collect", "log", "warn", "raise"] = "log"
    """What happens when an N+1 is found: kept for reports, logged once, warned of, or raised (for tests)."""
    allow: tuple[str, ...] = ()
    """N+1 to be left alone: ``"Book.author"``, ``"path:shop/legacy/*.py"`` or ``"fingerprint:1a2b3c4d"``."""
    libraries: tuple[str, ...] = ()
    """Installed apps that are tools rather than your site: a query is laid to their caller, not to them."""
    ignore_paths: tuple[str, ...] = ()
    """Request paths, as prefixes, that are not watched: ``"/healthz"``."""
    ignore_commands: tuple[str, ...] = ()
    """Management commands that are not watched, beside those that never end."""
    sample_rate: float = bounded(1.0, least=0.0, most=1.0)
    """Share of requests watched in detail; of the others only counts and times are kept."""
    keep_parameters: bool = False
    """Whether the values of a slow query's parameters are kept, in this process's memory alone, for who may operate
    the dashboard; else only their types and sizes are."""
    max_groups: int = bounded(500, least=10, most=100_000)
    """Distinct queries (by shape and place) that one scope remembers; further ones are counted only."""
    max_fingerprints: int = bounded(2_000, least=10, most=1_000_000)
    """Distinct query shapes, and distinct findings, that a process remembers; the cheapest make room."""


settings = Section("OPTIMIZER", OptimizerSettings)
