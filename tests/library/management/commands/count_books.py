"""A command of the site's own."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from tests.library.models import Book


class Command(BaseCommand):
    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(str(Book.objects.count()))
