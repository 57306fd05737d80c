"""Whether a statement may be run only to be measured: a rollback must undo all that it does."""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from noa_perf.optimizer.plans import parsing, volatile_mariadb

HARMLESS = frozenset(
    """random setseed gen_random_uuid uuid_generate_v4 clock_timestamp timeofday statement_timestamp
    pg_sleep pg_backend_pid current_setting txid_current version""".split()
)
"""Volatile, and without an effect that outlives the transaction."""


def refusal(connection: Any, sql: str) -> str:
    """Return why ``sql`` must not be run by ANALYZE on ``connection``, or nothing where it may.

    A SELECT can do harm through a function, a write through a trigger or a default as well; what a sequence, a
    notification or a remote call does is not undone by a rollback, nor what a table's engine does without transactions.
    """
    find = _HARM.get(connection.vendor)
    if find is None:
        return ""
    tree = parsing.parsed(sql.replace("%s", "?"), connection.vendor)
    if tree is None:
        return "The statement could not be parsed, so nothing tells whether a rollback would undo it."
    harm = find(connection, tree, _functions(tree))
    if not harm:
        return ""
    return f"It uses {', '.join(harm)}, which may do what no rollback undoes. Leave --analyze out."


def _harm_on_postgresql(connection: Any, tree: exp.Expr, functions: set[str]) -> list[str]:
    return _volatile(connection, functions) + _side_effects(connection, tree)


def _volatile(connection: Any, names: set[str]) -> list[str]:
    if not names:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT lower(proname) FROM pg_proc WHERE provolatile = 'v' AND lower(proname) = ANY(%s)",
            [sorted(names - HARMLESS)],
        )
        return sorted(name for (name,) in cursor.fetchall())


def _side_effects(connection: Any, tree: exp.Expr) -> list[str]:
    """Return the triggers of the tables that are written, and the sequences that an INSERT draws from."""
    found: list[str] = []
    for write in tree.find_all(exp.Insert, exp.Update, exp.Delete):
        table = write.this.find(exp.Table) if write.this is not None else None
        if table is None:
            continue
        name = ".".join(f'"{part.name}"' for part in table.parts)
        with connection.cursor() as cursor:
            cursor.execute(_TRIGGERS, [name])
            found += [f"trigger {trigger}" for (trigger,) in cursor.fetchall()]
            if isinstance(write, exp.Insert):
                cursor.execute(_SEQUENCES, [name])
                found += [f"the sequence of {column}" for (column,) in cursor.fetchall()]
    return found


_TRIGGERS = "SELECT tgname FROM pg_trigger WHERE tgrelid = to_regclass(%s) AND NOT tgisinternal ORDER BY tgname"
_SEQUENCES = """
    SELECT a.attname FROM pg_attribute a
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = to_regclass(%s) AND NOT a.attisdropped
    AND (a.attidentity <> '' OR pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%%') ORDER BY a.attname
"""


def functions_of(sql: str) -> set[str] | None:
    """Return the names of the functions that ``sql`` calls, lower case; None where it cannot be parsed."""
    tree = parsing.parsed(sql.replace("%s", "?"), "postgresql")
    return None if tree is None else _functions(tree)


def _functions(tree: exp.Expr) -> set[str]:
    names: set[str] = set()
    for node in tree.find_all(exp.Func):
        names |= {node.name.lower()} if isinstance(node, exp.Anonymous) else {one.lower() for one in node.sql_names()}
    return names


_HARM = {"postgresql": _harm_on_postgresql, "mysql": volatile_mariadb.harm}
