"""Celery's wrappers around plain functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import router

from noa_perf.cdn.fields import StorageFailed

if TYPE_CHECKING:
    from noa_perf.cdn.fields import PictureField

try:
    from celery import shared_task
except ImportError as error:
    raise ImportError('PictureField(processing="celery") needs Celery: pip install noa-perf[celery].') from error


RETRIES = 5


@shared_task(  # type: ignore[untyped-decorator]
    name="noa_perf.cdn.process_picture", bind=True, ignore_result=True, acks_late=True, max_retries=RETRIES
)
def process_picture(self: Any, label: str, pk: Any, name: str, using: str = "") -> None:
    """Make the variants of one row's picture; a row that is gone by now is no error."""
    model = apps.get_model(label)
    field: PictureField = model._meta.get_field(name)
    # Where it was written: a replica may not have it yet.
    alias = using or router.db_for_write(model)
    instance = model._base_manager.using(alias).filter(pk=pk).first()
    wait = 5 * 2**self.request.retries
    if instance is None:
        # Behind a proxy that spreads reads, the row may come later than the message.
        if not self.request.called_directly and self.request.retries < RETRIES:
            raise self.retry(countdown=wait)
    elif getattr(instance, field.attname):
        try:
            field.make(instance, using=alias)
        except StorageFailed as error:
            raise self.retry(exc=error, countdown=wait) from error
