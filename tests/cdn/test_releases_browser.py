"""The page of releases, and the assets on the dashboard, in a real browser: they fit, light and dark, and work."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client, override_settings
from playwright.sync_api import sync_playwright

from noa_perf.cdn import service
from tests.cdn.files import photo
from tests.cdn.site import site, write
from tests.dashboard.test_browser import Browser, follow
from tests.pool.test_browser import looked_at
from tests.servers.chromium import Chromium
from tests.servers.registry import get

pytestmark = [pytest.mark.server, pytest.mark.django_db(transaction=True)]

RELEASES = "/admin/noa_perf_cdn/release/"
ASSETS = "/admin/noa_perf/dashboard/assets/"
FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
]


@pytest.fixture
def browser(settings: Any, live_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Browser]:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    settings.MIDDLEWARE = ["tests.dashboard.test_browser.Policy", *settings.MIDDLEWARE]
    storage = {
        "BACKEND": "noa_perf.cdn.storage.ReleaseStaticFilesStorage",
        "OPTIONS": {"refresh": 0, "manifest_strict": False},
    }
    client = Client()
    client.force_login(User.objects.create_superuser("ada"))
    with site(tmp_path, {"a.txt": "0", "hero.jpg": photo(60, 40)}, storage=storage):
        for place in range(4):
            write(tmp_path / "assets", {"a.txt": str(place)})
            call_command("cdn_deploy", stdout=io.StringIO())
        # What the test published has no files of the admin, which the live server serves by their plain names.
        # Not by the fixture "settings": it is taken back after site(), and would bring back what that has taken back.
        with override_settings(STATICFILES_FINDERS=FINDERS), sync_playwright() as playwright:
            connected = playwright.chromium.connect_over_cdp(get(Chromium).urls()["devtools"])
            yield Browser(connected, (live_server.url, client.cookies["sessionid"].value))
            for context in connected.contexts:
                context.close()
            connected.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_every_page_fits_and_is_accessible(browser: Browser, scheme: str, width: int) -> None:
    for name, address, within in (("releases", RELEASES, "#content"), ("assets", ASSETS, ".np")):
        page = browser.open(address, scheme=scheme, width=width)
        looked_at(page, within, f"{name}-{scheme}-{width}")
        page.context.close()
    assert browser.errors == []


def test_going_back_takes_two_steps(browser: Browser) -> None:
    listed = service.listed()
    assert listed[0]["live"]
    page = browser.open(RELEASES, width=390)
    follow(page, page.locator(f"button[value='{listed[2]['release']}']"))
    looked_at(page, "#content", "releases-confirm")
    assert service.releases().pointer().live == listed[0]["release"]
    follow(page, page.locator("input[name=confirmed]"))
    looked_at(page, "#content", "releases-done")
    assert service.releases().pointer().live == listed[2]["release"]
    assert browser.errors == []
