"""A page of Chromium for tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import sync_playwright

from tests.servers.chromium import Chromium
from tests.servers.registry import get


@contextmanager
def page(**options: Any) -> Iterator[Any]:
    """Open a page of a context of its own; what goes wrong on it fails the test."""
    with sync_playwright() as playwright:
        connected = playwright.chromium.connect_over_cdp(get(Chromium).urls()["devtools"])
        context = connected.new_context(**options)
        errors: list[str] = []
        opened = context.new_page()
        opened.on("pageerror", lambda error: errors.append(str(error)))
        try:
            yield opened
            assert errors == []
        finally:
            context.close()
            connected.close()
