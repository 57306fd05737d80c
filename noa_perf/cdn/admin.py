"""The admin's entry for releases, which are made by ``cdn_deploy`` and go by ``cdn_gc``."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from noa_perf.cdn import releasing
from noa_perf.cdn.models import Release
from noa_perf.core.page_admin import PageAdmin


@admin.register(Release)
class ReleaseAdmin(PageAdmin):
    """Leads to the page of releases."""

    def page(self, request: HttpRequest) -> HttpResponse:
        """List the releases, or go back to one."""
        return releasing.page(request, self, self.admin_site)

    def may_see(self, request: HttpRequest) -> bool:
        """Tell whether this user may see them."""
        return releasing.may_see(request)
