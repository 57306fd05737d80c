"""The Django app ``noa_perf.dashboard``."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DashboardConfig(AppConfig):
    """Pages below ``/admin/noa_perf/``."""

    name = "noa_perf.dashboard"
    label = "noa_perf"  # the admin's address of an app is its label
    verbose_name = _("Performance")
    default_auto_field = "django.db.models.BigAutoField"
