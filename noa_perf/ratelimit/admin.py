"""Lists and bans in the admin: whoever may only look sees no whole address; whoever may change says why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.widgets import AdminTextInputWidget
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from noa_perf.ratelimit import audit, manual, resetting
from noa_perf.ratelimit.addresses import Address, client_network, mask, parse_address
from noa_perf.ratelimit.clients import Client, has
from noa_perf.ratelimit.exceptions import BadPolicy, BansUnavailable
from noa_perf.ratelimit.identity import client_address
from noa_perf.ratelimit.models import Ban, ListEntry


class OwnForm(forms.ModelForm):  # type: ignore[type-arg]
    """A form that knows where its user comes from, so that nobody locks himself out."""

    address: Address | None = None

    def refuse_own(self, client: Client) -> None:
        """Refuse a client whose network has the address of whoever asks."""
        if self.address is not None and has(client, self.address):
            text = _("Your own address lies in it. If you mean that, use the command ratelimit_ban or ratelimit_lists.")
            raise ValidationError(text, code="own")


class ListEntryForm(OwnForm):
    """One entry, its value in the form that is kept."""

    def clean(self) -> dict[str, Any]:
        """Refuse what means nobody, with the cure."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not (cleaned.get("kind") and cleaned.get("value")):
            return cleaned
        try:
            client = Client.of(cleaned["kind"], cleaned["value"])
            if cleaned.get("list") == ListEntry.List.DENY:
                self.refuse_own(client)
        except (BadPolicy, ValidationError) as error:
            self.add_error("value", error if isinstance(error, ValidationError) else str(error))
        else:
            cleaned["value"] = client.value
        return cleaned


class BanForm(OwnForm):
    """A ban by hand."""

    span = forms.CharField(label=_("For"), initial="1h", help_text=_("How long: 30m, 12h, 7d."))
    reason = forms.CharField(label=_("Reason"), max_length=200, widget=AdminTextInputWidget)

    class Meta:
        """What is asked for."""

        model = Ban
        fields = ["client", "span", "reason"]
        help_texts = {"client": _("203.0.113.7, 203.0.113.0/24, user:17, or key: and the hash of a key.")}

    def clean_client(self) -> str:
        """Return who it is, in the form that is kept."""
        try:
            client = Client.parse(self.cleaned_data["client"])
        except BadPolicy as error:
            raise ValidationError(str(error)) from error
        self.refuse_own(client)
        return client.text

    def clean_span(self) -> float:
        """Return seconds."""
        try:
            return manual.length(self.cleaned_data["span"])
        except BadPolicy as error:
            raise ValidationError(str(error)) from error


class OwnAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """What both have in common: masks, and a search that finds the networks around an address."""

    searched = ""
    """The field that holds addresses."""

    def may_see(self, request: HttpRequest) -> bool:
        """Tell whether whole addresses are shown."""
        return super().has_change_permission(request)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Return a form that knows where its user comes from."""
        form = super().get_form(request, obj, change=change, **kwargs)
        return type(form.__name__, (form,), {"address": client_address(request)})

    def get_search_fields(self, request: HttpRequest) -> list[str]:
        """Search for clients only where they are shown: who may not see one shall not find it out."""
        return [self.searched, "reason"] if self.may_see(request) else ["reason"]

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Let nobody find a client out by the address of the page, either."""
        hidden = lookup.partition("__")[0] == self.searched and not self.may_see(request)
        return not hidden and super().lookup_allowed(lookup, value, request)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find the networks in which an address lies, too."""
        found, duplicates = super().get_search_results(request, queryset, term)
        address = parse_address(term)
        if address is not None and self.may_see(request):
            found |= queryset.filter(**{f"{self.searched}__in": self.around(address)})
        return found, duplicates

    def around(self, address: Address) -> list[str]:
        """Return how each network around an address is written in the rows."""
        raise NotImplementedError


@admin.register(ListEntry)
class ListEntryAdmin(OwnAdmin):
    """The allow and deny lists; ``manage.py ratelimit_lists`` imports whole files."""

    form = ListEntryForm
    list_filter = ("list", "kind", ("expires", admin.EmptyFieldListFilter))
    list_select_related = ("created_by",)
    ordering = ("-pk",)
    searched = "value"
    show_full_result_count = False

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        """Show whole values to those who may change them."""
        return (self._shown(request), "list", "kind", "reason", "created", "created_by", "expires")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Show an entry likewise, and who made it."""
        made = ("created", "created_by") if obj else ()
        return ("list", "kind", self._shown(request, adding=obj is None), "reason", "expires", *made)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Show who made it, and let nobody change that."""
        return ("masked", "created", "created_by") if obj else ()

    @admin.display(description=_("value"))
    def masked(self, entry: ListEntry) -> str:
        """Return the beginning of a value."""
        return mask(entry.client.text)

    def around(self, address: Address) -> list[str]:
        """Return all networks around an address, with their prefixes."""
        return [f"{client_network(address, bits, bits).partition('/')[0]}/{bits}" for bits in _lengths(address)]

    def save_model(self, request: HttpRequest, obj: ListEntry, form: Any, change: bool) -> None:
        """Keep who made it, and note who changed it."""
        if not change:
            obj.created_by = request.user  # type: ignore[assignment]
        super().save_model(request, obj, form, change)
        audit.note("changed" if change else "added", f"list entry {obj.pk}", request.user)

    def delete_model(self, request: HttpRequest, obj: ListEntry) -> None:
        """Note who deleted it."""
        audit.note("removed", f"list entry {obj.pk}", request.user)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Note who deleted them."""
        for pk in queryset.values_list("pk", flat=True):
            audit.note("removed", f"list entry {pk}", request.user)
        super().delete_queryset(request, queryset)

    def _shown(self, request: HttpRequest, *, adding: bool = False) -> str:
        return "value" if adding or self.may_see(request) else "masked"


