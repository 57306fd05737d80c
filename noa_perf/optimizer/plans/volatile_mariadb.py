"""What a statement would do on MariaDB or MySQL that no rollback undoes."""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from noa_perf.optimizer.plans import parsing

HARMFUL = frozenset("nextval setval get_lock release_lock release_all_locks load_file last_insert_id".split())
"""Functions of the server itself that leave something behind, or look outside of the database."""

_STORED = """
    SELECT DISTINCT lower(routine_name) FROM information_schema.routines
    WHERE routine_type = 'FUNCTION' AND find_in_set(lower(routine_name), %s) ORDER BY 1
"""
_ENGINES = """
    SELECT t.engine FROM information_schema.tables t JOIN information_schema.engines e ON e.engine = t.engine
    WHERE t.table_schema = coalesce(nullif(%s, ''), database()) AND t.table_name = %s
    AND coalesce(e.transactions, 'NO') <> 'YES'
"""
_TRIGGERS = """
    SELECT trigger_name FROM information_schema.triggers
    WHERE event_object_schema = coalesce(nullif(%s, ''), database()) AND event_object_table = %s ORDER BY 1
"""
_COUNTERS = """
    SELECT column_name FROM information_schema.columns
    WHERE table_schema = coalesce(nullif(%s, ''), database()) AND table_name = %s AND extra LIKE '%%auto_increment%%'
"""


def harm(connection: Any, tree: exp.Expr, functions: set[str]) -> list[str]:
    """Return what is not undone, in words: functions, engines without transactions, triggers, AUTO_INCREMENT."""
    found = sorted(functions & HARMFUL) + _names(connection, _STORED, [",".join(sorted(functions))])
    writes = list(tree.find_all(exp.Insert, exp.Update, exp.Delete))
    tables = [parsing.name(table, "mysql") for table in tree.find_all(exp.Table) if table.name] if writes else []
    for table in dict.fromkeys(tables):
        # All are asked, for an UPDATE may write to any that it joins.
        about = [table.schema, table.name]
        found += [f"the engine {engine} of {table}" for engine in _names(connection, _ENGINES, about)]
        found += [f"trigger {trigger}" for trigger in _names(connection, _TRIGGERS, about)]
    for write in writes:
        target = write.this.find(exp.Table) if isinstance(write, exp.Insert) else None
        if target is not None:
            table = parsing.name(target, "mysql")
            columns = _names(connection, _COUNTERS, [table.schema, table.name])
            found += [f"the AUTO_INCREMENT of {column}" for column in columns]
    return found


def _names(connection: Any, sql: str, params: list[str]) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return [name for (name,) in cursor.fetchall()]
