"""The departments in every page's header."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from .models import Category


def departments(request: HttpRequest) -> dict[str, Any]:
    """Add the top categories to a page's context; unread on pages without the header."""
    return {"departments": Category.objects.filter(parent=None).only("name", "slug")}
