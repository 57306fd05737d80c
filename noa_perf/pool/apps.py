"""The Django app ``noa_perf.pool``."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class PoolConfig(AppConfig):
    """Pools, watched; the engines work without it too. Opens no connection, starts no thread."""

    name = "noa_perf.pool"
    label = "noa_perf_pool"
    verbose_name = _("Connection pools")
    default_auto_field = "django.db.models.BigAutoField"
