"""Headless Chromium, driven over its DevTools port; it talks to the loopback interface alone."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import ClassVar

from tests.servers.base import Server, free_port

ARGUMENTS = (
    "--headless",
    "--no-sandbox",  # root, and containers, have no user namespaces to give
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--remote-allow-origins=*",
)


class Chromium(Server):
    """One browser for the run; each test opens a context of its own."""

    name = "chromium"
    programs: ClassVar[dict[str, str]] = {"chromium": "chromium"}
    files: ClassVar[dict[str, str]] = {"/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf": "fonts-dejavu-core"}

    def start(self) -> None:
        """Start it with an empty profile, and return when it answers."""
        self.port = free_port()
        self.spawn(
            "chromium",
            "chromium",
            *ARGUMENTS,
            f"--remote-debugging-port={self.port}",
            f"--user-data-dir={self.folder / 'profile'}",
            "about:blank",
        )
        self.wait_until(self._answers, "DevTools")

    def urls(self) -> dict[str, str]:
        """Return the address of the DevTools port."""
        return {"devtools": f"http://127.0.0.1:{self.port}"}

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.urls()['devtools']}/json/version", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False
