"""SQLite's EXPLAIN QUERY PLAN as a plan tree.

It is asked with NULL for every parameter: SQLite plans from the statement and its statistics alone, so no value is
needed, and none is kept. It never runs the statement.
"""

from __future__ import annotations

import re
from typing import Any

from django.db import DatabaseError

from noa_perf.optimizer.plans import parsing
from noa_perf.optimizer.plans.names import TableName
from noa_perf.optimizer.plans.tree import Plan, PlanNode, Step

_ACCESS = re.compile(
    r"^(?P<verb>SCAN|SEARCH)\s+(?:TABLE\s+)?(?P<table>\S+)(?:\s+AS\s+(?P<alias>\S+))?"
    r"(?:\s+USING\s+(?P<how>.*?))?(?:\s+LEFT-JOIN)?$"
)
_SORT = re.compile(r"^USE TEMP B-TREE FOR (?:LAST (?:\d+ )?TERMS? OF |RIGHT PART OF )?(?P<purpose>.+)$")
_INDEX = re.compile(r"(?:COVERING )?INDEX (?P<index>[^\s(]+)")
_AS = re.compile(r"\bAS\b", re.IGNORECASE)
_SEARCHED = re.compile(r"\((?P<condition>.*[=<>].*)\)$")


def explain(connection: Any, sql: str, params: Any = None, *, analyze: bool = False) -> Plan:
    """Return the plan of ``sql`` (with ``%s`` placeholders) on ``connection``.

    SQLite has no ANALYZE of a plan: ``analyze`` changes nothing, and :attr:`Plan.analyzed` stays False.
    """
    with connection.cursor() as cursor:
        positional = parsing.positional(sql)
        cursor.execute(f"EXPLAIN QUERY PLAN {positional}", [None] * parsing.placeholders(positional))
        return parse(cursor.fetchall())


def parse(rows: list[tuple[Any, ...]]) -> Plan:
    """Return the tree of EXPLAIN QUERY PLAN's ``rows`` (id, parent, unused, detail)."""
    nodes: dict[int, PlanNode] = {}
    roots: list[PlanNode] = []
    for identity, parent, _, detail in rows:
        node = nodes[identity] = _node(detail)
        above = nodes.get(parent)
        (roots if above is None else above.children).append(node)
    plan = Plan("sqlite", tuple(roots))
    _mark_repeated(plan)
    return plan


def _node(detail: str) -> PlanNode:
    sort = _SORT.match(detail)
    if sort:
        return PlanNode(Step.SORT, detail, purpose=sort["purpose"].split("(")[0].strip())
    access = _ACCESS.match(detail)
    if access is None or access["table"].startswith("("):
        return PlanNode(Step.SUBQUERY if "SUBQUERY" in detail else Step.OTHER, detail)
    how = access["how"] or ""
    table = access["alias"] or access["table"]
    named = _INDEX.search(how)
    index = named["index"] if named else ""
    if how.startswith("AUTOMATIC"):
        return PlanNode(Step.AUTOMATIC_INDEX, detail, table)
    if access["verb"] == "SEARCH":
        searched = _SEARCHED.search(how)
        return PlanNode(Step.SEARCH, detail, table, index=index, condition=searched["condition"] if searched else "")
    return PlanNode(Step.INDEX_SCAN if index else Step.SCAN, detail, table, index=index)


def _mark_repeated(plan: Plan) -> None:
    """Mark what runs for each row: inner tables of a join, and all below a correlated subquery."""
    groups = [list(plan.roots)]
    groups += [node.children for node in plan.walk()]
    for siblings in groups:
        outer_seen = False
        for node in siblings:
            if node.table:
                node.repeated = node.repeated or outer_seen
                outer_seen = True
    for node in plan.walk():
        if node.detail.startswith("CORRELATED"):
            for below in node.walk():
                below.repeated = True


def table_rows(connection: Any, table: TableName) -> int:
    """Return about how many rows ``table`` has: its highest rowid, which costs one step down a B-tree."""
    with connection.cursor() as cursor:
        try:
            cursor.execute(f"SELECT max(rowid) FROM {table.quoted(connection)}")  # noqa: S608  (quoted)
        except DatabaseError:  # WITHOUT ROWID tables and views have none
            return 0
        row = cursor.fetchone()
    return int(row[0] or 0) if row and isinstance(row[0], int) else 0


def views(connection: Any, tables: list[TableName]) -> dict[TableName, str]:
    """Return the queries of all views, if one of ``tables`` is a view: the plan names what is beneath them alone."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'view'")
        parts = [(name, _AS.split(sql, maxsplit=1)) for name, sql in cursor.fetchall()]
    # A view that names its columns in parentheses is left out: its query may call them otherwise.
    found = {TableName(name): query for name, (head, query) in parts if "(" not in head}
    return found if any(view.is_same(table) for view in found for table in tables) else {}
