"""Print the URLs of the first visit as JSON: every public page, and the pages of the staff that show pictures."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand
from django.urls import reverse
from wagtail.models import Page


class Command(BaseCommand):
    """The same magazine gives the same list."""

    help = __doc__ or ""

    def handle(self, **options: Any) -> None:
        """Print both lists."""
        public = [page.url for page in Page.objects.live().filter(depth__gt=1)]
        names = (
            "wagtailadmin_home",
            "wagtailimages:index",
            "wagtailimages_chooser:choose",
            "wagtailadmin_explore_root",
        )
        self.stdout.write(json.dumps({"visitor": public, "staff": [*public, *map(reverse, names)]}))
