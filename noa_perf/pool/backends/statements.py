"""Which statements leave something behind in a session: told by their text, and remembered."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

REMEMBERED = 4_096
"""Statements whose verdict is kept; beyond that all are forgotten and judged anew."""
LONG = 2_000
"""Characters beyond which a statement is known by its hash: thousands of bulk inserts would take much memory."""
_COMMENT = re.compile(r"/\*(?!m?!).*?\*/|--[^\n]*|\#[^\n]*", re.DOTALL)
"""What MySQL executes of comments, ``/*! ... */``, is none."""
_WORD = re.compile(rf"(?:\s|\(|/\*m?!\d*|(?>{_COMMENT.pattern}))*+([a-z]+)", re.DOTALL)
READS = re.compile(r"(?:\s|\()*select\b", re.IGNORECASE)
"""How a statement begins that may only read."""
_WRITES = re.compile(r"\bfor\s+(?:update|share|no\s+key|key\s+share)\b|\binto\b|\block\s+in\s+share\s+mode\b")
_CALL = re.compile(r"([\w$.]+|[\"`])\s*\(")
_HARMLESS = frozenset(
    """
    abs all and any array as avg between bit_and bit_or bool_and bool_or by case cast ceil ceiling char_length
    coalesce concat concat_ws connection_id convert count current_date current_timestamp date date_add date_format
    date_part date_sub date_trunc day dense_rank desc distinct else end every except exists exp extract filter
    first_value floor from generate_series greatest group_concat having hour if ifnull ilike in instr intersect
    interval is isnull join json_agg json_extract jsonb_agg jsonb_array_length lag last_value lateral lead least left
    length like limit ln log lower lpad ltrim max md5 microsecond min minute mod month not now ntile nullif offset on
    or over partition pg_backend_pid pg_sleep position power quarter random rank regexp regexp_replace replace
    reverse right round row row_number rpad rtrim second select sign sleep split_part sqrt stddev stddev_pop
    stddev_samp str_to_date string_agg strpos substr substring sum then time timestampdiff to_char to_date
    to_timestamp trim trunc truncate union upper user using utc_timestamp uuid values var_pop var_samp variance week
    when where window with within year
    """.split()
)
"""Words before a parenthesis that no writing function has; what others do nobody knows from here."""

_UNREADABLE = "do"
"""Stands for what is no text, and may do anything."""


class Judge:
    """Tells what statements leave behind, as flags; ``judge`` is asked once for each text, in lower case."""

    def __init__(self, judge: Callable[[str, str], int]) -> None:
        """Ask ``judge`` with the first word of each part of a statement, and that part."""
        self._judge = judge
        self._seen: dict[str | int, int] = {}

    def __call__(self, statement: Any) -> int:
        """Return the flags of what ``statement`` leaves behind; 0 for nothing."""
        if statement.__class__ is not str:
            return self._judged(_text(statement))
        key = statement if len(statement) <= LONG else hash(statement)
        found = self._seen.get(key)
        if found is None:
            if len(self._seen) >= REMEMBERED:
                self._seen.clear()
            found = self._seen[key] = self._judged(statement)
        return found

    def _judged(self, statement: str) -> int:
        text = statement.lower()
        bare = _COMMENT.sub(" ", text)
        # What looks like a comment may be within a literal, and a semicolon within a comment: so both are judged.
        return self._of_parts(text) | (self._of_parts(bare) if bare != text else 0)

    def _of_parts(self, text: str) -> int:
        flags = 0
        # A semicolon within a literal makes parts that are none: the worst of that is a reset for nothing.
        for part in text.split(";"):
            word = _WORD.match(part)
            if word is not None:
                flags |= self._judge(word[1], part)
        return flags


def only_reads(statement: Any) -> bool:
    """Tell whether a statement is a SELECT that locks nothing, writes nothing, and calls nothing that might."""
    text = _text(statement).lower()
    if READS.match(text) is None or ";" in text or _WRITES.search(text) is not None:
        return False
    bare = _COMMENT.sub(" ", text)  # a name and its parenthesis may have a comment between them
    return all(call[1] in _HARMLESS for read in {text, bare} for call in _CALL.finditer(read))


def _text(statement: Any) -> str:
    if isinstance(statement, str):
        return statement
    if isinstance(statement, bytes | bytearray):
        return statement.decode(errors="replace")
    try:
        return str(statement.as_string(None))  # psycopg's sql.SQL, and what is composed of it
    except Exception:
        return _UNREADABLE
