"""PostgreSQL's EXPLAIN (FORMAT JSON) as a plan tree.

A statement without its values is planned as prepared statements are: generically, with NULL for every parameter. So
no value is needed, and none is kept. With ANALYZE the statement runs, in a transaction that is rolled back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from noa_perf.optimizer.plans import parsing
from noa_perf.optimizer.plans.names import TableName
from noa_perf.optimizer.plans.tree import Plan, PlanNode, Step

PREPARED = "noa_perf_explain"
OPTIONS = "FORMAT JSON, VERBOSE"
"""VERBOSE names the schema of each table, and the table of each column."""

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
    "Aggregate": Step.GROUP,
    "Group": Step.GROUP,
    "Unique": Step.GROUP,
    "SetOp": Step.GROUP,
    "Limit": Step.LIMIT,
    "Nested Loop": Step.NESTED_LOOP,
    "Subquery Scan": Step.SUBQUERY,
}


def explain(connection: Any, sql: str, params: Any = None, *, analyze: bool = False, timeout_ms: int = 5_000) -> Plan:
    """Return the plan of ``sql`` on ``connection``.

    With ``params`` the statement is planned for these values; without them, for any. ``analyze`` runs it, for at most
    ``timeout_ms`` milliseconds, and rolls back what it did.
    """
    count = parsing.placeholders(parsing.positional(sql))
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {int(timeout_ms)}")
            _forbid_writes(cursor, sql)
            if count and params is None:
                rows = _explain_generic(cursor, sql, count)
            else:
                options = f"{OPTIONS}, ANALYZE, BUFFERS" if analyze else OPTIONS
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
    numbered = parsing.numbered(parsing.positional(sql), "$")
    cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    # The text holds percent signs that are no placeholders any more.
    cursor.execute(f"PREPARE {PREPARED} AS {numbered}".replace("%", "%%"), [])
    cursor.execute(f"EXPLAIN ({OPTIONS}) EXECUTE {PREPARED} ({', '.join(['NULL'] * count)})")
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
    root = _node(top["Plan"], repeated=False, workers=0)
    facts = {"execution_ms": top.get("Execution Time"), "planning_ms": top.get("Planning Time")}
    jit = top.get("JIT", {}).get("Timing", {}).get("Total")
    facts["jit_ms"] = jit
    return Plan(
        "postgresql",
        (root,),
        "Execution Time" in top,
        {key: value for key, value in facts.items() if value is not None},
    )


def _node(raw: dict[str, Any], *, repeated: bool, workers: int) -> PlanNode:
    kind = raw["Node Type"]
    figures = _Figures.of(raw, workers)
    node = PlanNode(
        _step(raw),
        _detail(raw),
        table=raw.get("Alias", raw.get("Relation Name", "")),
        relation=raw.get("Relation Name", ""),
        schema=raw.get("Schema", ""),
        index=raw.get("Index Name", ""),
        purpose="ORDER BY" if kind in ("Sort", "Incremental Sort") else "",
        condition=raw.get("Index Cond", raw.get("Hash Cond", raw.get("Merge Cond", raw.get("Recheck Cond", "")))),
        filter=raw.get("Filter", raw.get("Join Filter", "")),
        repeated=repeated,
        rows=figures.rows,
        actual=figures.actual,
        loops=figures.loops,
        removed=figures.removed,
        cost=raw.get("Total Cost"),
        ms=figures.ms,
        facts=_facts(raw),
    )
    if kind.startswith("Gather"):
        workers = raw.get("Workers Planned", 0)
    for child in raw.get("Plans", []):
        relationship = child.get("Parent Relationship")
        again = (kind == "Nested Loop" and relationship == "Inner") or relationship == "SubPlan"
        below = _node(child, repeated=repeated or again, workers=workers)
        if _has_enough(raw, relationship):
            _mark_stopped(below)
        node.children.append(below)
    return node


def _has_enough(raw: dict[str, Any], relationship: str | None) -> bool:
    """Tell whether a node may leave the child of this relationship before that has brought all its rows."""
    first_match = raw.get("Join Type") in ("Semi", "Anti") and relationship == "Inner"
    # A subquery is asked for one row, or until a row is found, or for all: the plan does not tell which.
    return raw["Node Type"] == "Limit" or first_match or relationship in ("InitPlan", "SubPlan")


def _mark_stopped(node: PlanNode) -> None:
    node.stopped = True
    # A sort or a hash asks for all there is before it brings anything; an incremental sort goes group by group.
    if node.step not in (Step.SORT, Step.HASH) or node.detail.startswith("Incremental"):
        for child in node.children:
            _mark_stopped(child)


@dataclass(frozen=True, slots=True)
class _Figures:
    """A node's numbers: of one run each, and of all processes that share a run."""

    rows: float | None
    actual: float | None
    loops: float | None
    removed: float | None
    ms: float | None

    @classmethod
    def of(cls, raw: dict[str, Any], workers: int) -> _Figures:
        loops, total = raw.get("Actual Loops"), raw.get("Actual Total Time")
        plain = cls(
            raw.get("Plan Rows"),
            raw.get("Actual Rows"),
            loops,
            raw.get("Rows Removed by Filter"),
            None if total is None else total * (loops or 1),
        )
        return plain if not workers or not raw.get("Parallel Aware") else plain._together(workers, total)

    def _together(self, workers: int, total: float | None) -> _Figures:
        # What workers share is told per worker; the leader helps the less, the more there are (PostgreSQL's own rule).
        share = workers + max(0.0, 1 - 0.3 * workers)
        runs = self.loops or 1
        return _Figures(
            None if self.rows is None else self.rows * share,
            None if self.actual is None else self.actual * runs,
            None if self.loops is None else 1,
            None if self.removed is None else self.removed * runs,
            total,
        )


