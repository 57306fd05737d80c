"""Reads the links of an HTML page, whatever state the page is in."""

from __future__ import annotations

from contextlib import suppress
from html.parser import HTMLParser
from typing import NamedTuple

ACTING = frozenset(
    """
    data-method data-turbo-method data-http-method data-confirm data-turbo-confirm up-method up-confirm
    hx-confirm hx-post hx-put hx-patch hx-delete data-hx-confirm data-hx-post data-hx-put data-hx-patch data-hx-delete
    """.split()
)
"""Attributes by which a link says that it does something, rather than lead somewhere."""

_Attributes = list[tuple[str, str | None]]


class Link(NamedTuple):
    """One link, as it is written."""

    href: str
    acts: bool = False
    """Whether the page marks it as an action, or as none for robots to follow."""
    download: bool = False


def read(html: str) -> tuple[str, list[Link]]:
    """Return the address that links are relative to (empty if the page names none), and the links in their order."""
    reader = _Reader()
    with suppress(AssertionError):  # html.parser's word for a declaration that it cannot read
        reader.feed(html)
    return reader.base, reader.links


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.base = ""
        self.links: list[Link] = []

    def handle_starttag(self, tag: str, attrs: _Attributes) -> None:
        if tag not in ("a", "area", "base", "link"):
            return
        named = {name: value or "" for name, value in attrs}
        if "href" not in named:
            return
        rel = named.get("rel", "").lower().split()
        if tag == "base":
            self.base = self.base or named["href"]
        elif tag != "link" or "next" in rel:
            self.links.append(Link(named["href"], _acts(named, rel), "download" in named))


def _acts(named: dict[str, str], rel: list[str]) -> bool:
    asks = "confirm(" in named.get("onclick", "")
    return asks or "nofollow" in rel or not ACTING.isdisjoint(named)
