"""The errors of ``noa_perf.metrics``."""

from __future__ import annotations

from noa_perf.core.exceptions import NoaPerfError


class MetricsError(NoaPerfError):
    """Base of the errors of ``noa_perf.metrics``."""


class RollupUnavailable(MetricsError):
    """The rollup's tables cannot be read; the message names the database alias and the cure."""


class PrometheusMissing(MetricsError):
    """prometheus_client is not installed, or too old: ``pip install noa-perf[prometheus]``."""

    def __init__(self, message: str = "") -> None:
        """Say how to install it, unless told something better."""
        super().__init__(message or "Prometheus export needs prometheus_client: pip install noa-perf[prometheus]")
