"""Values to plan a statement with that came without its own: those of a row that there is.

MariaDB and MySQL plan for values, and for NULL they plan nothing at all ("Impossible WHERE"). So each placeholder
that is compared with a column gets that column's value in some row of the table. The values go to the database that
they came from, and are folded out of the plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import DatabaseError
from sqlglot import exp

from noa_perf.optimizer.plans import parsing
from noa_perf.optimizer.plans.names import quoted
from noa_perf.optimizer.plans.predicates import Statement, TableUse

ANY = 1
"""What stands where no column tells of what kind the value is, and where the table is empty."""

Wanted = dict[int, tuple[TableUse, str, bool]]


def values_for(connection: Any, sql: str, limited: str) -> list[Any]:
    """Return a value for each ``%s`` of ``sql``; ``limited`` is a SELECT that gives up in time, but for its columns."""
    values: list[Any] = [ANY] * parsing.placeholders(sql)
    rows: dict[int, dict[str, Any]] = {}
    wanted = _wanted(sql, connection.vendor)
    for number, (use, column, is_pattern) in wanted.items():
        if id(use) not in rows:
            columns = [name for other, name, _ in wanted.values() if other is use]
            rows[id(use)] = _row(connection, limited, use, list(dict.fromkeys(columns)))
        value = rows[id(use)].get(column)
        if value is not None:
            values[number - 1] = f"{value}%" if is_pattern else value
    return values


def _wanted(sql: str, vendor: str) -> Wanted:
    """Return, by the placeholders' numbers, the columns they are compared with, and whether that is by LIKE."""
    tree = parsing.parsed(parsing.numbered(sql, ":p"), vendor)
    if tree is None:
        return {}
    statement = Statement(tree, vendor)
    statement.uses()
    return dict(_compared(tree, statement))


def _compared(tree: exp.Expr, statement: Statement) -> Iterator[tuple[int, tuple[TableUse, str, bool]]]:
    for placeholder in tree.find_all(exp.Placeholder):
        comparison = placeholder.find_ancestor(*parsing.COMPARISONS)
        column = parsing.bare(comparison.this) if comparison is not None else None
        found = statement.use_of(column) if isinstance(column, exp.Column) else None
        if found is not None:
            yield int(placeholder.name[1:]), (*found, isinstance(comparison, (exp.Like, exp.ILike)))


def _row(connection: Any, limited: str, use: TableUse, columns: list[str]) -> dict[str, Any]:
    listed = ", ".join(quoted(connection, column) for column in columns)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"{limited} {listed} FROM {use.table.quoted(connection)} LIMIT 1")
            row = cursor.fetchone()
    except DatabaseError:  # the column of a view's query, perhaps, or the time was over
        return {}
    return dict(zip(columns, row, strict=True)) if row else {}
