"""A page of the admin: what a client has left under a policy, and, once that is confirmed, its whole quota back."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from noa_perf.ratelimit import audit, registry
from noa_perf.ratelimit.decision import Decision
from noa_perf.ratelimit.exceptions import BadPolicy
from noa_perf.ratelimit.naming import client_of

TEMPLATE = "admin/noa_perf_ratelimit/reset.html"


class ResetForm(forms.Form):
    """Who, and under which policy."""

    policy = forms.ChoiceField(label=gettext_lazy("Policy"))
    client = forms.CharField(
        label=gettext_lazy("Client"),
        max_length=1_000,
        help_text=gettext_lazy(
            "203.0.113.7, user:17 or key:… . Of a policy that counts several things together one each, by blanks."
        ),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Offer the policies that this process knows."""
        super().__init__(*args, **kwargs)
        self.fields["policy"].choices = [(name, name) for name in sorted(registry.known())]  # type: ignore[attr-defined]

    def clean_client(self) -> str:
        """Return the client as limits know it."""
        try:
            return client_of(self.cleaned_data["client"].split())
        except BadPolicy as error:
            raise ValidationError(str(error)) from error


def page(request: HttpRequest, owner: ModelAdmin[Any], site: AdminSite) -> HttpResponse:
    """Ask who; show what is left; reset when that is confirmed. All but the first step is POST."""
    if not owner.has_change_permission(request):
        raise PermissionDenied
    form = ResetForm(request.POST or None)
    found: Decision | None = None
    if request.method == "POST" and form.is_valid():
        name, client = form.cleaned_data["policy"], form.cleaned_data["client"]
        if "confirmed" in request.POST:
            return _reset(request, owner, name, client)
        found = registry.limiter().status(registry.policy(name), client)
    context = {
        **site.each_context(request),
        "title": _("Reset a limit"),
        "opts": owner.opts,
        "form": form,
        "found": found,
        "shared": registry.limiter().storage.shared,
    }
    return TemplateResponse(request, TEMPLATE, context)


def _reset(request: HttpRequest, owner: ModelAdmin[Any], name: str, client: str) -> HttpResponse:
    done = registry.limiter().reset(registry.policy(name), client)
    if done is None:
        messages.error(request, _("Redis of the rate limits does not answer; nothing was changed."))
        return HttpResponseRedirect(request.path)
    LogEntry.objects.create(
        user_id=request.user.pk or 0,
        content_type=ContentType.objects.get_for_model(owner.model),
        object_repr=f"{name}"[:200],
        action_flag=CHANGE,
        change_message=_("A client's rate limit was reset."),
    )
    audit.note("reset the rate limit of one client under", name, request.user)
    text = _("The client has its whole quota back.") if done else _("Nothing was counted of this client.")
    messages.success(request, text)
    return HttpResponseRedirect(request.path)
