"""No table: only what the admin and its permissions need to have a place for the releases."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Release(models.Model):
    """What is published, which lies in the storage of static files, and not in the database."""

    class Meta:
        """Unmanaged: nothing is kept here."""

        managed = False
        default_permissions = ("view",)
        permissions = [("roll_back_release", _("Can make an earlier release live"))]
        verbose_name = _("release")
        verbose_name_plural = _("releases")

    def __str__(self) -> str:
        return "release"
