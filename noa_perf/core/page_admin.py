"""An entry of the admin's index that leads to a page of an app's own, and to no rows."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path


class PageAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Says who may see the page by :meth:`may_see`, and shows it by :meth:`page`; nothing can be added or edited."""

    def page(self, request: HttpRequest) -> HttpResponse:
        """Return the page."""
        raise NotImplementedError

    def may_see(self, request: HttpRequest) -> bool:
        """Tell whether this user may see it."""
        raise NotImplementedError

    def get_urls(self) -> list[URLPattern]:
        """Return the address of the one page, under the name that the admin links to."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_changelist"
        return [path("", self.admin_site.admin_view(self.changelist_view), name=name)]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the page."""
        return self.page(request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Tell whether the admin's index shows it at all."""
        return self.may_see(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tell whether this user may see it."""
        return self.may_see(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nothing can be added."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nothing can be changed."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nothing can be deleted."""
        return False
