"""The Django app ``noa_perf.cdn``."""

from __future__ import annotations

from django.apps import AppConfig
from django.apps import apps as installed
from django.core import checks
from django.utils.translation import gettext_lazy as _


class CdnConfig(AppConfig):
    """Assets, from the source tree to the edge. Opens no connection, starts no thread."""

    name = "noa_perf.cdn"
    label = "noa_perf_cdn"
    verbose_name = _("Assets and CDN")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register checks, and the pages of the dashboard."""
        from noa_perf.cdn import checks as own

        checks.register(own.check_settings)
        checks.register(own.check_deployment, deploy=True)
        if installed.is_installed("noa_perf.dashboard"):
            from noa_perf.cdn import panels

            panels.install()
