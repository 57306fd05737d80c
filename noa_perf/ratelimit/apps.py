"""The Django app ``noa_perf.ratelimit``."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class RateLimitConfig(AppConfig):
    """Limits, lists and bans; opens no connection, starts no thread."""

    name = "noa_perf.ratelimit"
    label = "noa_perf_ratelimit"
    verbose_name = _("Rate limits")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Listen for logins that fail."""
        from noa_perf.core import conf
        from noa_perf.ratelimit import abuse

        if conf.enabled("RATELIMIT"):
            abuse.install()
