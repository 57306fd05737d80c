"""Celery's wrappers around plain functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps

if TYPE_CHECKING:
    from noa_perf.cdn.fields import PictureField

try:
    from celery import shared_task
except ImportError as error:
    raise ImportError('PictureField(processing="celery") needs Celery: pip install noa-perf[celery].') from error


@shared_task(name="noa_perf.cdn.process_picture", ignore_result=True, acks_late=True)  # type: ignore[untyped-decorator]
def process_picture(label: str, pk: Any, name: str) -> None:
    """Make the variants of one row's picture; a row that is gone by now is no error."""
    model = apps.get_model(label)
    field: PictureField = model._meta.get_field(name)
    instance = model._base_manager.filter(pk=pk).first()
    if instance is not None and getattr(instance, field.attname):
        field.process(instance)
