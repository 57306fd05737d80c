"""What one asset names of others: where in its text, which file is meant, and how the new name is written. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, unquote

Kind = Literal["url", "import", "map"]

_END = re.compile(r"[?#]")
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:|//")


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    """A stretch of text that names another file."""

    start: int
    """Where the name begins in the text, in characters; quotes are outside."""
    end: int
    target: str
    """The name as it is meant, escapes undone."""
    kind: Kind
    """``url`` (CSS, ``new URL``), ``import`` (a JavaScript module), ``map`` (a source map)."""


@dataclass(frozen=True, slots=True)
class Target:
    """The file that a reference means."""

    path: str
    """As ``{% static %}`` is given it."""
    suffix: str
    """What follows the name: ``?#iefix``, ``#icon``."""
    rooted: bool
    """Whether it was written from ``STATIC_URL`` on, and not from the file that names it."""


def resolve(source: str, reference: Reference, static_url: str) -> Target | None:
    """Return which file the reference in ``source`` means; None where it is no file of ours.

    Addresses, ``data:``, fragments alone, folders and names of packages are none of ours. A name that leaves the root
    comes back with its ``..``, so that it is found missing.
    """
    name = _END.split(reference.target.strip(), maxsplit=1)[0]
    suffix = reference.target.strip()[len(name) :]
    if name.rpartition("/")[2] in {"", ".", ".."}:
        return None
    if static_url.startswith("/") and name.startswith(static_url):
        return Target(posixpath.normpath(unquote(name[len(static_url) :])), suffix, rooted=True)
    if _SCHEME.match(name) or name.startswith("/"):
        return None
    if reference.kind == "import" and not name.startswith(("./", "../")):
        return None
    return Target(posixpath.normpath(posixpath.join(posixpath.dirname(source), unquote(name))), suffix, rooted=False)


def written(source: str, reference: Reference, target: Target, name: str, static_url: str) -> str:
    """Return how the published ``name`` of ``target`` is written in place of the reference.

    It is percent-encoded, so that it needs no quotes and no escapes in CSS or JavaScript.
    """
    if target.rooted:
        return static_url + quote(name) + target.suffix
    relative = quote(posixpath.relpath(name, posixpath.dirname(source) or "."))
    if reference.kind == "import" and not relative.startswith("../"):
        relative = "./" + relative
    return relative + target.suffix


def rewrite(text: str, references: Iterable[Reference], new: Callable[[Reference], str | None]) -> str:
    """Return ``text`` with each reference replaced by what ``new`` says; None leaves it as it is."""
    parts, at = [], 0
    for reference in sorted(references):
        name = new(reference)
        if name is not None:
            parts += [text[at : reference.start], name]
            at = reference.end
    return "".join([*parts, text[at:]])


def knots(graph: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return the files in groups, each after those that it names; files that name one another share a group.

    Tarjan's algorithm (1972), without recursion: chains of imports may be longer than Python's stack.
    """
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    open_: dict[str, None] = {}
    groups: list[list[str]] = []
    for root in sorted(graph):
        if root in index:
            continue
        index[root] = low[root] = len(index)
        open_[root] = None
        work = [(root, iter(sorted(graph[root])))]
        while work:
            node, rest = work[-1]
            child = next((each for each in rest if each in graph), None)
            if child is None:
                work.pop()
                _close(node, index, low, open_, groups)
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
            elif child not in index:
                index[child] = low[child] = len(index)
                open_[child] = None
                work.append((child, iter(sorted(graph[child]))))
            elif child in open_:
                low[node] = min(low[node], index[child])
    return groups


def _close(
    node: str, index: dict[str, int], low: dict[str, int], open_: dict[str, None], groups: list[list[str]]
) -> None:
    if low[node] != index[node]:
        return
    group = []
    while True:
        last, _ = open_.popitem()
        group.append(last)
        if last == node:
            groups.append(sorted(group))
            return
