"""Faults in how a plan reads its tables: a whole one for a few rows, a sort or an index made anew at each run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from noa_perf.optimizer.plans.cure import Wanted, index_fault
from noa_perf.optimizer.plans.fault import Fault
from noa_perf.optimizer.plans.names import named
from noa_perf.optimizer.plans.sources import Source
from noa_perf.optimizer.plans.tree import Plan, PlanNode, Step

MIN_TABLE_ROWS = 1_000
"""A scan of a smaller table is what any planner would choose."""
MAX_SELECTED = 0.3
"""Share of a table's rows from which reading all of it is right."""
MAX_INDEX_COLUMNS = 4

WHOLE = (Step.SCAN, Step.INDEX_SCAN)


@dataclass(frozen=True, slots=True)
class Facts:
    """A plan, and what is known of the tables that it reads and of the statement's runs."""

    plan: Plan
    sources: list[Source]
    connection: Any
    engine: Any
    returned: float | None
    """Rows that a run returns, on average; None if it was not watched."""
    wildcard: bool
    """Whether it was run with a LIKE pattern that starts with a wildcard."""

    def rows(self, source: Source, *steps: Step) -> int:
        """Return about how many rows are in what ``steps`` read of ``source``, all its partitions together."""
        return sum(self.engine.table_rows(self.connection, table) for table in source.relations(*steps))

    def evidence(self, rows: int, **more: Any) -> dict[str, Any]:
        """Return what a fault shows for itself."""
        return {"table_rows": rows, **more, "plan": self.plan.lines()}


def faults(facts: Facts) -> Iterator[Fault]:
    """Yield the faults of each table, then those of each sort."""
    for source in facts.sources:
        rows = facts.rows(source, Step.AUTOMATIC_INDEX)
        if rows >= MIN_TABLE_ROWS:
            yield from _automatic_index(facts, source, rows)
        rows = facts.rows(source, *WHOLE)
        if rows >= MIN_TABLE_ROWS:
            yield from _scan(facts, source, rows)
    for sort, first in _sorts(facts.plan):
        yield from _sort(facts, sort, first)


def _scan(facts: Facts, source: Source, rows: int) -> Iterator[Fault]:
    use = source.use
    nodes = [node for node in source.nodes if node.step in WHOLE]
    selected = _selected(facts, source, nodes, rows)
    evidence = facts.evidence(rows, rows_selected=selected)
    if use.liked and (facts.wildcard or use.wildcard) and not use.equal:
        yield _wildcard(source, rows, evidence)
        return
    if use.wrapped and not (use.equal or use.ranged):
        yield _hidden(source, rows, evidence)
        return
    columns = _wanted(source)
    everything = selected is not None and selected > rows * MAX_SELECTED
    again = any(node.repeated for node in nodes)
    if columns and not everything and (use.equal or use.listed or use.ranged or again):
        summary = f"Every run reads all {rows:,} rows of {source.table}{_how_often(nodes)}"
        yield index_fault("full_scan", _wish(facts, source, columns), summary, evidence)


def _how_often(nodes: list[PlanNode]) -> str:
    if any("buffered" in node.facts for node in nodes):
        return ", for each buffer of outer rows"
    return ", for each outer row" if any(node.repeated for node in nodes) else ""


def _hidden(source: Source, rows: int, evidence: dict[str, Any]) -> Fault:
    column, function = source.use.wrapped[0]
    summary = f"{function}({column}) hides {source.table}.{column} from any index, so all {rows:,} rows are read"
    cure = (
        f"Compare {column} itself, with a value of its own type, or by a range (__gte, __lt) instead of a date part; "
        "or index the expression."
    )
    return _of_source("function_hides_index", source, summary, cure, evidence)


