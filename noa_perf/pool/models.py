"""What operators asked of pools: a row for each order, which every process reads and obeys."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from django.db import models
from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

KEPT = timedelta(days=1)
"""How long an order is kept; the last size of each pool holds until there is another."""


class OrderQuerySet(models.QuerySet["PoolOrder"]):
    """Orders, old and new."""

    def sizes(self) -> OrderQuerySet:
        """Return the last resize of each pool."""
        resizes = self.filter(action=PoolOrder.Action.RESIZE)
        return self.filter(pk__in=list(resizes.values("alias").annotate(last=Max("pk")).values_list("last", flat=True)))

    def old(self, now: datetime | None = None) -> OrderQuerySet:
        """Return those that nobody has to know any more."""
        kept = list(self.sizes().values_list("pk", flat=True))
        return self.filter(at__lt=(now or timezone.now()) - KEPT).exclude(pk__in=kept)


class PoolOrder(models.Model):
    """One order for all processes."""

    class Action(models.TextChoices):
        """What is to be done."""

        DRAIN = "drain", _("drain")
        RESIZE = "resize", _("resize")

    alias = models.CharField(_("pool"), max_length=100)
    action = models.CharField(_("action"), max_length=6, choices=Action)
    value = models.PositiveIntegerField(_("size"), null=True, blank=True)
    who = models.CharField(_("who"), max_length=200, blank=True)
    at = models.DateTimeField(_("when"), default=timezone.now)

    objects = OrderQuerySet.as_manager()

    class Meta:
        """Read in the order in which they came; nobody adds, changes or deletes rows by hand."""

        default_permissions = ()
        ordering: ClassVar = ["pk"]
        verbose_name = _("pool order")
        verbose_name_plural = _("drain and resize")

    def __str__(self) -> str:
        return f"{self.action} {self.alias} {self.pk}"
