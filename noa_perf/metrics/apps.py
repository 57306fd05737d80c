"""The Django app ``noa_perf.metrics``."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks
from django.utils.translation import gettext_lazy as _

from noa_perf.core import conf


class MetricsConfig(AppConfig):
    """Puts a recorder in place that counts, unless the kill switch is thrown."""

    name = "noa_perf.metrics"
    label = "noa_perf_metrics"
    verbose_name = _("Metrics")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks and, if enabled, the recorder; opens no connection and starts no thread."""
        from noa_perf.metrics import checks as own
        from noa_perf.metrics import health, service

        checks.register(own.check_settings)
        health.install()
        if conf.enabled("METRICS"):
            service.install()
