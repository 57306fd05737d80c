"""PostgreSQL's EXPLAIN (FORMAT JSON) as a plan tree.

A statement without its values is planned as prepared statements are: generically, with NULL for every parameter. So
no value is needed, and none is kept. With ANALYZE the statement runs, in a transaction that is rolled back.
"""

from __future__ import annotations

import json
import re
from typing import Any

from django.db import transaction

from noa_perf.optimizer.plans.tree import Plan, PlanNode, Step

PREPARED = "noa_perf_explain"

_NAMED = re.compile(r"%\(\w+\)s")
_PLACEHOLDER = re.compile(r"%s|%%")
_STEPS = {
    "Seq Scan": Step.SCAN,
    "Parallel Seq Scan": Step.SCAN,
    "Index Scan": Step.SEARCH,
    "Index Only Scan": Step.SEARCH,
    "Bitmap Heap Scan": Step.BITMAP,
    "Bitmap Index Scan": Step.SEARCH,
    "Sort": Step.SORT,
    "Incremental Sort": Step.SORT,
    "Hash": Step.HASH,
    "Nested Loop": Step.NESTED_LOOP,
    "Subquery Scan": Step.SUBQUERY,
}


def explain(connection: Any, sql: str, params: Any = None, *, analyze: bool = False, timeout_ms: int = 5_000) -> Plan:
    """Return the plan of ``sql`` on ``connection``.

    With ``params`` the statement is planned for these values; without them, for any. ``analyze`` runs it, for at most
    ``timeout_ms`` milliseconds, and rolls back what it did.
    """
    count = len([found for found in _PLACEHOLDER.findall(_NAMED.sub("%s", sql)) if found == "%s"])
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {int(timeout_ms)}")
            _forbid_writes(cursor, sql)
            if count and params is None:
                rows = _explain_generic(cursor, sql, count)
            else:
                options = "FORMAT JSON, ANALYZE, BUFFERS" if analyze else "FORMAT JSON"
                cursor.execute(f"EXPLAIN ({options}) {sql}", params)
                rows = cursor.fetchall()
            transaction.set_rollback(True, using=connection.alias)
    finally:
        _forget_prepared(connection)
    (document,) = rows[0]
    return parse(json.loads(document) if isinstance(document, str) else document)


def _forbid_writes(cursor: Any, sql: str) -> None:
    # What only reads is held to it: a view or a function may write, and a sequence is not rolled back.
    if sql.lstrip(" (\n\t")[:6].upper() == "SELECT":
        cursor.execute("SET LOCAL transaction_read_only = on")


def _explain_generic(cursor: Any, sql: str, count: int) -> Any:
    numbers = iter(range(1, count + 1))
    numbered = _PLACEHOLDER.sub(lambda match: "%" if match[0] == "%%" else f"${next(numbers)}", _NAMED.sub("%s", sql))
    cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    # The text holds percent signs that are no placeholders any more.
    cursor.execute(f"PREPARE {PREPARED} AS {numbered}".replace("%", "%%"), [])
    cursor.execute(f"EXPLAIN (FORMAT JSON) EXECUTE {PREPARED} ({', '.join(['NULL'] * count)})")
    return cursor.fetchall()


def _forget_prepared(connection: Any) -> None:
    # A prepared statement outlives the rollback; in a transaction that an error has broken it cannot be dropped.
    if connection.connection is None or connection.needs_rollback:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_prepared_statements WHERE name = %s", [PREPARED])
        if cursor.fetchone():
            cursor.execute(f"DEALLOCATE {PREPARED}")


def parse(document: list[dict[str, Any]]) -> Plan:
    """Return the tree of EXPLAIN's JSON ``document``."""
    top = document[0]
    root = _node(top["Plan"], repeated=False)
    facts = {"execution_ms": top.get("Execution Time"), "planning_ms": top.get("Planning Time")}
    jit = top.get("JIT", {}).get("Timing", {}).get("Total")
    facts["jit_ms"] = jit
    return Plan(
        "postgresql",
        (root,),
        "Execution Time" in top,
        {key: value for key, value in facts.items() if value is not None},
    )


