"""No table: only what the admin and its permissions need to have a place for the dashboard."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Dashboard(models.Model):
    """The dashboard itself, which has two permissions and no rows."""

    class Meta:
        """Unmanaged: nothing is kept here."""

        managed = False
        default_permissions = ()
        permissions = [
            ("view_dashboard", _("Can see the performance dashboard")),
            ("operate_dashboard", _("Can operate what the performance dashboard shows")),
        ]
        verbose_name = _("dashboard")
        verbose_name_plural = _("dashboard")

    def __str__(self) -> str:
        return "dashboard"
