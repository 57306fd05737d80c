"""A page of the admin that lists the releases, and goes back to one once that is confirmed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.contrib import messages
from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from noa_perf.cdn import purging, service
from noa_perf.cdn.exceptions import CdnError
from noa_perf.cdn.patience import within
from noa_perf.core.muting import IGNORED

TEMPLATE = "admin/noa_perf_cdn/releases.html"


def may_see(request: HttpRequest) -> bool:
    """Tell whether the user may see the releases."""
    return request.user.has_perm("noa_perf_cdn.view_release") or may_roll_back(request)


def may_roll_back(request: HttpRequest) -> bool:
    """Tell whether the user may make another release live."""
    return request.user.has_perm("noa_perf_cdn.roll_back_release")


def page(request: HttpRequest, owner: ModelAdmin[Any], site: AdminSite) -> HttpResponse:
    """List the releases; ask whether to go back to one; go back when that is confirmed. All but the list is POST."""
    setattr(request, IGNORED, True)
    if not may_see(request) or (request.method == "POST" and not may_roll_back(request)):
        raise PermissionDenied
    wanted = request.POST.get("release", "")
    if wanted and "confirmed" in request.POST:
        return _roll_back(request, owner, wanted)
    context = {**site.each_context(request), "title": _("Releases"), "opts": owner.opts, **_known()}
    if wanted:
        context |= _asked(wanted, context["releases"])
    context["may_roll_back"] = may_roll_back(request)
    return TemplateResponse(request, TEMPLATE, context)


def _known() -> dict[str, Any]:
    try:
        rows = within(service.listed, service.releases().target.where)
    except CdnError as error:
        return {"releases": [], "trouble": str(error), "where": ""}
    for row in rows:
        row["at"] = datetime.fromtimestamp(row["since"] or row["announced"], UTC)
    return {"releases": rows, "trouble": "", "where": service.releases().target.where}


def _asked(wanted: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    row = next((row for row in rows if row["release"] == wanted and not row["live"]), None)
    if row is None:
        return {"trouble": _("There is no such release any more, or it is live already.")}
    try:
        differ = within(lambda: service.difference(wanted), service.releases().target.where)
    except CdnError as error:
        return {"trouble": str(error)}
    text = ngettext(
        "%(many)d file is another one than in the live release, or is not in both.",
        "%(many)d files are others than in the live release, or are not in both.",
        differ,
    )
    return {"asked": row, "meaning": text % {"many": differ}}


def _roll_back(request: HttpRequest, owner: ModelAdmin[Any], wanted: str) -> HttpResponse:
    try:
        by = f"user {request.user.pk}"
        was, now = within(lambda: service.rollback(wanted, by=by), service.releases().target.where)
    except CdnError as error:
        messages.error(request, str(error))
        return HttpResponseRedirect(request.path)
    if was == now:
        messages.info(request, _("Release %(release)s is live already.") % {"release": now})
        return HttpResponseRedirect(request.path)
    LogEntry.objects.create(
        user_id=request.user.pk or 0,
        content_type=ContentType.objects.get_for_model(owner.model),
        object_id=now,
        object_repr=now,
        action_flag=CHANGE,
        change_message=f"live in place of {was}",
    )
    for done in purging.after_release():
        level = messages.ERROR if done["provider"] == purging.FAILED else messages.INFO
        messages.add_message(request, level, f"{done['provider']}: {done['said']}")
    text = _("Release %(release)s is live. Every process links to it within a few seconds.")
    messages.success(request, text % {"release": now})
    return HttpResponseRedirect(request.path)
