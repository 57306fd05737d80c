"""The pages of the pools in a real browser, with an hour behind them: they fit, light and dark, and are accessible."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import sync_playwright

from noa_perf.core.clock import ManualClock
from noa_perf.metrics import rollup
from noa_perf.metrics.recorder import Tally
from noa_perf.metrics.rollup import Writer
from noa_perf.pool import databases
from noa_perf.pool.models import PoolOrder
from noa_perf.pool.options import PoolOptions
from tests.dashboard.test_browser import POLICY, Browser, follow
from tests.servers.chromium import Chromium
from tests.servers.registry import get

pytestmark = [pytest.mark.server, pytest.mark.django_db(transaction=True)]

HOME = "/admin/noa_perf/dashboard/pools/"
OPERATE = "/admin/noa_perf_pool/poolorder/"
LINE = "/srv/shop/catalogue/exports.py:118 in nightly_export"


def hour(now: float) -> None:
    """Write an hour of two pools in four processes."""
    for minute in range(59, -1, -1):
        clock, tally = ManualClock(wall=now - minute * 60), Tally()
        for pool, size, share in (("default", 20, 0.8), ("reports", 4, 1.0)):
            used = round(size * share * (1 + math.sin(minute / 9)) / 2 * 4)
            waiting = max(0, used - round(size * 3.4))
            ms = 4 * 60_000
            seen = {"used": used * 60_000, "idle": (size * 4 - used) * 60_000, "waiting": waiting * 60_000}
            waits = {0: 900, 12: 20 + 3 * waiting, 17: 4 * waiting}
            tally.add(
                "pool",
                (pool,),
                sum(waits.values()),
                2.0,
                waits,
                **seen,
                limit=size * ms,
                ms=ms,
                waited=20 + 7 * waiting,
            )
            tally.add("pool_checkout", (pool,), 900, 9.0, {12: 600, 14: 250, 17: 50})
            for cause, many in (("lifetime", 1), ("idle", used % 3), ("dead", int(minute == 20) * 12)):
                tally.add("pool_recycled", (pool, cause), many)
        tally.add("pool_cleaned", ("default", "session"), 3)
        tally.add("pool_cleaned", ("default", "transaction"), 1)
        assert Writer(tally, clock, "default").flush(force=True)
    tally = Tally()
    stack = [LINE, *(f"/srv/venv/lib/python3.13/site-packages/celery/app/trace.py:{line} in run" for line in range(20))]
    labels = "reports", LINE, "reports/<int:year>/export/"
    tally.add("pool_leak", labels, 2, 130.0)
    tally.note("pool_leak", labels, {"at": now, "age": 71.2, "thread": "Thread-12 (worker)", "stack": stack})
    tally.add("pool", ("reports",), 0, leaks=2, timeouts=3, failed_OperationalError=7)
    steps = [
        {"at": now - 900, "before": 2, "after": 9, "why": "grown on demand: 9 in use, 3 waiting"},
        {"at": now - 60, "before": 9, "after": 6, "why": "shrunk by 3: 41.2/s × 20.1 ms = 0.83 in use, 5 at the peak"},
    ]
    tally.add("pool_step", ("default", "web-1.example:4711"), 2)
    tally.note("pool_step", ("default", "web-1.example:4711"), {"steps": steps})
    Writer(tally, ManualClock(wall=now), "default").flush(force=True)
    PoolOrder.objects.create(alias="default", action="resize", value=24, who="grace")
    PoolOrder.objects.create(alias="default", action="drain", who="grace")


@pytest.fixture
def browser(settings: Any, live_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    hour(time.time())
    monkeypatch.setattr(databases, "load", lambda alias: PoolOptions())
    monkeypatch.setattr(databases, "aliases", lambda: ["default", "reports"])
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    settings.MIDDLEWARE = ["tests.dashboard.test_browser.Policy", *settings.MIDDLEWARE]
    client = Client()
    client.force_login(User.objects.create_superuser("ada"))
    with sync_playwright() as playwright:
        connected = playwright.chromium.connect_over_cdp(get(Chromium).urls()["devtools"])
        yield Browser(connected, (live_server.url, client.cookies["sessionid"].value))
        for context in connected.contexts:
            context.close()
        connected.close()


def looked_at(page: Any, within: str, name: str) -> None:
    """Refuse what is too wide or cannot be used by everybody; with NOA_PERF_SHOTS set, keep a picture there."""
    if "NOA_PERF_SHOTS" in os.environ:
        page.screenshot(path=str(Path(os.environ["NOA_PERF_SHOTS"]) / f"{name}.png"), full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{name} is too wide"
    # Without its look into style sheets, of which it asks what they import beside the page instead of beside them.
    found = Axe().run(page, context=within, options={"preload": False}).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == [], name


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_every_page_fits_and_is_accessible(browser: Browser, scheme: str, width: int) -> None:
    leak = f"{HOME}{rollup.digest('pool_leak', ('reports', LINE, 'reports/<int:year>/export/'))}/"
    assert "style-src 'self'" in POLICY
    for name, address, within in (("pool", HOME, ".np"), ("leak", leak, ".np"), ("operate", OPERATE, "#content")):
        page = browser.open(address, scheme=scheme, width=width)
        looked_at(page, within, f"{name}-{scheme}-{width}")
        page.context.close()
    assert browser.errors == []


@pytest.mark.parametrize("width", [1280, 390])
def test_a_pool_is_resized_in_two_steps(browser: Browser, width: int) -> None:
    page = browser.open(OPERATE, width=width)
    page.select_option("select[name=action]", "resize")
    page.select_option("select[name=alias]", "reports")
    page.fill("input[name=value]", "6")
    follow(page, page.locator("input[type=submit]"))
    looked_at(page, "#content", f"confirm-light-{width}")
    assert PoolOrder.objects.count() == 2
    follow(page, page.locator("input[name=confirmed]"))
    looked_at(page, "#content", f"ordered-light-{width}")
    row = PoolOrder.objects.latest("pk")
    assert (row.alias, row.value, row.who) == ("reports", 6, "ada")
    assert browser.errors == []
