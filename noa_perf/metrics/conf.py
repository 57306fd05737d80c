"""The section ``NOA_PERF["METRICS"]``."""

from __future__ import annotations

from dataclasses import dataclass

from noa_perf.core.conf import Section, bounded


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """What is kept, where, how often it is written and for how long."""

    enabled: bool = True
    """Whether anything is counted. ``False`` leaves a recorder in place that does nothing."""
    rollup: bool = True
    """Whether figures are written to the rollup table, which reports and the dashboard read."""
    prometheus: bool = True
    """Whether figures are exported to Prometheus; without ``prometheus_client`` nothing is."""
    database: str = "default"
    """Database alias of the rollup's tables. Migrate it: ``manage.py migrate --database <alias>``."""
    flush_seconds: float = bounded(10.0, least=0.1, most=60.0)
    """Seconds between two writes of a process; what a killed process loses at most."""
    max_series: int = bounded(500, least=1, most=100_000)
    """Series of one kind (routes, statements, N+1) in ten seconds; further ones add up as ``(other)``."""
    keep_10_seconds: float = bounded(3_600.0, least=600.0)
    """Seconds after which buckets of 10 seconds are thinned to buckets of 1 minute."""
    keep_1_minute: float = bounded(86_400.0, least=3_600.0)
    """Seconds after which buckets of 1 minute are thinned to buckets of 10 minutes."""
    retention: float = bounded(604_800.0, least=3_600.0)
    """Seconds after which figures are deleted."""
    ready_databases: tuple[str, ...] = ("default",)
    """Database aliases without which a process is not ready: readiness asks each for ``SELECT 1``."""


settings = Section("METRICS", MetricsSettings)
