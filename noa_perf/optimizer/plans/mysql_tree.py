"""MySQL's EXPLAIN FORMAT=JSON in its second version (8.3 and later): each object is a step, its inputs are below it.

Read off documented samples; no server of it was at hand.
"""

from __future__ import annotations

from typing import Any

from noa_perf.optimizer.plans.tree import Plan, PlanNode, Step

Raw = dict[str, Any]

_STEPS = {"table": Step.SCAN, "sort": Step.SORT, "aggregate": Step.GROUP, "temp_table_aggregate": Step.GROUP}
_WHOLE_INDEX = "index_scan"


def parse(document: Raw) -> Plan:
    """Return the tree of ``document``, which is the outermost step, or holds it as its ``query_plan``."""
    top = document.get("query_plan", document)
    root = _node(top, repeated=False)
    return Plan("mysql", (root,), "actual_rows" in top)


def _node(raw: Raw, *, repeated: bool) -> PlanNode:
    inputs = raw.get("inputs", [])
    if raw.get("access_type") == "filter" and len(inputs) == 1:
        return _filtered(raw, _node(inputs[0], repeated=repeated))
    loops, last = raw.get("actual_loops"), raw.get("actual_last_row_ms")
    node = PlanNode(
        _step(raw),
        str(raw.get("operation") or raw.get("access_type") or "Step"),
        table=str(raw.get("alias") or raw.get("table_name") or ""),
        relation=raw.get("table_name", ""),
        schema=raw.get("schema_name", ""),
        index=raw.get("index_name", ""),
        purpose="ORDER BY" if raw.get("access_type") == "sort" else "",
        condition=raw.get("lookup_condition", ""),
        repeated=repeated,
        rows=raw.get("estimated_rows"),
        actual=raw.get("actual_rows"),
        loops=loops,
        cost=raw.get("estimated_total_cost"),
        ms=None if last is None else last * (loops or 1),
    )
    loop = node.step is Step.NESTED_LOOP
    node.children = [_node(one, repeated=repeated or (loop and at > 0)) for at, one in enumerate(inputs)]
    return node


def _filtered(raw: Raw, below: PlanNode) -> PlanNode:
    """Return what is filtered with its filter, as other engines have it; a filter on more than a table stays a step."""
    if not below.table:
        return PlanNode(Step.OTHER, raw.get("operation", "Filter"), filter=raw.get("condition", ""), children=[below])
    read = below.actual
    below.filter = raw.get("condition", "")
    below.rows, below.actual = raw.get("estimated_rows", below.rows), raw.get("actual_rows", below.actual)
    if read is not None and below.actual is not None:
        below.removed = read - below.actual
    return below


def _step(raw: Raw) -> Step:
    kind = raw.get("access_type", "")
    if kind == "join":
        return Step.NESTED_LOOP if raw.get("join_algorithm", "nested_loop") == "nested_loop" else Step.HASH
    if kind == "index":
        return Step.INDEX_SCAN if raw.get("index_access_type") == _WHOLE_INDEX else Step.SEARCH
    if raw.get("operation", "").startswith("Limit"):
        return Step.LIMIT
    return _STEPS.get(kind, Step.OTHER)
