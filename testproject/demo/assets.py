"""The front page's files, as they are and published: bytes and requests, at the origin and through an edge."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from noa_perf.cdn.pipeline.javascript import references
from noa_perf.core.commands import progress, table

from .children import ROOT, Child, DemoError

if TYPE_CHECKING:
    from tests.servers.varnish import Varnish

PAGE = "/"
SCREEN = 1_280
"""Pixels that the window is wide."""
SLOT = 1_120
"""Pixels at which it shows the picture: the page says so by ``sizes``."""
VISITORS = 20
"""Who come for the first time, through the edge and without."""
ROUNDS = 7
"""Loads in the browser, of which the median counts."""
LATENCY, SPEED = 150, 1.6
"""The line that the browser has: milliseconds there and back, and megabits a second. What Lighthouse calls slow 4G."""
WITHOUT = (
    "(Varnish and Chromium are not both installed, so nothing was loaded through an edge: make test, as root, installs "
    "them.)"
)


@dataclass(slots=True)
class Visit:
    """What a browser asked for, beside the page itself."""

    requests: int = 0
    bytes: int = 0
    """Of the bodies, as they were sent."""
    origin: int = 0
    """Requests that reached the site itself."""


@dataclass(slots=True)
class Site:
    """One way to serve the files."""

    first: Visit
    next: Visit
    """The same browser, an hour later."""
    crowd: Visit | None = None
    """Visitors who come for the first time, with product images: through the edge, where there is one."""
    load_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Assets:
    """What came of it."""

    plain: Site
    published: Site

    def as_dict(self) -> dict[str, Any]:
        """Return all figures, for a program."""
        return {"plain": _figures(self.plain), "published": _figures(self.published), "visitors": VISITORS}

    @property
    def title(self) -> str:
        """What was done, in a sentence."""
        return "The front page's style sheet, scripts and picture, as they are and published by cdn_deploy:"

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """The figures, side by side."""
        one, two = self.plain, self.published
        rows = [
            _row("first visit: requests", one.first.requests, two.first.requests),
            _row("first visit: bytes", one.first.bytes, two.first.bytes),
            _row("an hour later: requests", one.next.requests, two.next.requests),
            _row("an hour later: bytes", one.next.bytes, two.next.bytes),
        ]
        if one.crowd and two.crowd:
            label = f"{VISITORS} first visits, images too, through Varnish: at the origin"
            rows.append(_row(label, one.crowd.origin, two.crowd.origin))
        if one.load_ms and two.load_ms:
            label = "loaded in Chromium on slow 4G, through Varnish: ms"
            rows.append(_row(label, median(one.load_ms), median(two.load_ms)))
        return rows

    def as_table(self) -> str:
        """Return the figures for a person."""
        text = f"{self.title}\n\n{table(('', 'as they are', 'published', 'change'), self.rows, '<>>>')}"
        return text if self.published.load_ms else f"{text}\n\n{WITHOUT}"


def _row(label: str, old: float, new: float) -> tuple[str, str, str, str]:
    return label, f"{old:,.0f}", f"{new:,.0f}", f"{1 - new / old:.0%} less" if old > new else "–"


def _figures(site: Site) -> dict[str, Any]:
    return {
        "first": {"requests": site.first.requests, "bytes": site.first.bytes},
        "next": {"requests": site.next.requests, "bytes": site.next.bytes},
        "crowd_at_origin": site.crowd.origin if site.crowd else None,
        "load_ms": [round(each, 1) for each in site.load_ms],
    }


def assets(seeded: Path, run: Path, rounds: int = ROUNDS) -> Assets:
    """Publish the shop's files, and visit its front page with them as they are and as they were published.

    The page is loaded in a browser ``rounds`` times.
    """
    static = run / "static"
    _publish(static)
    with (
        Child("testproject.demo.server", seeded, run / "plain.sqlite3", "mended", "plain") as one,
        Child("testproject.demo.server", seeded, run / "published.sqlite3", "mended", f"published:{static}") as two,
    ):
        plain, published = (f"http://127.0.0.1:{child.hear()['port']}" for child in (one, two))
        found = Assets(_visited(plain), _visited(published))
        edge = _edge()
        if edge is not None:
            found.plain.crowd = _crowd(plain)
            edge.put_before(published)
            found.published.crowd = _crowd(edge.urls()["varnish"])
            _load(found, plain, edge.urls()["varnish"], rounds)
    return found


def _publish(static: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    environment |= {"DJANGO_SETTINGS_MODULE": "testproject.settings", "SHOP_STATIC": str(static)}
    command = [sys.executable, "manage.py", "cdn_deploy", "--format", "json"]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode or not json.loads(done.stdout)["release"]:
        raise DemoError("the shop's files could not be published; what was written above says why.")


def _edge() -> Varnish | None:
    """Return Varnish, started for this; None where it, or Chromium, is not installed."""
    from tests.servers.base import MissingServer
    from tests.servers.chromium import Chromium
    from tests.servers.registry import get
    from tests.servers.varnish import Varnish

    try:
        get(Chromium)
        return get(Varnish)
    except MissingServer:
        return None


# A browser that draws nothing.


class _Page(HTMLParser):
    """Collects what a page links to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self._sources: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "picture":
            self._sources = []
        elif tag == "source" and self._sources is not None:
            self._sources.append(given["srcset"])
        elif tag == "img":
            self.links.append(_chosen(self._sources[0]) if self._sources else given["src"])
        elif tag == "script" and "src" in given:
            self.links.append(given["src"])
        elif tag == "link" and given.get("rel") == "stylesheet":
            self.links.append(given["href"])

    def handle_endtag(self, tag: str) -> None:
        if tag == "picture":
            self._sources = None


