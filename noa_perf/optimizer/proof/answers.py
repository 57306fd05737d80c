"""Whether a page answers alike: status, headers, cookies and the whole body, but for what varies by itself.

What varies is learned, token by token, from answers of the page as it is. All else has to be equal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

Parts = dict[str, list[Any]]
"""The pieces of an answer by their names, each cut into tokens."""

BODY = "body"
# With what stands in keys, times and base64: what is made anew each time is one token, however it is spelled.
_TOKEN = re.compile(rb"[\w+/=.:%\x80-\xff-]+|[^\w+/=.:%\x80-\xff-]")
_OF_MEASURING = re.compile(r"timing|runtime|duration|elapsed|quer(?:y|ies)|sql|djdt", re.IGNORECASE)
"""Headers that tell what an answer cost: a cure is to change that."""
FOLLOWING = frozenset({"content-length", "etag", "date", "age", "expires", "last-modified"})
"""Headers that follow from the body, or from the clock."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page answered."""

    status: int
    headers: dict[str, str]
    cookies: dict[str, str]
    body: bytes
    whole: bool = True
    """Whether ``body`` is all of it."""

    @classmethod
    def of(cls, response: Any, body: bytes, *, whole: bool) -> Answer:
        """Return that of a test client's response; None stands for a site that raised."""
        if response is None:
            return cls(500, {}, {}, body, whole)
        kept = ("path", "domain", "secure", "httponly", "samesite", "max-age")
        cookies = {name: morsel.OutputString(kept) for name, morsel in response.cookies.items()}
        return cls(response.status_code, dict(response.items()), cookies, body, whole)

    def parts(self) -> Parts:
        """Return its pieces."""
        found: Parts = {"status": [self.status]}
        for name, value in self.headers.items():
            if name.lower() not in FOLLOWING and not _OF_MEASURING.search(name):
                found[f"header {name.lower()}"] = _tokens(value.encode())
        for name, value in self.cookies.items():
            found[f"cookie {name}"] = _tokens(value.encode())
        return found | self._body()

    def _body(self) -> Parts:
        if "json" in self.headers.get("Content-Type", ""):
            try:
                return dict(_leaves(json.loads(self.body), BODY))
            except ValueError:
                pass
        return {BODY: _tokens(self.body)}


def _tokens(text: bytes) -> list[bytes]:
    return _TOKEN.findall(text)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, list[Any]]]:
    """Yield each part of a JSON document by its path; lists and objects as how many they hold."""
    if isinstance(value, dict):
        yield path, ["object", len(value)]
        for key, one in value.items():
            yield from _leaves(one, f"{path}.{key}")
    elif isinstance(value, list):
        yield path, ["list", len(value)]
        for number, one in enumerate(value):
            yield from _leaves(one, f"{path}[{number}]")
    else:
        yield path, _tokens(value.encode()) if isinstance(value, str) else [type(value).__name__, value]


@dataclass(slots=True)
class Likeness:
    """What all answers of one page have in common."""

    first: Answer
    parts: Parts
    masked: set[tuple[str, int]] = field(default_factory=set)
    """Tokens that vary by themselves."""
    loose: set[str] = field(default_factory=set)
    """Parts, short ones, of which even the number of tokens varies."""

    @classmethod
    def of(cls, answers: Iterable[Answer]) -> Likeness | None:
        """Return what ``answers`` have in common; None where they vary in more than tokens."""
        first, *others = answers
        made = cls(first, first.parts())
        return made if all(made._learn(one.parts()) for one in others if one != first) else None

    def admits(self, answer: Answer) -> bool:
        """Tell whether ``answer`` differs in nothing else than what varies by itself."""
        if answer == self.first:
            return True
        parts = answer.parts()
        return parts.keys() == self.parts.keys() and all(
            len(self.parts[name]) == len(parts[name]) and self._differing(name, parts[name]) <= self.masked
            for name in parts.keys() - self.loose
        )

    def _learn(self, parts: Parts) -> bool:
        if parts.keys() != self.parts.keys():
            return False
        for name, tokens in parts.items():
            if len(tokens) == len(self.parts[name]):
                self.masked |= self._differing(name, tokens)
            elif name == BODY:
                return False  # of a text nothing can be told apart any more
            else:
                self.loose.add(name)
        return ("status", 0) not in self.masked

    def _differing(self, name: str, tokens: list[Any]) -> set[tuple[str, int]]:
        mine = self.parts[name]
        if tokens == mine:
            return set()
        return {(name, number) for number, token in enumerate(tokens) if token != mine[number]}
