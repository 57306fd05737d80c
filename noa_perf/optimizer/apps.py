"""The Django app ``noa_perf.optimizer``."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.core import checks
from django.utils.translation import gettext_lazy as _

from noa_perf.core import conf


class OptimizerConfig(AppConfig):
    """Installs the capture, unless the kill switch is thrown."""

    name = "noa_perf.optimizer"
    label = "noa_perf_optimizer"
    verbose_name = _("Query optimizer")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks and, if enabled, watch every connection; opens none and starts no thread."""
        from noa_perf.optimizer import checks as own
        from noa_perf.optimizer import conf as _section  # noqa: F401  (registers the section that enabled() asks)

        checks.register(own.check_settings)
        checks.register(own.check_middleware)
        checks.register(own.check_vendors)
        if conf.enabled("OPTIMIZER"):
            from noa_perf.optimizer import capture, collector, entries, metering, notify
            from noa_perf.optimizer.plans import explainer

            capture.install()
            entries.install()
            collector.install()
            explainer.install()
            notify.install()
            metering.install()
            if apps.is_installed("noa_perf.metrics"):
                from noa_perf.optimizer import noting, panels

                noting.install()
                panels.install()
