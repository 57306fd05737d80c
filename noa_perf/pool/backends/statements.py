"""Which statements leave something behind in a session: told by their text, and remembered."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

REMEMBERED = 4_096
"""Statements whose verdict is kept; beyond that all are forgotten and judged anew."""
_WORD = re.compile(r"(?:\s|\(|/\*.*?\*/|--[^\n]*(?:\n|$)|\#[^\n]*(?:\n|$))*([a-z]+)", re.DOTALL)
READS = re.compile(r"(?:\s|\()*select\b", re.IGNORECASE)
"""How a statement begins that may only read."""
_WRITES = (" for update", " for share", " for no key", " for key share", " into ", "nextval", "lock in share mode")


class Judge:
    """Tells what statements leave behind, as flags; ``judge`` is asked once for each text, in lower case."""

    def __init__(self, judge: Callable[[str, str], int]) -> None:
        """Ask ``judge`` with the first word of each part of a statement, and that part."""
        self._judge = judge
        self._seen: dict[str, int] = {}

    def __call__(self, statement: Any) -> int:
        """Return the flags of what ``statement`` leaves behind; 0 for nothing."""
        if statement.__class__ is not str:
            return self._judged(_text(statement))
        found = self._seen.get(statement)
        if found is None:
            if len(self._seen) >= REMEMBERED:
                self._seen.clear()
            found = self._seen[statement] = self._judged(statement)
        return found

    def _judged(self, statement: str) -> int:
        flags = 0
        # A semicolon within a literal makes parts that are none: the worst of that is a reset for nothing.
        for part in statement.lower().split(";"):
            word = _WORD.match(part)
            if word is not None:
                flags |= self._judge(word[1], part)
        return flags


def only_reads(statement: Any) -> bool:
    """Tell whether a statement is a SELECT that locks and writes nothing, as far as its text tells."""
    text = _text(statement)
    lowered = text.lower()
    return READS.match(text) is not None and ";" not in text and not any(word in lowered for word in _WRITES)


def _text(statement: Any) -> str:
    if isinstance(statement, bytes):
        return statement.decode(errors="replace")
    return statement if isinstance(statement, str) else str(statement)
