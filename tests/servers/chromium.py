"""Headless Chromium, driven over its DevTools port; it talks to the loopback interface alone."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import ClassVar

from tests.servers.base import Server

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
    "--remote-debugging-port=0",  # one that is free, which it writes into its profile
)


class Chromium(Server):
    """One browser for the run; each test opens a context of its own."""

    name = "chromium"
    programs: ClassVar[dict[str, str]] = {"chromium": "chromium"}
    files: ClassVar[dict[str, str]] = {"/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf": "fonts-dejavu-core"}

    def start(self) -> None:
        """Start it with an empty profile, and return when it answers."""
        profile = self.folder / "profile"
        self.spawn("chromium", "chromium", *ARGUMENTS, f"--user-data-dir={profile}", "about:blank")
        told = profile / "DevToolsActivePort"
        self.wait_until(lambda: told.exists() and "\n" in told.read_text(), "DevTools")
        self.ports["devtools"] = int(told.read_text().split()[0])
        self.wait_until(self._answers, "DevTools")

    def urls(self) -> dict[str, str]:
        """Return the address of the DevTools port."""
        return {"devtools": f"http://127.0.0.1:{self.ports['devtools']}"}

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.urls()['devtools']}/json/version", timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            return False
