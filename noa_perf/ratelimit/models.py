"""Three things that people look at: who is always let in or refused, and who was banned, why and by whom."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Count, Q, Sum
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from noa_perf.ratelimit.clients import Client

MANUAL = "manual"
"""What stands in the place of a rule's name where a person has banned."""


def draw() -> int:
    """Return a random number for a row that is written."""
    return secrets.randbits(31)


class ListQuerySet(models.QuerySet["ListEntry"]):
    """Rows of the lists, whose every change can be told from outside."""

    def update(self, **values: Any) -> int:
        """Change rows, and let it be seen that they were."""
        return super().update(**{"revision": draw(), **values})

    def bulk_update(self, objs: Iterable[ListEntry], fields: Iterable[str], batch_size: int | None = None) -> int:
        """Do the same, row by row."""
        rows = list(objs)
        for row in rows:
            row.revision = draw()
        return super().bulk_update(rows, [*fields, "revision"], batch_size)

    def version(self) -> tuple[Any, Any]:
        """Return, by one query, what is another as soon as any row is added, changed or deleted."""
        told = self.aggregate(many=Count("pk"), revisions=Sum("revision"))
        return told["many"], told["revisions"]

    def in_force(self, at: datetime | None = None) -> ListQuerySet:
        """Return the rows that have not expired by then."""
        return self.filter(Q(expires=None) | Q(expires__gt=at or timezone.now()))


class ListEntry(models.Model):
    """Somebody who is never limited, or always refused."""

    class List(models.TextChoices):
        """On which list."""

        ALLOW = "allow", _("allow")
        DENY = "deny", _("deny")

    class Kind(models.TextChoices):
        """What the value is."""

        NETWORK = "network", _("network")
        USER = "user", _("user")
        KEY = "key", _("API key")

    list = models.CharField(_("list"), max_length=5, choices=List)
    kind = models.CharField(_("kind"), max_length=7, choices=Kind, default=Kind.NETWORK)
    value = models.CharField(
        _("value"), max_length=200, help_text=_("A network (203.0.113.0/24), a user's primary key, or a key's hash.")
    )
    reason = models.CharField(_("reason"), max_length=200)
    created = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    expires = models.DateTimeField(_("expires"), null=True, blank=True, help_text=_("Empty: never."))
    # Their sum tells whether anything has changed, whichever transaction is committed first.
    revision = models.PositiveIntegerField(default=draw, editable=False)

    objects = ListQuerySet.as_manager()

    class Meta:
        """Nobody is on one list twice; on both, the allow list holds."""

        constraints: ClassVar = [models.UniqueConstraint(fields=["list", "kind", "value"], name="noa_perf_list_entry")]
        verbose_name = _("list entry")
        verbose_name_plural = _("allow and deny entries")

    def __str__(self) -> str:
        return f"{self.list} {self.kind} {self.pk}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Let it be seen that the row has changed."""
        self.revision = draw()
        if kwargs.get("update_fields") is not None:
            kwargs["update_fields"] = {*kwargs["update_fields"], "revision"}
        super().save(*args, **kwargs)

    @property
    def client(self) -> Client:
        """Who it is."""
        return Client(self.kind, self.value)  # type: ignore[arg-type]  # one of the choices


class BanQuerySet(models.QuerySet["Ban"]):
    """Rows of bans."""

    def active(self, at: datetime | None = None) -> BanQuerySet:
        """Return those that are in force then."""
        return self.filter(released=None, until__gt=at or timezone.now())

    def over(self, before: datetime) -> BanQuerySet:
        """Return those that ended, or were released, before then."""
        return self.filter(Q(until__lt=before) | Q(released__lt=before))

    def version(self) -> tuple[Any, Any]:
        """Return, by one query, what is another as soon as any of these is added or no longer in force."""
        told = self.aggregate(many=Count("pk"), ids=Sum("pk"))
        return told["many"], told["ids"]


class Ban(models.Model):
    """What is kept of one ban, for people to read; what is in force lies in Redis, or in memory."""

    client = models.CharField(_("client"), max_length=210)
    rule = models.CharField(_("rule"), max_length=64, default=MANUAL, editable=False)
    tier = models.PositiveSmallIntegerField(_("tier"), default=1, editable=False)
    reason = models.CharField(_("reason"), max_length=200, blank=True)
    begun = models.DateTimeField(_("begun"), default=timezone.now, editable=False)
    until = models.DateTimeField(_("until"))
    released = models.DateTimeField(_("released"), null=True, blank=True, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    released_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )

    objects = BanQuerySet.as_manager()

    class Meta:
        """Read by who it was, and by what is in force or over."""

        indexes: ClassVar = [
            models.Index(fields=["until"], name="noa_perf_ban_until"),
            models.Index(fields=["client"], name="noa_perf_ban_client"),
        ]
        verbose_name = _("ban")
        verbose_name_plural = _("bans")

    def __str__(self) -> str:
        return f"{self.rule} {self.pk}"

    @property
    def is_active(self) -> bool:
        """Whether it is in force."""
        return self.released is None and self.until > timezone.now()
