"""Faults that a plan's own numbers tell: estimates and actual rows, loops, spills, blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from noa_perf.optimizer.plans.fault import Fault
from noa_perf.optimizer.plans.tree import Plan, PlanNode, Step

MISESTIMATE = 10.0
GRAVE_MISESTIMATE = 100.0
MIN_MISESTIMATED_ROWS = 100
MANY_LOOPS = 1_000
MOSTLY_REMOVED = 0.9
MIN_REMOVED = 1_000
BY_INDEX = (Step.SEARCH, Step.INDEX_SCAN, Step.BITMAP)
JIT_SHARE = 0.3
MIN_JIT_MS = 10.0


def faults(plan: Plan) -> Iterator[Fault]:
    """Yield what the numbers of ``plan`` tell; most need one that was run (ANALYZE)."""
    for node in plan.walk():
        yield from _misestimate(node, plan.vendor)
        yield from _spill(node)
        yield from _many_loops(node, plan.vendor)
        yield from _removed(node)
        yield from _lossy(node)
    yield from _jit(plan)


def few_of_many(plan: Plan) -> Iterator[Fault]:
    """Yield where an index finds many rows, of which the joins and sorts above leave few."""
    for root in plan.roots:
        if root.actual is None:
            continue
        returned = root.actual * (root.loops or 1)
        node = max(_ungrouped(root), key=_found, default=root)
        found = _found(node)
        if found - returned < MIN_REMOVED or found - returned < found * MOSTLY_REMOVED:
            continue
        yield Fault(
            "few_of_many",
            node.table,
            f"{node.detail} reads {found:,.0f} rows, and the statement returns {returned:,.0f}",
            f"Find fewer rows from the start: give {node.index or 'an index'} the columns that are joined or sorted by "
            "later, or put a condition on this table itself.",
            evidence={"read": found, "returned": returned},
        )


def _ungrouped(node: PlanNode) -> Iterator[PlanNode]:
    """Yield the nodes that read by an index and whose rows are not made into groups, which need them all."""
    if node.step is Step.GROUP:
        return
    if node.step in BY_INDEX and node.table:
        yield node
    for child in node.children:
        yield from _ungrouped(child)


def _found(node: PlanNode) -> float:
    rechecked: float = node.facts.get("rechecked", 0)
    return ((node.actual or 0) + rechecked) * (node.loops or 1)


def _misestimate(node: PlanNode, vendor: str) -> Iterator[Fault]:
    if node.rows is None or node.actual is None or not node.loops or node.step in (Step.OTHER, Step.LIMIT):
        return
    expected, came = max(node.rows, 1.0), max(node.actual, 1.0)
    factor = max(expected / came, came / expected)
    if factor < MISESTIMATE or max(expected, came) < MIN_MISESTIMATED_ROWS:
        return
    if came < expected and (node.stopped or not node.table):
        return
    grave = factor >= GRAVE_MISESTIMATE
    yield Fault(
        "row_misestimate",
        node.table or node.detail,
        f"{node.detail}: {expected:,.0f} rows were expected and {came:,.0f} came, {factor:,.0f}× off",
        _better_statistics(node.table or "the table", vendor),
        certain=grave,
        evidence={"expected": expected, "actual": came, "factor": round(factor, 1), "grave": grave},
    )


def _better_statistics(table: str, vendor: str) -> str:
    if vendor == "mysql":
        return (
            f"Run ANALYZE TABLE on {table}. If that changes nothing, its values are spread unevenly: have it keep "
            "histograms, on MariaDB by ANALYZE TABLE ... PERSISTENT FOR ALL, on MySQL by ANALYZE TABLE ... UPDATE "
            "HISTOGRAM ON the columns."
        )
    return (
        f"Run ANALYZE on {table}. If that changes nothing, its columns depend on one another: CREATE STATISTICS on "
        "them, or raise their statistics target."
    )


def _spill(node: PlanNode) -> Iterator[Fault]:
    if "spill_kb" in node.facts:
        told, memory = f"{node.facts['spill_kb']:,} kB", "work_mem"
    elif "passes" in node.facts:
        told, memory = f"{node.facts['passes']:,} merges of what", "sort_buffer_size"
    else:
        return
    kind = "sort" if node.step is Step.SORT else "hash"
    yield Fault(
        f"{kind}_spill",
        node.table or node.detail,
        f"{node.detail} went to disk: {told} did not fit into {memory}",
        f"Raise {memory} for this statement ({_for_one(memory)}), fetch fewer rows or columns, or "
        f"{'give the order an index' if kind == 'sort' else 'let an index make the join'}.",
        evidence=dict(node.facts),
    )


def _for_one(memory: str) -> str:
    return f"SET LOCAL {memory}" if memory == "work_mem" else f"SET STATEMENT {memory} = ... FOR"


def _many_loops(node: PlanNode, vendor: str) -> Iterator[Fault]:
    if node.step is not Step.NESTED_LOOP or len(node.children) < 2:
        return
    inner = node.children[1]
    times = inner.loops if inner.loops is not None else node.children[0].rows
    if times is None or times < MANY_LOOPS or (inner.step is Step.SEARCH and not inner.removed):
        return
    yield Fault(
        "nested_loop",
        inner.table or inner.detail,
        f"A nested loop runs {inner.detail} {times:,.0f} times",
        "Give the inner side an index on the joined columns"
        + (", or refresh the statistics (ANALYZE), so that a hash join is chosen." if vendor == "postgresql" else "."),
        evidence={"loops": times},
    )


def _removed(node: PlanNode) -> Iterator[Fault]:
    if node.removed is None or node.actual is None or node.step is Step.SCAN or not node.table:
        return
    removed = node.removed * (node.loops or 1)
    came = node.actual * (node.loops or 1)
    if removed < MIN_REMOVED or removed < (removed + came) * MOSTLY_REMOVED:
        return
    yield Fault(
        "filter_removes_most",
        node.table,
        f"{node.detail} reads {removed + came:,.0f} rows and throws {removed:,.0f} of them away: {node.filter}",
        f"Add the filtered columns to {node.index or 'the index'}, behind those it is searched by.",
        evidence={"removed": removed, "kept": came},
    )


def _lossy(node: PlanNode) -> Iterator[Fault]:
    lossy = node.facts.get("lossy_blocks")
    if lossy:
        yield Fault(
            "lossy_bitmap",
            node.table,
            f"The bitmap of {node.detail} did not fit into work_mem: {lossy:,} blocks are checked row by row",
            "Raise work_mem for this statement (SET LOCAL work_mem), or make the condition more selective.",
            evidence=dict(node.facts),
        )


def _jit(plan: Plan) -> Iterator[Fault]:
    jit: Any = plan.facts.get("jit_ms")
    total: Any = plan.facts.get("execution_ms")
    if jit and total and jit >= MIN_JIT_MS and jit >= total * JIT_SHARE:
        yield Fault(
            "jit_overhead",
            "jit",
            f"Compiling the statement took {jit:.0f} of {total:.0f} ms",
            "Raise jit_above_cost, or switch jit off for this database: ALTER DATABASE ... SET jit = off.",
            evidence=dict(plan.facts),
        )
