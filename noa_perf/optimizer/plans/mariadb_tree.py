"""MariaDB's EXPLAIN and ANALYZE FORMAT=JSON, and MySQL's EXPLAIN FORMAT=JSON in its first version, as a plan tree.

Both nest what is done in each other by keys: ``{"filesort": {"table": {...}}}``. What is not known here is looked
through, so that a newer server's plan loses a step at most. MySQL's form is read off documented samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from noa_perf.optimizer.plans.tree import Plan, PlanNode, Step

Raw = dict[str, Any]

_ACCESS = {
    "ALL": (Step.SCAN, "Table scan"),
    "index": (Step.INDEX_SCAN, "Index scan"),
    "range": (Step.SEARCH, "Index range scan"),
    "ref": (Step.SEARCH, "Index lookup"),
    "ref_or_null": (Step.SEARCH, "Index lookup"),
    "eq_ref": (Step.SEARCH, "Unique index lookup"),
    "const": (Step.SEARCH, "One row"),
    "system": (Step.SEARCH, "One row"),
    "index_merge": (Step.SEARCH, "Index merge"),
    "fulltext": (Step.SEARCH, "Full-text search"),
}
_INSIDE_A_TABLE = ("materialized", "materialized_from_subquery", "materialization", "attached_subqueries")


def parse(document: Raw, *, analyzed: bool = False) -> Plan:
    """Return the tree of ``document``; ``analyzed`` says that the statement was run for it."""
    block = document["query_block"]
    total = block.get("r_total_time_ms")
    return Plan("mysql", tuple(_inside(block)), analyzed, {} if total is None else {"execution_ms": total})


def _inside(raw: Raw, *, repeated: bool = False) -> Iterator[PlanNode]:
    """Yield the nodes of all that is nested in ``raw``."""
    for key, value in raw.items():
        make = _MAKERS.get(key)
        if make is not None:
            yield from make(value, repeated)
        elif isinstance(value, dict):
            yield from _inside(value, repeated=repeated)


def _table(raw: Raw, repeated: bool) -> Iterator[PlanNode]:
    name = raw.get("table_name", "")
    if "message" in raw or not name:
        yield PlanNode(Step.OTHER, raw.get("message", "No table"))
        return
    made = name.startswith("<")  # <derived2>, <subquery3>: what another part of the plan has made
    step, words = _ACCESS.get(raw.get("access_type", ""), (Step.OTHER, str(raw.get("access_type", "Access"))))
    index = raw.get("key", "")
    node = PlanNode(
        Step.SUBQUERY if made and step is not Step.SEARCH else step,
        f"{words} on {name}" + (f" using {index}" if index else ""),
        table="" if made else name,
        index=index,
        condition=raw.get("index_condition", "") or _looked_up(raw),
        filter=raw.get("attached_condition", ""),
        repeated=repeated,
        stopped="first_match" in raw,
        cost=_number(raw.get("cost_info", {}).get("prefix_cost", raw.get("cost"))),
    )
    _add_figures(node, raw)
    for key in _INSIDE_A_TABLE:
        node.children += _inside({key: raw[key]} if key in raw else {})
    yield node


def _looked_up(raw: Raw) -> str:
    parts = zip(raw.get("used_key_parts", []), raw.get("ref", []), strict=False)
    return " and ".join(f"{part} = {'?' if source == 'const' else source}" for part, source in parts)


def _add_figures(node: PlanNode, raw: Raw) -> None:
    examined = _number(raw.get("rows", raw.get("rows_examined_per_scan")))
    share = _number(raw.get("filtered"))
    # 100 % of a scan that has a condition is no estimate, but the lack of one.
    unknown = node.step in (Step.SCAN, Step.INDEX_SCAN) and node.filter and share in (None, 100)
    if examined is not None and not unknown:
        node.rows = examined * (100 if share is None else share) / 100
    read = raw.get("r_rows")
    if read is None:
        return
    kept = read * raw.get("r_filtered", 100) / 100
    node.actual, node.removed, node.loops = kept, read - kept, raw.get("r_loops")
    node.ms = raw.get("r_table_time_ms", 0.0) + raw.get("r_other_time_ms", 0.0)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _nested_loop(items: list[Raw], repeated: bool) -> Iterator[PlanNode]:
    """Yield a tree of loops: each joins what came so far with one more table."""
    tree: PlanNode | None = None
    for item in items:
        for node in _inside(item, repeated=repeated or tree is not None):
            tree = node if tree is None else _loop(tree, node)
    if tree is not None:
        yield tree


def _loop(outer: PlanNode, inner: PlanNode) -> PlanNode:
    node = PlanNode(Step.NESTED_LOOP, "Nested loop", repeated=outer.repeated, children=[outer, inner])
    if outer.rows is not None and inner.rows is not None:
        node.rows = outer.rows * inner.rows
    if inner.actual is not None and inner.loops is not None:
        node.loops = outer.loops if outer.step is Step.NESTED_LOOP else 1
        node.actual = inner.actual * inner.loops / (node.loops or 1)
    if outer.ms is not None and inner.ms is not None:
        node.ms = outer.ms + inner.ms
    return node


def _buffered_join(raw: Raw, repeated: bool) -> Iterator[PlanNode]:
    """Yield the inner table of a join without an index: read again for each buffer of outer rows."""
    for node in _inside(raw, repeated=True):
        node.filter = " and ".join(one for one in (node.filter, raw.get("attached_condition", "")) if one)
        node.facts["buffered"] = raw.get("buffer_size", "")
        node.rows = None  # of what the join leaves there is no estimate
        if node.actual is not None and node.removed is not None:
            joined = node.actual * (raw.get("r_filtered") or 0) / 100
            node.actual, node.removed = joined, node.removed + node.actual - joined
        yield node


def _sort(raw: Raw, repeated: bool) -> Iterator[PlanNode]:
    key = raw.get("sort_key", "")
    node = PlanNode(Step.SORT, f"Sort by {key}" if key else "Sort", purpose="ORDER BY", repeated=repeated)
    node.actual, node.loops, node.ms = raw.get("r_output_rows"), raw.get("r_loops"), raw.get("r_total_time_ms")
    if raw.get("r_sort_passes"):
        node.facts["passes"] = raw["r_sort_passes"]
    node.children += _inside(raw, repeated=repeated)
    yield node


def _ordering(raw: Raw, repeated: bool) -> Iterator[PlanNode]:
    # MySQL says that rows come in order, and beside it whether they are sorted for that.
    yield from _sort(raw, repeated) if raw.get("using_filesort") else _inside(raw, repeated=repeated)


def _named(step: Step, words: str) -> Callable[[Raw, bool], Iterator[PlanNode]]:
    """Return what makes one node around what is nested."""

    def make(raw: Raw, repeated: bool) -> Iterator[PlanNode]:
        yield PlanNode(step, words, repeated=repeated, children=list(_inside(raw, repeated=repeated)))

    return make


def _parts(items: list[Raw], repeated: bool) -> Iterator[PlanNode]:
    """Yield a node for each query of a UNION or the like."""
    for item in items:
        block = item.get("query_block", {})
        words = f"{block.get('operation', 'Query')} #{block.get('select_id', '?')}"
        yield PlanNode(Step.SUBQUERY, words, repeated=repeated, children=list(_inside(item, repeated=repeated)))


def _subqueries(items: list[Raw], repeated: bool) -> Iterator[PlanNode]:
    for item in items:
        cached = item.get("expression_cache", item)  # kept by the values of the outer row: so it depends on them
        block = cached.get("query_block", {})
        again = repeated or cached is not item or bool(item.get("dependent")) or (block.get("r_loops") or 1) > 1
        words = f"{'Dependent subquery' if again else 'Subquery'} #{block.get('select_id', '?')}"
        yield PlanNode(Step.SUBQUERY, words, repeated=again, children=list(_inside(block, repeated=again)))


_SUBQUERIES = (
    *("subqueries", "attached_subqueries", "select_list_subqueries", "having_subqueries", "order_by_subqueries"),
    *("group_by_subqueries", "update_value_subqueries", "insert_values_subqueries", "optimized_away_subqueries"),
)
_MAKERS: dict[str, Callable[[Any, bool], Iterator[PlanNode]]] = {
    "table": _table,
    "nested_loop": _nested_loop,
    "block-nl-join": _buffered_join,
    "filesort": _sort,
    "ordering_operation": _ordering,
    "grouping_operation": _named(Step.GROUP, "Group"),
    "duplicates_removal": _named(Step.GROUP, "Duplicates removal"),
    "temporary_table": _named(Step.GROUP, "Temporary table"),
    "query_specifications": _parts,
    **dict.fromkeys(_SUBQUERIES, _subqueries),
}
