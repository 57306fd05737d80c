"""Puts the dashboard's pages into the admin, behind its two permissions."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from noa_perf.core.page_admin import PageAdmin
from noa_perf.dashboard import views
from noa_perf.dashboard.models import Dashboard


@admin.register(Dashboard)
class DashboardAdmin(PageAdmin):
    """Leads to the overview, to each page, and to each thing on one."""

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of pages, and of what is on them."""
        wrap = self.admin_site.admin_view
        return [
            *super().get_urls(),
            path("<slug:slug>/", wrap(self._page), name="noa_perf_page"),
            path("<slug:slug>/<slug:key>/", wrap(self._detail), name="noa_perf_detail"),
        ]

    def page(self, request: HttpRequest) -> HttpResponse:
        """Show the overview."""
        return views.overview(request, self.admin_site)

    def may_see(self, request: HttpRequest) -> bool:
        """Tell whether this user may see the pages."""
        return views.may_view(request)

    def _page(self, request: HttpRequest, slug: str) -> HttpResponse:
        return views.page(request, self.admin_site, slug)

    def _detail(self, request: HttpRequest, slug: str, key: str) -> HttpResponse:
        return views.page(request, self.admin_site, slug, key)
