"""Puts the dashboard's pages into the admin, behind its two permissions."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from noa_perf.dashboard import views
from noa_perf.dashboard.models import Dashboard


@admin.register(Dashboard)
class DashboardAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """An entry of the admin's index that leads to pages instead of rows."""

    def get_urls(self) -> list[URLPattern]:
        """Return the addresses of the overview, of each page, and of each thing on one."""
        wrap = self.admin_site.admin_view
        return [
            path("", wrap(self.changelist_view), name="noa_perf_dashboard_changelist"),
            path("<slug:slug>/", wrap(self._page), name="noa_perf_page"),
            path("<slug:slug>/<slug:key>/", wrap(self._detail), name="noa_perf_detail"),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the overview."""
        return views.overview(request, self.admin_site)

    def _page(self, request: HttpRequest, slug: str) -> HttpResponse:
        return views.page(request, self.admin_site, slug)

    def _detail(self, request: HttpRequest, slug: str, key: str) -> HttpResponse:
        return views.page(request, self.admin_site, slug, key)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Tell whether the admin's index shows the dashboard at all."""
        return views.may_view(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tell whether this user may see the pages."""
        return views.may_view(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nothing can be added."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nothing can be changed."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nothing can be deleted."""
        return False