def _chosen(srcset: str) -> str:
    """Return the narrowest variant that fills the slot, or the widest."""
    options = sorted((int(width.removesuffix("w")), address) for address, width in map(str.split, srcset.split(", ")))
    return next((address for width, address in options if width >= SLOT), options[-1][1])


class _Browser:
    """Keeps what it may, and asks again for what it must."""

    def __init__(self, site: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(site).netloc, timeout=60)
        self._kept: dict[str, dict[str, str]] = {}

    def visit(self, within: str = "/static/") -> Visit:
        """Load the page and what it links to below ``within``, modules too."""
        visit, seen = Visit(), set()
        _status, _headers, page = self._get(PAGE, {})
        todo = [urljoin(PAGE, each) for each in _Page(page.decode()).links]
        while todo:
            path = todo.pop()
            if path in seen or not path.startswith(within):
                continue
            seen.add(path)
            body = self._file(path, visit)
            if path.endswith(".js"):
                todo += [urljoin(path, each.target) for each in references(body) if each.kind == "import"]
        return visit

    def _file(self, path: str, visit: Visit) -> str:
        kept = self._kept.get(path)
        if kept and "immutable" in kept["cache-control"]:
            return kept["body"]
        asked = {"If-None-Match": kept["etag"], "If-Modified-Since": kept["last-modified"]} if kept else {}
        status, headers, body = self._get(path, {name: value for name, value in asked.items() if value})
        if status not in {200, 304}:
            raise DemoError(f"{path} answered with status {status}.")
        visit.requests += 1
        visit.bytes += len(body)
        visit.origin += headers.get("x-cache") != "HIT"
        if status == 200:
            text = _text(body, headers) if path.endswith(".js") else ""
            names = ("cache-control", "etag", "last-modified")
            self._kept[path] = {**{name: headers.get(name, "") for name in names}, "body": text}
        return self._kept[path]["body"]

    def _get(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        accepted = {} if path == PAGE else {"Accept-Encoding": "gzip, br"}
        self._connection.request("GET", path, headers=headers | accepted)
        answer = self._connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def _text(body: bytes, headers: dict[str, str]) -> str:
    if headers.get("content-encoding") == "br":
        import brotli

        body = brotli.decompress(body)
    return body.decode()


def _visited(site: str) -> Site:
    browser = _Browser(site)
    return Site(browser.visit(), browser.visit())


def _crowd(site: str) -> Visit:
    """Let visitors come one after the other, each with nothing kept yet."""
    total = Visit()
    for _ in range(VISITORS):
        visit = _Browser(site).visit(within="/")
        total.requests += visit.requests
        total.bytes += visit.bytes
        total.origin += visit.origin
    return total


# And one that draws.


def _load(found: Assets, plain: str, edge: str, rounds: int) -> None:
    from playwright.sync_api import sync_playwright

    from tests.servers.chromium import Chromium
    from tests.servers.registry import get

    sides = ((plain, found.plain.load_ms), (edge, found.published.load_ms))
    with sync_playwright() as playwright:
        browser = playwright.chromium.connect_over_cdp(get(Chromium).urls()["devtools"])
        for _ in progress(range(rounds), total=rounds, label="Chromium"):
            for address, times in sides:
                times.append(_loaded(browser, address))
        browser.close()


def _loaded(browser: Any, address: str) -> float:
    """Return how long the page took to its load event, with nothing kept, in milliseconds."""
    context = browser.new_context(viewport={"width": SCREEN, "height": 800})
    page = context.new_page()
    line = {"offline": False, "latency": LATENCY, "downloadThroughput": SPEED * 125_000, "uploadThroughput": 93_750}
    context.new_cdp_session(page).send("Network.emulateNetworkConditions", line)
    page.goto(address + PAGE, wait_until="load")
    ms = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventStart")
    ready = page.evaluate("document.documentElement.dataset.script")
    context.close()
    if ready != "ready":
        raise DemoError(f"the shop's scripts did not run at {address}.")
    return float(ms)
