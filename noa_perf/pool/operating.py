"""A page of the admin on which pools of all processes are drained and resized, once that is confirmed."""

from __future__ import annotations

import logging
from typing import Any

from django import forms
from django.apps import apps
from django.contrib import messages
from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from noa_perf.core.muting import IGNORED
from noa_perf.pool import databases
from noa_perf.pool.models import PoolOrder
from noa_perf.pool.orders import orders

audit = logging.getLogger("noa_perf.audit")

TEMPLATE = "admin/noa_perf_pool/operate.html"
MOST = 10_000
"""Connections of one process beyond which a size is a slip."""
SHOWN = 20
"""Orders that the page lists."""


class OrderForm(forms.Form):
    """Which pool, and what to do with it."""

    alias = forms.ChoiceField(label=gettext_lazy("Pool"))
    action = forms.ChoiceField(
        label=gettext_lazy("Action"),
        choices=[("drain", gettext_lazy("Drain")), ("resize", gettext_lazy("Resize"))],
        help_text=gettext_lazy(
            "Drain: close each connection that is open now, once nobody holds it. Resize: say how many there may be."
        ),
    )
    value = forms.IntegerField(
        label=gettext_lazy("Size"),
        required=False,
        min_value=1,
        max_value=MOST,
        help_text=gettext_lazy("For Resize: connections of each process. Empty: as the settings have it (max_size)."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Offer the databases that have a pool."""
        super().__init__(*args, **kwargs)
        self.fields["alias"].choices = [(alias, alias) for alias in databases.aliases()]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """Refuse a size where none is meant."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("action") == "drain" and cleaned.get("value") is not None:
            self.add_error("value", ValidationError(_("Draining has no size. Leave it empty, or choose Resize.")))
        return cleaned


def page(request: HttpRequest, owner: ModelAdmin[Any], site: AdminSite) -> HttpResponse:
    """Ask what; say what it means; order it when that is confirmed. All but the first step is POST."""
    setattr(request, IGNORED, True)
    if not may_operate(request):
        raise PermissionDenied
    form = OrderForm(request.POST or None)
    asked: dict[str, Any] | None = None
    if request.method == "POST" and form.is_valid():
        asked = form.cleaned_data
        if "confirmed" in request.POST:
            return _ordered(request, owner, asked)
    context = {
        **site.each_context(request),
        "title": _("Drain or resize a pool"),
        "opts": owner.opts,
        "form": form,
        "asked": asked,
        "meaning": _meaning(asked) if asked else "",
        **_known(),
    }
    return TemplateResponse(request, TEMPLATE, context)


def may_operate(request: HttpRequest) -> bool:
    """Tell whether the user may do what changes something, and processes would obey."""
    return apps.is_installed("noa_perf.metrics") and request.user.has_perm("noa_perf.operate_dashboard")


def _meaning(asked: dict[str, Any]) -> str:
    alias, value = asked["alias"], asked["value"]
    if asked["action"] == "drain":
        text = _("In each process, %(alias)s closes its idle connections, and the others as they come back.")
        return text % {"alias": alias}
    own = databases.load(alias)
    if value is None:
        text = _("Each process may have as many connections to %(alias)s as its settings say (%(most)s).")
        return text % {"alias": alias, "most": own.max_size if own else "?"}
    text = _("Each process may have %(value)d connections to %(alias)s; its settings say %(most)s. This holds for ")
    text += _("processes that start later, too, until another size is ordered.")
    return text % {"value": value, "alias": alias, "most": own.max_size if own else "?"}


def _ordered(request: HttpRequest, owner: ModelAdmin[Any], asked: dict[str, Any]) -> HttpResponse:
    row = PoolOrder(who=request.user.get_username(), **asked)
    try:
        row.save(using=orders().db)
    except DatabaseError:
        messages.error(request, _("The order could not be written; nothing was changed. Did manage.py migrate run?"))
        return HttpResponseRedirect(request.path)
    done = f"{row.action} {row.value or ''}".strip()
    LogEntry.objects.create(
        user_id=request.user.pk or 0,
        content_type=ContentType.objects.get_for_model(owner.model),
        object_id=str(row.pk),
        object_repr=row.alias[:200],
        action_flag=ADDITION,
        change_message=done,
    )
    who = f"user {request.user.pk}"
    audit.info("noa_perf.pool: ordered %s of pool %s, by %s", done, row.alias, who, extra={"row": row.pk, "by": who})
    messages.success(request, _("Ordered. Every process obeys within some ten seconds."))
    return HttpResponseRedirect(request.path)


def _known() -> dict[str, Any]:
    try:
        rows = orders()
        return {"orders": list(rows.order_by("-pk")[:SHOWN]), "unreadable": False}
    except DatabaseError:
        return {"orders": [], "unreadable": True}