def _node(raw: dict[str, Any], *, repeated: bool) -> PlanNode:
    kind = raw["Node Type"]
    loops = raw.get("Actual Loops")
    total = raw.get("Actual Total Time")
    node = PlanNode(
        _STEPS.get(kind, Step.OTHER),
        _detail(raw),
        table=raw.get("Alias", raw.get("Relation Name", "")),
        index=raw.get("Index Name", ""),
        purpose="ORDER BY" if kind in ("Sort", "Incremental Sort") else "",
        condition=raw.get("Index Cond", raw.get("Hash Cond", raw.get("Merge Cond", ""))),
        filter=raw.get("Filter", raw.get("Join Filter", "")),
        repeated=repeated,
        rows=raw.get("Plan Rows"),
        actual=raw.get("Actual Rows"),
        loops=loops,
        removed=raw.get("Rows Removed by Filter"),
        cost=raw.get("Total Cost"),
        ms=None if total is None else total * (loops or 1),
        facts=_facts(raw),
    )
    for child in raw.get("Plans", []):
        relationship = child.get("Parent Relationship")
        again = (kind == "Nested Loop" and relationship == "Inner") or relationship == "SubPlan"
        node.children.append(_node(child, repeated=repeated or again))
    return node


def _detail(raw: dict[str, Any]) -> str:
    words = [raw["Node Type"]]
    if raw.get("Join Type") not in (None, "Inner"):
        words.append(f"({raw['Join Type']})")
    if raw.get("Index Name"):
        words.append(f"using {raw['Index Name']}")
    if raw.get("Relation Name"):
        alias = raw.get("Alias", raw["Relation Name"])
        words.append(f"on {raw['Relation Name']}" + (f" {alias}" if alias != raw["Relation Name"] else ""))
    if raw.get("Sort Key"):
        words.append(f"by {', '.join(raw['Sort Key'])}")
    if raw.get("Subplan Name"):
        words.insert(0, f"{raw['Subplan Name']}:")
    return " ".join(words)


def _facts(raw: dict[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if raw.get("Sort Space Type") == "Disk":
        facts["spill_kb"] = raw.get("Sort Space Used", 0)
    if raw.get("Hash Batches", 1) > 1:
        facts["batches"] = raw["Hash Batches"]
        facts["spill_kb"] = raw.get("Disk Usage", raw.get("Peak Memory Usage", 0))
    if raw.get("Disk Usage") and "spill_kb" not in facts:
        facts["spill_kb"] = raw["Disk Usage"]
    if raw.get("Lossy Heap Blocks"):
        facts["lossy_blocks"] = raw["Lossy Heap Blocks"]
        facts["exact_blocks"] = raw.get("Exact Heap Blocks", 0)
    if raw.get("Strategy"):
        facts["strategy"] = raw["Strategy"]
    return facts


def table_rows(connection: Any, table: str) -> int:
    """Return about how many rows ``table`` has, as the statistics tell."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT greatest(c.reltuples, coalesce(s.n_live_tup, 0))::bigint FROM pg_class c "
            "LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid WHERE c.oid = to_regclass(%s)",
            ['"' + table.replace('"', '""') + '"'],
        )
        row = cursor.fetchone()
    return max(0, int(row[0])) if row else 0


def stale_statistics(connection: Any, tables: list[str]) -> dict[str, tuple[int, int]]:
    """Return, of ``tables``, those whose statistics are stale: rows changed since the last ANALYZE, and rows in all."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, n_mod_since_analyze, n_live_tup FROM pg_stat_all_tables "
            "WHERE relid = ANY(SELECT to_regclass(quote_ident(t)) FROM unnest(%s::text[]) t) "
            "AND n_live_tup >= 1000 AND (n_mod_since_analyze > n_live_tup * 0.2 "
            "OR coalesce(last_analyze, last_autoanalyze) IS NULL)",
            [tables],
        )
        return {name: (changed, live) for name, changed, live in cursor.fetchall()}
