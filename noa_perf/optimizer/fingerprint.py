"""One shape for all statements that differ only in their values.

Django's SQL carries placeholders already, so a statement is folded once and then found by its string. No parser
runs here: a handful of regular expressions, and only on a statement that was not seen before.
"""

from __future__ import annotations

import hashlib
import re
from enum import Enum
from typing import Any

MAX_HASHED = 200
"""Parameters of one query that are told apart."""
MAX_CACHED = 4_096
MAX_CACHED_LENGTH = 8_192
"""Longer statements (IN lists of thousands) are folded anew each time, so that the cache stays small."""


class Kind(Enum):
    """What a statement does, as far as counting needs to know."""

    SELECT = "select"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRANSACTION = "transaction"
    OTHER = "other"


WRITES = frozenset({Kind.INSERT, Kind.UPDATE, Kind.DELETE})

_KINDS = {
    "SELECT": Kind.SELECT,
    "WITH": Kind.SELECT,
    "VALUES": Kind.SELECT,
    "INSERT": Kind.INSERT,
    "REPLACE": Kind.INSERT,
    "MERGE": Kind.UPDATE,
    "UPDATE": Kind.UPDATE,
    "DELETE": Kind.DELETE,
    "BEGIN": Kind.TRANSACTION,
    "START": Kind.TRANSACTION,
    "COMMIT": Kind.TRANSACTION,
    "ROLLBACK": Kind.TRANSACTION,
    "SAVEPOINT": Kind.TRANSACTION,
    "RELEASE": Kind.TRANSACTION,
}

