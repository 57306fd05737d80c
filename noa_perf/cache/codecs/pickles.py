"""Pickles that name the models in them, so that another deploy's are told from one's own."""

from __future__ import annotations

import hashlib
import io
import pickle
from functools import lru_cache
from typing import Any

import django
from django.apps import apps
from django.core.signals import setting_changed
from django.db.models.base import ModelBase
from django.dispatch import receiver


class _Pickler(pickle.Pickler):
    """Takes note of the models that it meets: as instances, or as what a queryset asked for."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.models: set[str] = set()

    def reducer_override(self, obj: Any) -> Any:
        model = obj if isinstance(obj, ModelBase) else type(obj)
        if isinstance(model, ModelBase):
            meta = getattr(model, "_meta", None)
            if meta is not None and not meta.abstract:
                self.models.add(meta.label_lower)
        return NotImplemented


def dumps(value: Any) -> tuple[bytes, str]:
    """Return ``value`` pickled, and the labels of the models in it, joined with commas.

    Raises whatever pickling raises.
    """
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(value)
    return file.getvalue(), ",".join(sorted(pickler.models))


loads = pickle.loads


@lru_cache(maxsize=1024)
def fingerprint(labels: str) -> bytes:
    """Return four bytes that change with the fields of the models ``labels``, or with Django's version.

    Raises LookupError where there is no such model any more.
    """
    told = hashlib.blake2b(django.__version__.encode(), digest_size=4)
    for label in labels.split(","):
        for field in apps.get_model(label)._meta.concrete_fields:
            told.update(f"{label}.{field.attname}:{type(field).__name__};".encode())
    return told.digest()


@receiver(setting_changed)
def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "INSTALLED_APPS":
        fingerprint.cache_clear()
