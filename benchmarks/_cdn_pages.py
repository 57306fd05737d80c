"""Two pages of the test project as a visitor gets them, before anything is published: ``python -m …`` prints JSON."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

PAGES = {"the shop's front page": "/", "the admin's login page": "/admin/login/"}


def prepare() -> None:
    """Set up the test project with a database that nobody else uses, and plain names of static files."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "testproject.settings"
    os.environ["SHOP_DEBUG"] = "0"
    os.environ["SHOP_DATABASE"] = str(Path(tempfile.mkdtemp(prefix="noa-perf-pages-")) / "shop.sqlite3")
    import django
    from django.conf import settings

    settings.STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    django.setup()


def main() -> None:
    """Print the pages' HTML."""
    prepare()
    from django.core.management import call_command
    from django.test import Client

    call_command("migrate", verbosity=0)
    client = Client()
    found = {}
    for name, address in PAGES.items():
        answer = client.get(address)
        if answer.status_code != 200:
            raise RuntimeError(f"{address} answered {answer.status_code}")
        found[name] = answer.content.decode()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