def _step(raw: dict[str, Any]) -> Step:
    kind = raw["Node Type"]
    # Without a condition the whole index is read, in its order.
    whole = kind in ("Index Scan", "Index Only Scan") and "Index Cond" not in raw and "Order By" not in raw
    return Step.INDEX_SCAN if whole else _STEPS.get(kind, Step.OTHER)


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
    if raw.get("Rows Removed by Index Recheck"):
        facts["rechecked"] = raw["Rows Removed by Index Recheck"]
    if raw.get("Strategy"):
        facts["strategy"] = raw["Strategy"]
    return facts


def table_rows(connection: Any, table: TableName) -> int:
    """Return about how many rows ``table`` has, as the statistics tell."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT greatest(c.reltuples, coalesce(s.n_live_tup, 0))::bigint FROM pg_class c "
            "LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid WHERE c.oid = to_regclass(%s)",
            [table.quoted(connection)],
        )
        row = cursor.fetchone()
    return max(0, int(row[0])) if row else 0


def stale_statistics(connection: Any, tables: list[TableName]) -> dict[TableName, tuple[int, int]]:
    """Return, of ``tables``, those whose statistics are stale: rows changed since the last ANALYZE, and rows in all."""
    by_text = {table.quoted(connection): table for table in tables}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT t, n_mod_since_analyze, n_live_tup FROM unnest(%s::text[]) t "
            "JOIN pg_stat_all_tables ON relid = to_regclass(t) "
            "WHERE n_live_tup >= 1000 AND (n_mod_since_analyze > n_live_tup * 0.2 "
            "OR coalesce(last_analyze, last_autoanalyze) IS NULL)",
            [list(by_text)],
        )
        return {by_text[text]: (changed, live) for text, changed, live in cursor.fetchall()}


def ancestors(connection: Any, tables: list[TableName]) -> dict[TableName, list[TableName]]:
    """Return the tables of which each of ``tables`` is a partition, or from which it inherits, nearest first."""
    by_text = {table.quoted(connection): table for table in tables}
    found: dict[TableName, list[TableName]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_ANCESTORS, [list(by_text)])
        for text, schema, name in cursor.fetchall():
            found.setdefault(by_text[text], []).append(TableName(name, schema))
    return found


_ANCESTORS = """
    WITH RECURSIVE above AS (
        SELECT t, inhparent, 1 AS depth FROM unnest(%s::text[]) t JOIN pg_inherits ON inhrelid = to_regclass(t)
        UNION ALL
        SELECT t, i.inhparent, depth + 1 FROM above JOIN pg_inherits i ON i.inhrelid = above.inhparent
    )
    SELECT t, nspname, relname FROM above JOIN pg_class c ON c.oid = inhparent
    JOIN pg_namespace n ON n.oid = relnamespace ORDER BY t, depth
"""


def cast_is_free(connection: Any, table: TableName, column: str, kind: str) -> bool:
    """Tell whether a cast of ``column`` to the type ``kind`` leaves its indexes usable: varchar to text does."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT atttypid = to_regtype(%s) OR EXISTS (SELECT FROM pg_cast WHERE castsource = atttypid "
            "AND casttarget = to_regtype(%s) AND castmethod = 'b') "
            "FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s",
            [kind, kind, table.quoted(connection), column],
        )
        row = cursor.fetchone()
    return bool(row and row[0])
