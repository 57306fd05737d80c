"""The Django app ``noa_perf.cache``."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class CacheConfig(AppConfig):
    """Checks CACHES, counts, and gives each request its time for the cache; opens no connection."""

    name = "noa_perf.cache"
    label = "noa_perf_cache"
    verbose_name = _("Cache")
    default_auto_field = "django.db.models.BigAutoField"
