"""The admin's entry for pools: one page that orders; orders stay as they were given, and old ones go by themselves."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from noa_perf.core.page_admin import PageAdmin
from noa_perf.pool import operating
from noa_perf.pool.models import PoolOrder


@admin.register(PoolOrder)
class PoolOrderAdmin(PageAdmin):
    """Leads whoever may operate to the page that drains and resizes."""

    def page(self, request: HttpRequest) -> HttpResponse:
        """Ask what to order, or order it."""
        return operating.page(request, self, self.admin_site)

    def may_see(self, request: HttpRequest) -> bool:
        """Tell whether this user may operate."""
        return operating.may_operate(request)
