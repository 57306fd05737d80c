"""Whether a statement may be run only to be measured: a rollback must undo all that it does."""

from __future__ import annotations

from typing import Any

import sqlglot
from sqlglot import exp

HARMLESS = frozenset(
    """random setseed gen_random_uuid uuid_generate_v4 clock_timestamp timeofday statement_timestamp
    pg_sleep pg_backend_pid current_setting txid_current version""".split()
)
"""Volatile, and without an effect that outlives the transaction."""


def refusal(connection: Any, sql: str) -> str:
    """Return why ``sql`` must not be run by ANALYZE on ``connection``, or nothing where it may.

    A SELECT can do harm through a function; what a sequence, a notification or a remote call does is not undone.
    """
    if connection.vendor != "postgresql":
        return ""
    names = functions_of(sql)
    if names is None:
        return "The statement could not be parsed, so nothing tells whether a rollback would undo it."
    if not names:
        return ""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT lower(proname) FROM pg_proc WHERE provolatile = 'v' AND lower(proname) = ANY(%s)",
            [sorted(names - HARMLESS)],
        )
        found = sorted(name for (name,) in cursor.fetchall())
    if not found:
        return ""
    return f"It calls {', '.join(found)}, which may do what no rollback undoes. Leave --analyze out."


def functions_of(sql: str) -> set[str] | None:
    """Return the names of the functions that ``sql`` calls, lower case; None where it cannot be parsed."""
    try:
        tree = sqlglot.parse_one(sql.replace("%s", "?"), read="postgres")
    except (sqlglot.errors.SqlglotError, RecursionError):
        return None
    names: set[str] = set()
    for node in tree.find_all(exp.Func):
        names |= {node.name.lower()} if isinstance(node, exp.Anonymous) else {one.lower() for one in node.sql_names()}
    return names
