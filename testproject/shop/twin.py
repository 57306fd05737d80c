"""The twin that the settings chose: the shop as it is, or mended."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from django.conf import settings


def twin(module: str) -> ModuleType:
    """Return the chosen twin's module, such as ``views``."""
    return import_module(f"testproject.shop.{settings.SHOP_TWIN}.{module}")
