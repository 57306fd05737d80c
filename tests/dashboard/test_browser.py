"""The pages in a real browser under a strict policy: no error, no axe violation, every button does its work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import Client
from playwright.sync_api import sync_playwright

from tests.servers.chromium import Chromium
from tests.servers.registry import get

pytestmark = [pytest.mark.server, pytest.mark.django_db(transaction=True)]

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'"
HOME = "/admin/noa_perf/dashboard/"
PAGES = ["", "queries/", "routes/", "n-plus-one/", "slow/"]


class Policy:
    """Middleware that lets pages do nothing inline."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response


@pytest.fixture
def site(settings: Any, live_server: Any, traffic: None) -> tuple[str, str]:
    """Return the address of a running site and the session of somebody who may look."""
    settings.MIDDLEWARE = ["tests.dashboard.test_browser.Policy", *settings.MIDDLEWARE]
    client = Client()
    client.force_login(User.objects.create_superuser("ada"))
    return live_server.url, client.cookies["sessionid"].value


class Browser:
    """Opens pages, and keeps what went wrong on them."""

    def __init__(self, browser: Any, site: tuple[str, str]) -> None:
        self.browser = browser
        self.url, self.session = site
        self.errors: list[str] = []

    def open(self, address: str, *, scheme: str = "light", width: int = 1280) -> Any:
        context = self.browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=self.url)
        context.add_cookies([{"name": "sessionid", "value": self.session, "url": self.url}])
        page = context.new_page()
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(self.url + address)
        return page

    def _note(self, message: Any) -> None:
        if message.type == "error" and "favicon" not in str(message.location):
            self.errors.append(message.text)


def follow(page: Any, link: Any) -> None:
    """Click what leads to another page, and wait until all of that page is there, as a click alone does not."""
    with page.expect_navigation():
        link.click()


@pytest.fixture
def browser(site: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    # Playwright's loop runs in this thread; Django would refuse the test's own clean-up beside it.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    with sync_playwright() as playwright:
        connected = playwright.chromium.connect_over_cdp(get(Chromium).urls()["devtools"])
        opened = Browser(connected, site)
        try:
            yield opened
        finally:
            for context in connected.contexts:
                context.close()
            connected.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_every_page_loads_without_an_error_fits_and_is_accessible(browser, scheme, width):
    for address in PAGES:
        page = browser.open(HOME + address, scheme=scheme, width=width)
        assert page.locator(".np").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{address} is too wide"
        found = Axe().run(page, context=".np").response["violations"]
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == [], address
        page.context.close()

    assert browser.errors == []


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
@pytest.mark.parametrize(("listed", "stats"), [("queries/", 5), ("routes/", 6), ("n-plus-one/", 4)])
def test_the_page_of_one_thing(browser, listed, stats, scheme, width):
    page = browser.open(HOME + listed, scheme=scheme, width=width)
    follow(page, page.locator(".np td a").first)

    assert page.locator(".np-stat").count() == stats
    assert page.locator("svg.chart").count() >= 1
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert Axe().run(page, context=".np").response["violations"] == []
    assert browser.errors == []


def test_every_export_answers(browser):
    for listed in PAGES:
        page = browser.open(HOME + listed)
        addresses = page.eval_on_selector_all(".np a[href*='format=']", "links => links.map(link => link.href)")
        assert addresses
        for address in addresses:
            answer = page.request.get(address)
            assert answer.status == 200
            assert "html" not in answer.headers["content-type"]
        page.context.close()


def test_every_tab_window_and_fold_works(browser):
    page = browser.open(HOME)
    for index in range(page.locator(".np-tabs a").count()):
        follow(page, page.locator(".np-tabs a").nth(index))
        for window in range(page.locator(".np-windows a").count()):
            follow(page, page.locator(".np-windows a").nth(window))
            assert page.locator(".np-windows [aria-current]").count() == 1
        for fold in page.locator(".np summary").all():
            fold.click()

    assert browser.errors == []


@pytest.mark.parametrize("listed", ["", "n-plus-one/", "queries/1", "routes/1", "n-plus-one/1"])
def test_every_copy_button_copies(browser, listed):
    page = browser.open(HOME + listed.removesuffix("1"))
    if listed.endswith("1"):
        follow(page, page.locator(".np td a").first)
    buttons = page.locator(".np-copy")
    assert buttons.count() >= 1

    for button in buttons.all():
        button.click()
        page.wait_for_function("element => element.textContent === '✓'", arg=button.element_handle())
        assert page.evaluate("navigator.clipboard.readText()") == button.get_attribute("data-copy")


def test_all_works_without_script(browser):
    context = browser.browser.new_context(java_script_enabled=False)
    context.add_cookies([{"name": "sessionid", "value": browser.session, "url": browser.url}])
    page = context.new_page()
    page.goto(browser.url + HOME)
    follow(page, page.get_by_role("link", name="Evidence for N+1"))

    assert page.get_by_role("heading", name="N+1").count() >= 1
    page.goto(browser.url + HOME + "queries/")
    page.locator("details summary").first.click()
    assert page.locator("details table").first.is_visible()


def test_the_figures_are_fetched_anew_unless_somebody_reads(browser):
    page = browser.open(HOME)
    before = page.locator(".np > .np-note").inner_text()
    page.evaluate("document.getElementById('np-live').dataset.mark = 'old'")
    page.evaluate("window.noaPerfRefresh()")

    page.wait_for_function("document.getElementById('np-live').dataset.mark === undefined")
    assert "collected" in before
    page.goto(browser.url + HOME + "queries/")
    page.locator("details summary").first.click()
    page.evaluate("document.getElementById('np-live').dataset.mark = 'old'")
    page.evaluate("window.noaPerfRefresh()")
    assert page.evaluate("document.getElementById('np-live').dataset.mark") == "old"
