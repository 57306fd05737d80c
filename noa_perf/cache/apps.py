"""The Django app ``noa_perf.cache``."""

from __future__ import annotations

from django.apps import AppConfig, apps
from django.core import checks
from django.utils.translation import gettext_lazy as _

from noa_perf.core import conf


class CacheConfig(AppConfig):
    """Checks CACHES, counts, and limits each request's time for the cache; opens no connection, starts no thread."""

    name = "noa_perf.cache"
    label = "noa_perf_cache"
    verbose_name = _("Cache")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register checks, health and figures."""
        from noa_perf.cache import budget, metering
        from noa_perf.cache import checks as own
        from noa_perf.cache import conf as _section  # noqa: F401  (registers the section that enabled() asks)

        checks.register(own.check_settings, checks.Tags.caches)
        checks.register(own.check_middleware)
        if conf.enabled("CACHE"):
            budget.install()
        metering.install()
        if apps.is_installed("noa_perf.metrics"):
            from noa_perf.cache import panels

            panels.install()
