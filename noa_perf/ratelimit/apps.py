"""The Django app ``noa_perf.ratelimit``."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.core import checks
from django.utils.translation import gettext_lazy as _

from noa_perf.core import conf


class RateLimitConfig(AppConfig):
    """Limits, lists and bans; opens no connection, starts no thread."""

    name = "noa_perf.ratelimit"
    label = "noa_perf_ratelimit"
    verbose_name = _("Rate limits")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register checks, figures, and what hears of failed logins."""
        from noa_perf.ratelimit import abuse, metering
        from noa_perf.ratelimit import checks as own

        checks.register(own.check_settings)
        checks.register(own.check_routes, checks.Tags.urls)
        checks.register(own.check_deployment, deploy=True)
        if conf.enabled("RATELIMIT"):
            abuse.install()
        metering.install()
        if apps.is_installed("noa_perf.metrics"):
            from noa_perf.ratelimit import panels

            panels.install()
