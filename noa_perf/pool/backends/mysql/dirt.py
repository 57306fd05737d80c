"""What statements leave behind in a session of MySQL or MariaDB."""

from __future__ import annotations

import re

from noa_perf.pool.backends.statements import Judge

SESSION, TRANSACTION = 1, 2

_SESSION = frozenset(
    {"set", "use", "prepare", "handler", "call", "lock", "flush", "install", "load", "do", "execute", "change", "get"}
)
_TRANSACTION = frozenset({"begin", "start", "xa"})
_TEMPORARY = re.compile(r"create\s+(?:or\s+replace\s+)?temporary\b")
_VARIABLE = re.compile(r":=|\binto\s+@")


def _judge(word: str, part: str) -> int:
    flags = SESSION if word in _SESSION else 0
    if word in _TRANSACTION:
        flags |= TRANSACTION
    if word == "create" and _TEMPORARY.search(part):
        flags |= SESSION
    if "get_lock" in part or ("@" in part and _VARIABLE.search(part)):
        flags |= SESSION
    return flags


judge = Judge(_judge)
