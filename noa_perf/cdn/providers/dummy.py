"""An edge that is none: it remembers what it was asked, for tests and development."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from noa_perf.cdn.providers.base import Provider


@dataclass(frozen=True, slots=True, kw_only=True)
class DummyOptions:
    """What a dummy's entry may hold."""

    url: str = "http://localhost"
    """Where viewers reach it."""


class Dummy(Provider):
    """Keeps every purge in :attr:`asked`."""

    options = DummyOptions
    tag_header = "Cache-Tag"
    tag_separator = ","

    def __init__(self, name: str, options: DummyOptions) -> None:
        """Start without having been asked anything."""
        super().__init__(name)
        self._url = options.url.rstrip("/")
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    @property
    def url(self) -> str:
        """Where viewers would reach it."""
        return self._url

    def purge_urls(self, urls: Sequence[str]) -> str:
        """Remember it."""
        return self._remember("urls", urls)

    def purge_prefixes(self, prefixes: Sequence[str]) -> str:
        """Remember it."""
        return self._remember("prefixes", prefixes)

    def purge_tags(self, tags: Sequence[str], *, soft: bool) -> str:
        """Remember it."""
        return self._remember("soft tags" if soft else "tags", tags)

    def purge_all(self) -> str:
        """Remember it."""
        return self._remember("all", ())

    def _remember(self, what: str, which: Sequence[str]) -> str:
        self.asked.append((what, tuple(which)))
        return f"{what} {', '.join(which)}".strip()
