"""The Django app ``noa_perf.pool``."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.core import checks
from django.utils.translation import gettext_lazy as _


class PoolConfig(AppConfig):
    """Pools, watched and operated; the engines work without it too. Opens no connection, starts no thread."""

    name = "noa_perf.pool"
    label = "noa_perf_pool"
    verbose_name = _("Connection pools")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register checks, figures, orders and health."""
        from noa_perf.pool import checks as own
        from noa_perf.pool import health, metering, orders

        checks.register(own.check_settings)
        health.install()
        metering.install()
        if apps.is_installed("noa_perf.metrics"):
            from noa_perf.pool import panels

            orders.install()
            panels.install()