def _wildcard(source: Source, rows: int, evidence: dict[str, Any]) -> Fault:
    column = source.use.liked[0]
    summary = f"A pattern that starts with a wildcard on {source.table}.{column} reads all {rows:,} rows"
    cure = (
        f"No B-tree index can help. Search {column} by full text (FTS5 on SQLite, SearchVector or a trigram "
        "index on PostgreSQL, a FULLTEXT index on MariaDB and MySQL), or by its beginning: __startswith."
    )
    return _of_source("leading_wildcard", source, summary, cure, evidence)


def _of_source(kind: str, source: Source, summary: str, cure: str, evidence: dict[str, Any]) -> Fault:
    return Fault(kind, named(source.table), summary, cure, certain=source.certain, evidence=evidence)


def _selected(facts: Facts, source: Source, nodes: list[PlanNode], rows: int) -> float | None:
    """Return about how many of ``rows`` are wanted; None where nothing tells."""
    if any(node.stopped and node.actual is not None for node in nodes):
        return _by_sample(nodes, rows)
    told = [node.rows if node.actual is None else node.actual for node in nodes]
    figures = [figure for figure in told if figure is not None]
    if figures:
        return sum(figures)
    return facts.returned if source.block.answers and not source.block.limited else None


def _by_sample(nodes: list[PlanNode], rows: int) -> float:
    """Return how many of ``rows`` would have been wanted, had the scan not been left; all, if it soon had enough."""
    came = sum(node.actual or 0 for node in nodes)
    seen = came + sum(node.removed or 0 for node in nodes)
    return rows * came / seen if seen >= MIN_TABLE_ROWS else rows


def _automatic_index(facts: Facts, source: Source, rows: int) -> Iterator[Fault]:
    columns = [(name, False) for name in dict.fromkeys([*source.use.joined, *source.use.equal])]
    if columns:
        summary = f"Every run builds an index of {source.table} ({rows:,} rows) and throws it away"
        yield index_fault("automatic_index", _wish(facts, source, columns), summary, facts.evidence(rows))


def _sorts(plan: Plan) -> Iterator[tuple[PlanNode, PlanNode]]:
    """Yield each sort with the first node that reads for it: below it, or beside it where a plan is a list."""
    for siblings in (list(plan.roots), *(node.children for node in plan.walk())):
        for sort in siblings:
            if sort.step is Step.SORT:
                below = sort.children or siblings
                first = next((one for node in below for one in node.walk() if one.table), None)
                if first is not None:
                    yield sort, first


def _sort(facts: Facts, sort: PlanNode, first: PlanNode) -> Iterator[Fault]:
    source = next((one for one in facts.sources if any(node is first for node in one.nodes)), None)
    if source is None or sort.purpose != "ORDER BY" or not source.block.limited or source.use.listed:
        return
    if {alias for alias, _, _ in source.block.order} != {source.use.alias}:
        return
    rows = facts.rows(source, *(node.step for node in source.nodes))
    columns = _wanted(source)
    if rows >= MIN_TABLE_ROWS and columns:
        summary = f"Every run sorts rows of {source.table} ({rows:,} in all) to return the first few"
        yield index_fault("sort_without_index", _wish(facts, source, columns), summary, facts.evidence(rows))


def _wanted(source: Source) -> list[tuple[str, bool]]:
    """Return the columns of the index that serves ``source``: equalities, then the order or one range."""
    use, order = source.use, source.block.order
    # Another table's rows give it a value only where it is read again for each of them.
    joined = use.joined if any(node.repeated for node in source.nodes) else []
    columns = [(name, False) for name in dict.fromkeys([*use.equal, *joined])]
    own = [(name, down) for alias, name, down in order if alias == use.alias]
    given = {name for name, _ in columns}
    if own and len(own) == len(order) and not use.listed:
        columns += [(name, down) for name, down in own if name not in given]
    else:
        columns += [(name, False) for name in [*use.listed, *use.ranged][:1] if name not in given]
    return columns[:MAX_INDEX_COLUMNS]


def _wish(facts: Facts, source: Source, columns: list[tuple[str, bool]]) -> Wanted:
    return Wanted(facts.connection, source.table, columns, source.certain)
