"""The admin's entry for pools: one page that orders, and no rows to edit."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from noa_perf.pool import operating
from noa_perf.pool.models import PoolOrder


@admin.register(PoolOrder)
class PoolOrderAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Leads whoever may operate to the page that drains and resizes."""

    def get_urls(self) -> list[URLPattern]:
        """Return the address of the one page."""
        view = self.admin_site.admin_view(self.changelist_view)
        return [path("", view, name="noa_perf_pool_poolorder_changelist")]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show that page."""
        return operating.page(request, self, self.admin_site)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Tell whether the admin's index shows it at all."""
        return operating.may_operate(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tell whether this user may see the page."""
        return operating.may_operate(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Orders are given on the page."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """An order stays as it was given."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Old ones go by themselves."""
        return False
