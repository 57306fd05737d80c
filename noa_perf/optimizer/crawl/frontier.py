"""Chooses the page to ask for next, so that few pages cover a whole site, and counts what is left alone."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any, NamedTuple

from noa_perf.optimizer.crawl import unsafe
from noa_perf.optimizer.crawl.addresses import Address, is_file
from noa_perf.optimizer.crawl.patterns import match_of, values_of

HANDFUL = 5
"""Pages of one URL pattern that are asked for."""
HANDFUL_OF_FOLDER = 12
"""Pages in one folder of a pattern that takes whole paths, for those may be of many kinds."""
MAX_FOLDERS = 50
"""Folders of such a pattern: some sites have no end to them."""
MAX_QUERIES = 3
"""Query strings with which one path is asked for."""
MAX_SEEN = 100_000
"""Addresses remembered, so that none is counted twice."""
MAX_KINDS = 10_000
EXAMPLES = 5

REASONS = {
    "unsafe": "log out, delete or the like by their name (--url asks for one all the same)",
    "action": "are marked as actions, or as not to be followed",
    "skipped": "match --skip",
    "file": "are files: static, uploaded, or to be downloaded",
    "elsewhere": "lead to another site, or to no page at all",
    "malformed": "are no usable address",
    "alike": "are answered by a URL pattern of which enough pages were asked for",
    "variant": "differ only in the query from pages asked for",
    "login": "lie below a page that sent its visitor to the login",
    "crowded": "are of more kinds, or in more folders, than are remembered",
    "beyond": "were found, and come after the last page asked for",
}
"""Why links and patterns are left alone, as the end of a sentence."""


@dataclass(slots=True)
class LeftAlone:
    """What was left alone for one reason."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, address: str) -> None:
        """Count one address."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(address[:200])


class _Waiting(NamedTuple):
    found: int
    linked: bool
    address: Address


@dataclass(slots=True)
class _Kind:
    """The pages that one URL pattern answers, or one folder of a pattern that takes whole paths."""

    route: str
    limit: int
    asked: int = 0
    waiting: deque[_Waiting] = field(default_factory=deque)


class Frontier:
    """Addresses not asked for yet, by kind; the kind asked for least comes first."""

    def __init__(self, skip: Iterable[str] = ()) -> None:
        """Leave alone what matches one of the patterns ``skip``."""
        self.left_alone: dict[str, LeftAlone] = {}
        self._skip = tuple(skip)
        self._kinds: dict[tuple[str, str], _Kind] = {}
        self._folders: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()
        self._seen: set[Address] = set()
        self._left: set[str] = set()
        self._queries: Counter[str] = Counter()
        self._taken: Counter[bool] = Counter()
        self._found = 0

    def offer(self, address: Address, *, linked: bool, named: bool = False) -> None:
        """Add an address that a link, or a URL pattern, leads to; one that a person ``named`` is not judged."""
        if address in self._seen:
            return
        if len(self._seen) >= MAX_SEEN:
            self.leave("crowded", str(address))
            return
        self._seen.add(address)
        match = match_of(address.path)
        kind = self._kind_of(address, match)
        reason = "" if named else self._reason(address, match, kind)
        if reason or kind is None:
            self.leave(reason or "crowded", str(address))
            return
        self._found += 1
        self._queries[address.path] += bool(address.query)
        kind.waiting.append(_Waiting(self._found, linked, address))

    def leave(self, reason: str, address: str) -> None:
        """Count an address that is left alone, once."""
        if address in self._left:
            return
        if len(self._left) < MAX_SEEN:
            self._left.add(address)
        self.left_alone.setdefault(reason, LeftAlone()).add(address)

    def take(self) -> Address | None:
        """Return the next address: of the kind asked for least; links and patterns in turn; then as found."""
        waiting = [kind for kind in self._kinds.values() if kind.waiting]
        chosen = min(waiting, key=self._order, default=None)
        if chosen is None:
            return None
        first = chosen.waiting.popleft()
        chosen.asked += 1
        self._asked[chosen.route] += 1
        self._taken[first.linked] += 1
        return first.address

    def behind_login(self, page: Address, login: Address) -> None:
        """Leave alone the patterns below a page that sent its visitor to ``login``; below the root lies all."""
        for kind in self._kinds.values() if page.path != "/" else ():
            for one in [each for each in kind.waiting if not each.linked and each.address != login]:
                if one.address.path == page.path or one.address.path.startswith(page.path.rstrip("/") + "/"):
                    kind.waiting.remove(one)
                    self.leave("login", str(one.address))

    def close(self) -> None:
        """Count what is still waiting as left alone."""
        for one in sorted(each for kind in self._kinds.values() for each in kind.waiting):
            self.leave("beyond", str(one.address))

    def _order(self, kind: _Kind) -> tuple[int, int, int]:
        first = kind.waiting[0]
        # A pattern with folders has its turn a dozen times at once, and not for each new folder again.
        rounds = max(kind.asked, self._asked[kind.route] // HANDFUL_OF_FOLDER)
        return rounds, self._taken[first.linked], first.found

    def _reason(self, address: Address, match: Any, kind: _Kind | None) -> str:
        if any(fnmatch(str(address), pattern) for pattern in self._skip):
            return "skipped"
        if is_file(address):
            return "file"
        if unsafe.is_unsafe(address.path, address.query, match):
            return "unsafe"
        if address.query and self._queries[address.path] >= MAX_QUERIES:
            return "variant"
        return "alike" if kind is not None and kind.asked + len(kind.waiting) >= kind.limit else ""

    def _kind_of(self, address: Address, match: Any) -> _Kind | None:
        route, folder = match.route if match is not None else "", _folder(address.path, match)
        kind = self._kinds.get((route, folder))
        if kind is None and len(self._kinds) < MAX_KINDS and self._folders[route] < MAX_FOLDERS:
            self._folders[route] += 1
            kind = self._kinds[route, folder] = _Kind(route, HANDFUL_OF_FOLDER if folder else HANDFUL)
        return kind


def _folder(path: str, match: Any) -> str:
    """Return the folder of a path that no pattern answers, or one that takes whole paths; empty for others."""
    whole = match is None or any("/" in value for value in values_of(match))
    return path.rstrip("/").rpartition("/")[0] + "/" if whole else ""
