"""MariaDB's plans, and MySQL's: EXPLAIN FORMAT=JSON, and on MariaDB ANALYZE FORMAT=JSON on demand.

MySQL is not run for its plan, for what it says then differs by version: there, ``analyze`` changes nothing. No server
of it was at hand, so all that is said of MySQL here is untried.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DatabaseError, transaction

from noa_perf.optimizer.exceptions import ExplainUnavailable
from noa_perf.optimizer.plans import mariadb_tree, mysql_tree, parsing, samples
from noa_perf.optimizer.plans.names import TableName
from noa_perf.optimizer.plans.tree import Plan, Step

ANALYZE = "ANALYZE TABLE"
SAMPLE_MS = 1_000
"""Milliseconds after which a row to take values from is not waited for any more."""
LEFT_OUT = "..."
BACKSLASH = "\\"

_TEXT = re.compile(r'^(\s*"[\w-]+": )"(.*)"(,?)$', re.MULTILINE)


def explain(connection: Any, sql: str, params: Any = None, *, analyze: bool = False, timeout_ms: int = 5_000) -> Plan:
    """Return the plan of ``sql`` on ``connection``.

    With ``params`` the statement is planned for these values; without them, for those of a row of its tables.
    ``analyze`` runs it, for at most ``timeout_ms`` milliseconds, and rolls back what it did.
    """
    asked = parsing.positional(sql) if params is None else sql
    sampled = params is None and parsing.placeholders(asked) > 0
    runs = analyze and bool(connection.mysql_is_mariadb)
    with _rolled_back(connection, reads=_only_reads(sql)):
        if sampled:
            params = samples.values_for(connection, asked, _limited_select(connection))
        with connection.cursor() as cursor:
            cursor.execute(f"{_verb(connection, runs, timeout_ms)} {asked}", params)
            (document,) = cursor.fetchone()
    plan = parse(decoded(document) if connection.mysql_is_mariadb else json.loads(document), analyzed=runs)
    _mark_stopped(plan, asked)
    if not sampled:
        return plan
    if not any(node.table for node in plan.walk()):
        raise ExplainUnavailable("Without values it is planned for those of a row, and its tables have none that fits.")
    return plan.redacted()


def parse(document: dict[str, Any], *, analyzed: bool = False) -> Plan:
    """Return the tree of a plan in any of the forms that MariaDB and MySQL have for it."""
    if "query_block" in document:
        return mariadb_tree.parse(document, analyzed=analyzed)
    return mysql_tree.parse(document)


def decoded(document: str) -> dict[str, Any]:
    """Return MariaDB's document, which writes the values in a condition as they are: a quote in one ends the string.

    Its line breaks can be relied on. What holds a backslash is left out, for whether that is MariaDB's or the value's
    cannot be told, and a value that is taken for something else would be kept.
    """

    def mended(match: re.Match[str]) -> str:
        return f"{match[1]}{json.dumps(LEFT_OUT if BACKSLASH in match[2] else match[2])}{match[3]}"

    try:
        found: dict[str, Any] = json.loads(_TEXT.sub(mended, document))
    except ValueError:
        raise ExplainUnavailable("MariaDB's plan of it is no JSON that can be read.") from None
    return found


def _only_reads(sql: str) -> bool:
    return sql.lstrip(" (\n\t")[:6].upper() == "SELECT"


@contextmanager
def _rolled_back(connection: Any, *, reads: bool) -> Iterator[None]:
    # What only reads is held to it: a stored function may write. A transaction that has begun cannot be changed.
    if reads and not connection.in_atomic_block:
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
    with transaction.atomic(using=connection.alias):
        yield
        transaction.set_rollback(True, using=connection.alias)


def _verb(connection: Any, runs: bool, timeout_ms: int) -> str:
    if not connection.mysql_is_mariadb:
        return "EXPLAIN FORMAT=JSON"
    return f"SET STATEMENT max_statement_time={timeout_ms / 1000} FOR {'ANALYZE' if runs else 'EXPLAIN'} FORMAT=JSON"


def _limited_select(connection: Any) -> str:
    if connection.mysql_is_mariadb:
        return f"SET STATEMENT max_statement_time={SAMPLE_MS / 1000} FOR SELECT"
    return f"SELECT /*+ MAX_EXECUTION_TIME({SAMPLE_MS}) */"


def _mark_stopped(plan: Plan, sql: str) -> None:
    # A LIMIT is in no plan. What is sorted or grouped is read to its end all the same.
    if " LIMIT " not in sql.upper():
        return
    pending = list(plan.roots)
    while pending:
        node = pending.pop()
        node.stopped = True
        pending += node.children if node.step not in (Step.SORT, Step.GROUP) else []


def table_rows(connection: Any, table: TableName) -> int:
    """Return about how many rows ``table`` has, as the statistics tell."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_rows FROM information_schema.tables "
            "WHERE table_schema = coalesce(nullif(%s, ''), database()) AND table_name = %s",
            [table.schema, table.name],
        )
        row = cursor.fetchone()
    return int(row[0] or 0) if row else 0


def stale_statistics(connection: Any, tables: list[TableName]) -> dict[TableName, tuple[int, int]]:
    """Return, of ``tables``, those whose statistics are stale: rows changed since they were taken, and rows in all.

    InnoDB tells, and only who has the privilege PROCESS; otherwise nothing is known to be stale.
    """
    found = {}
    source = "innodb_sys_tablestats" if connection.mysql_is_mariadb else "innodb_tablestats"
    for table in tables:
        try:
            with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
                cursor.execute(
                    f"SELECT modified_counter, num_rows FROM information_schema.{source} "  # noqa: S608  (two words)
                    "WHERE name = concat(coalesce(nullif(%s, ''), database()), '/', %s)",
                    [table.schema, table.name],
                )
                row = cursor.fetchone()
        except DatabaseError:
            return {}
        if row and row[1] >= 1_000 and row[0] > row[1] * 0.2:
            found[table] = (int(row[0]), int(row[1]))
    return found


def views(connection: Any, tables: list[TableName]) -> dict[TableName, str]:
    """Return the queries of the views in the schemas of ``tables``, if one of these is a view."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT database()")
        (here,) = cursor.fetchone()
        schemas = sorted({table.schema or here for table in tables} - {None})
        if not schemas:
            return {}
        cursor.execute(
            "SELECT table_schema, table_name, view_definition FROM information_schema.views "
            "WHERE find_in_set(table_schema, %s)",
            [",".join(schemas)],
        )
        found = {TableName(name, "" if schema == here else schema): query for schema, name, query in cursor.fetchall()}
    return found if any(view.is_same(table) for view in found for table in tables) else {}
