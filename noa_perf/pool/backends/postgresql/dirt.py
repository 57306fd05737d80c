"""What statements leave behind in a session of PostgreSQL, and what takes it away again."""

from __future__ import annotations

import re
from collections.abc import Callable

from noa_perf.pool.backends.statements import Judge

SETTINGS, TEMPORARY, LOCKS, CHANNELS, PREPARED, CURSORS, TRANSACTION, ANYTHING = (1 << n for n in range(8))

CURES = {
    SETTINGS: "SET SESSION AUTHORIZATION DEFAULT; RESET ALL",
    TEMPORARY: "DISCARD TEMP",
    LOCKS: "SELECT pg_advisory_unlock_all()",
    CHANNELS: "UNLISTEN *",
    PREPARED: "DEALLOCATE ALL",
    CURSORS: "CLOSE ALL",
}
EVERYTHING = "DISCARD ALL"

_LOCAL = re.compile(r"set\s+(?:local|transaction|constraints)\b")
_TEMPORARY = re.compile(r"create\s+(?:or\s+replace\s+)?(?:(?:global|local)\s+)?temp(?:orary)?\b")
_HOLD = re.compile(r"\bwith\s+hold\b")
_INTO = re.compile(r"\binto\s+(?:(?:global|local)\s+)?temp(?:orary)?\b")


def _judge(word: str, part: str) -> int:
    by_word = _BY_WORD.get(word)
    flags = by_word(part) if by_word is not None else 0
    if "advisory_lock" in part:  # those that end with the transaction are called advisory_xact_lock
        flags |= LOCKS
    if "set_config" in part:
        flags |= SETTINGS
    if "pg_temp" in part or (word in {"select", "with"} and _INTO.search(part)):
        flags |= TEMPORARY
    return flags


_BY_WORD: dict[str, Callable[[str], int]] = {
    "set": lambda part: 0 if _LOCAL.search(part) else SETTINGS,
    "reset": lambda _: SETTINGS,
    "create": lambda part: TEMPORARY if _TEMPORARY.search(part) else 0,
    "listen": lambda _: CHANNELS,
    "prepare": lambda part: 0 if re.search(r"prepare\s+transaction\b", part) else PREPARED,
    "declare": lambda part: CURSORS if _HOLD.search(part) else 0,
    "discard": lambda _: SETTINGS,
    "begin": lambda _: TRANSACTION,
    "start": lambda _: TRANSACTION,
    "do": lambda _: ANYTHING,
    "call": lambda _: ANYTHING,
    "load": lambda _: ANYTHING,
}

judge = Judge(_judge)


def cure(flags: int) -> str:
    """Return the statements that take away what ``flags`` name, to be sent at once: not a transaction."""
    if flags & ANYTHING:
        return EVERYTHING  # which is not to be sent with others
    return "; ".join(sql for flag, sql in CURES.items() if flags & flag)
