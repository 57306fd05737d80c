"""Print pages of the site as JSON: each URL with its status and its body."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand
from django.test import Client
from django.test.utils import setup_test_environment


class Command(BaseCommand):
    """Fetch each URL by Django's test client, as a visitor or as the user named by --as."""

    help = __doc__ or ""

    def add_arguments(self, parser: Any) -> None:
        """Add the URLs and who asks for them."""
        parser.add_argument("urls", nargs="+")
        parser.add_argument("--as", dest="user", default="")

    def handle(self, *, urls: list[str], user: str, **options: Any) -> None:
        """Fetch and print."""
        setup_test_environment(debug=False)
        pages = {}
        for url in urls:
            client = Client(raise_request_exception=False, headers={"host": "localhost"})
            if user:
                client.force_login(get_user_model().objects.get(username=user))
            response = client.get(url)
            body = b"".join(response) if response.streaming else response.content
            pages[url] = {"status": response.status_code, "body": body.decode(errors="replace")}
        self.stdout.write(json.dumps(pages))