class StateFilter(admin.SimpleListFilter):
    """In force, released, or over."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        """Name them."""
        return (("active", _("in force")), ("released", _("released")), ("over", _("over")))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of one."""
        now = timezone.now()
        chosen = {
            "active": Q(released=None, until__gt=now),
            "released": Q(released__isnull=False),
            "over": Q(released=None, until__lte=now),
        }
        return queryset.filter(chosen[self.value()]) if self.value() in chosen else queryset  # type: ignore[index]


@admin.register(Ban)
class BanAdmin(OwnAdmin):
    """Adding one bans; an action releases; what was stays as it is until it is too old."""

    form = BanForm
    list_filter = (StateFilter, "rule", "until")
    list_select_related = ("created_by",)
    ordering = ("-pk",)
    actions = ("release",)
    searched = "client"
    show_full_result_count = False
    change_list_template = "admin/noa_perf_ratelimit/ban/change_list.html"

    def get_urls(self) -> list[Any]:
        """Add the page on which a client's limit is reset."""
        view = self.admin_site.admin_view(lambda request: resetting.page(request, self, self.admin_site))
        return [path("reset/", view, name="noa_perf_ratelimit_reset"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Lead there whoever may change bans."""
        more = {"may_reset": self.has_change_permission(request), **(extra_context or {})}
        return super().changelist_view(request, more)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A row is not changed; who may change bans may release."""
        return obj is None and super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Rows go by retention, or by ``manage.py ratelimit_erase``."""
        return False

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        """Show whole clients to those who may release them."""
        return (self._shown(request), "state", "until", "rule", "tier", "reason", "created_by")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Ask for little, show all."""
        if obj is None:
            return ("client", "span", "reason")
        told = ("state", "rule", "tier", "reason", "begun", "until", "created_by", "released", "released_by")
        return (self._shown(request), *told)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Let nothing be changed."""
        return self.get_fields(request, obj) if obj else ()

    @admin.display(description=_("client"))
    def masked(self, ban: Ban) -> str:
        """Return the beginning of an address."""
        return mask(ban.client)

    @admin.display(description=_("state"))
    def state(self, ban: Ban) -> Any:
        """Say in a word how it is."""
        return _("in force") if ban.is_active else _("released") if ban.released else _("over")

    def around(self, address: Address) -> list[str]:
        """Return all networks around an address, and the address."""
        return [f"ip:{client_network(address, bits, bits)}" for bits in _lengths(address)]

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Say so where Redis cannot be told, and change nothing."""
        try:
            return super().changeform_view(request, *args, **kwargs)
        except BansUnavailable as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: Ban, form: Any, change: bool) -> None:
        """Ban; the row is written with it."""
        client = Client.parse(form.cleaned_data["client"])
        obj.pk = manual.ban(client, form.cleaned_data["span"], form.cleaned_data["reason"], request.user).pk
        obj.refresh_from_db()

    @admin.action(permissions=["change"], description=_("Release the selected bans"))
    def release(self, request: HttpRequest, queryset: QuerySet[Ban]) -> HttpResponse | None:
        """End bans, once that is confirmed."""
        bans = list(queryset.active())  # type: ignore[attr-defined]
        if not bans:
            self.message_user(request, _("None of these is in force."), messages.WARNING)
        elif "confirmed" not in request.POST:
            return self._confirm(request, bans)
        else:
            self._release(request, bans)
        return None

    def _confirm(self, request: HttpRequest, bans: list[Ban]) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": _("Release"),
            "opts": self.opts,
            "bans": bans,
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/noa_perf_ratelimit/ban/release_confirmation.html", context)

    def _release(self, request: HttpRequest, bans: list[Ban]) -> None:
        try:
            for ban in bans:
                manual.release(Client.parse(ban.client), request.user)
                self.log_change(request, ban, [{"changed": {"fields": ["released"]}}])
        except BansUnavailable as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        text = ngettext("%(many)d ban has ended.", "%(many)d bans have ended.", len(bans))
        self.message_user(request, text % {"many": len(bans)}, messages.SUCCESS)

    def _shown(self, request: HttpRequest) -> str:
        return "client" if self.may_see(request) else "masked"


def _lengths(address: Address) -> range:
    return range(address.max_prefixlen + 1)
