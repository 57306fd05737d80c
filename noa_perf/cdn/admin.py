"""The admin's entry for releases: one page, and no rows to edit."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from noa_perf.cdn import releasing
from noa_perf.cdn.models import Release


@admin.register(Release)
class ReleaseAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Leads to the page of releases."""

    def get_urls(self) -> list[URLPattern]:
        """Return the address of the one page."""
        view = self.admin_site.admin_view(self.changelist_view)
        return [path("", view, name="noa_perf_cdn_release_changelist")]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show that page."""
        return releasing.page(request, self, self.admin_site)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Tell whether the admin's index shows it at all."""
        return releasing.may_see(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tell whether this user may see the page."""
        return releasing.may_see(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Releases are made by cdn_deploy."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A release never changes."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Old ones go by cdn_gc."""
        return False