_COMMENT = re.compile(r"/\*.*?\*/|--[^\n]*", re.DOTALL)
_FIRST_WORD = re.compile(r"[\s(]*([A-Za-z]+)")
_VALUES_AND_PLACEHOLDERS = r"""
  | (?P<number>(?<![\w.%$])-?\b\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\b)
  | (?P<named>%\(\w+\)s|(?<![:\w]):[A-Za-z_]\w*|\$\d+|\?)                      # other placeholder styles
"""
_TOKENS = re.compile(
    r"""
    (?P<quoted>"(?:[^"]|"")*"|`[^`]*`)                           # an identifier: kept as it is
  | (?P<comment>/\*.*?\*/|--[^\n]*)                              # here, so that a dash inside a string is none
  | (?P<string>\bE'(?:[^'\\]|''|\\.)*'|\bN?'(?:[^']|'')*'|'(?:[^']|'')*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
    """
    + _VALUES_AND_PLACEHOLDERS,
    re.VERBOSE | re.DOTALL,
)
# On MySQL double quotes hold a string too, and a backslash escapes.
_MYSQL_TOKENS = re.compile(
    r"""
    (?P<quoted>`[^`]*`)
  | (?P<comment>/\*.*?\*/|--[^\n]*|\#[^\n]*)
  | (?P<string>'(?:[^'\\]|''|\\.)*'|"(?:[^"\\]|""|\\.)*")
    """
    + _VALUES_AND_PLACEHOLDERS,
    re.VERBOSE | re.DOTALL,
)
_RUN = re.compile(r"%s(?:, ?%s){2,}")
_ROWS = re.compile(r"(\((?:%s(?:, ?)?)+\))(?:, ?\((?:%s(?:, ?)?)+\)){2,}")
_WRITING_CTE = re.compile(r"\b(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM)\b", re.IGNORECASE)
_VOLATILE = re.compile(
    r"\b(?:random|rand|nextval|lastval|last_insert_id|uuid|gen_random_uuid|clock_timestamp)\s*\(|\bFOR\s+(?:NO\s+KEY\s+)?"
    r"(?:UPDATE|SHARE)\b",
    re.IGNORECASE,
)
_IN_LIST = re.compile(r"\bIN\s*\(\s*%s(?:\s*,\s*%s)*\s*\)", re.IGNORECASE)
_LONG_IN_LIST = re.compile(r"\bIN\s*\(\s*%s\s*,", re.IGNORECASE)
_VALUES = re.compile(r"\bVALUES\s*\([^()]*\)(?:\s*,\s*\([^()]*\))*", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
_PAGE = re.compile(r"\bLIMIT\s+(\d+)(?:\s+OFFSET\s+(\d+))?\s*$", re.IGNORECASE)


class Statement:
    """One SQL string with what is known of its shape; shared by all who run it."""

    __slots__ = ("batched", "digest", "folded", "kind", "limit", "offset", "sql", "trails", "volatile")

    def __init__(self, sql: str, vendor: str = "") -> None:
        """Fold ``sql``, written for the database ``vendor``."""
        self.sql = sql
        self.kind = _kind(sql)
        tokens = _fold_tokens(sql, vendor)
        self.batched = _LONG_IN_LIST.search(tokens) is not None
        self.folded = _fold_lists(tokens)
        self.digest = hashlib.blake2b(self.folded.encode("utf-8", "replace"), digest_size=6).hexdigest()
        self.volatile = _VOLATILE.search(self.folded) is not None
        page = _PAGE.search(sql)
        self.limit = int(page[1]) if page else 0
        self.offset = int(page[2] or 0) if page else 0
        self.trails: tuple[Any, ...] = ()  # ways by which it was reached, kept by callsite

    @property
    def writes(self) -> bool:
        """Whether it changes rows."""
        return self.kind in WRITES


_cache: dict[str, Statement] = {}
_mysql_cache: dict[str, Statement] = {}


def statement(sql: str, vendor: str = "") -> Statement:
    """Return the :class:`Statement` of ``sql``; a look-up by string when it was seen before."""
    cache = _mysql_cache if vendor == "mysql" else _cache
    known = cache.get(sql)
    if known is not None:
        return known
    made = Statement(sql, vendor)
    if len(sql) <= MAX_CACHED_LENGTH:
        if len(cache) >= MAX_CACHED:
            cache.clear()
        cache[sql] = made
    return made


def forget() -> None:
    """Forget every statement, and by which ways it was reached."""
    _cache.clear()
    _mysql_cache.clear()


def fold(sql: str, vendor: str = "") -> str:
    """Return ``sql`` with literals, IN lists and VALUES lists folded and white space evened out."""
    return _fold_lists(_fold_tokens(sql, vendor))


def _fold_lists(tokens: str) -> str:
    folded = _IN_LIST.sub("IN (%s, ...)", tokens)
    folded = _VALUES.sub("VALUES (...)", folded)
    return _SPACE.sub(" ", folded).strip()


def _fold_tokens(sql: str, vendor: str) -> str:
    if len(sql) > MAX_CACHED_LENGTH:
        # Thousands of placeholders are the rule here: two cheap passes leave little for the dear one.
        sql = _ROWS.sub(r"\1, \1", _RUN.sub("%s, %s", sql))
    pattern = _MYSQL_TOKENS if vendor == "mysql" else _TOKENS
    return pattern.sub(_token, sql)


def _token(match: re.Match[str]) -> str:
    if match["quoted"]:
        return match[0]
    return " " if match["comment"] else "%s"


def _kind(sql: str) -> Kind:
    head = sql[:200]
    if head.lstrip()[:2] in ("/*", "--"):
        head = _COMMENT.sub(" ", sql)
    match = _FIRST_WORD.match(head)
    word = match[1].upper() if match else ""
    if word == "WITH" and _WRITING_CTE.search(sql):
        return Kind.UPDATE
    return _KINDS.get(word, Kind.OTHER)


def hashes(params: Any) -> tuple[int, ...]:
    """Return a hash for each parameter, so that runs can be compared and no value is kept.

    The parameters beyond :data:`MAX_HASHED` share one hash.
    """
    if not params:
        return ()
    values = tuple(params.values() if hasattr(params, "values") else params)
    taken = tuple([hash_of(value) for value in values[:MAX_HASHED]])
    return taken if len(values) <= MAX_HASHED else (*taken, hash_of(values[MAX_HASHED:]))


def hash_of(value: Any) -> int:
    """Return the hash of ``value``; of its text where it has none."""
    try:
        # -1 and -2 hash alike in CPython, and both are ordinary values.
        return hash(value) if value != -2 else hash("-2")
    except Exception:  # a driver's wrapper may be unhashable, or refuse to be compared
        return hash(repr(value))


def has_leading_wildcard(params: Any) -> bool:
    """Tell whether a parameter is a LIKE pattern that starts with a wildcard; no value is kept."""
    values = params if isinstance(params, (tuple, list)) else ()
    return any(type(value) is str and value.startswith("%") and len(value) > 1 for value in values[:MAX_HASHED])
