"""Which use of which table each node of a plan reads for.

A plan names partitions where the statement names their parent, what is beneath a view instead of the view, and a
table that several blocks use under one name with a number behind it (PostgreSQL) or over again (SQLite).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace

from noa_perf.optimizer.plans.names import TableName
from noa_perf.optimizer.plans.predicates import Block, TableUse, Uses, use_of_condition
from noa_perf.optimizer.plans.tree import Plan, PlanNode, Step

READS = frozenset({Step.SCAN, Step.INDEX_SCAN, Step.SEARCH, Step.BITMAP, Step.AUTOMATIC_INDEX})

Ancestors = Mapping[TableName, list[TableName]]
CastIsFree = Callable[[TableName, str, str], bool]
"""Tells whether a cast of a table's column to a type leaves its indexes usable."""


@dataclass(slots=True)
class Source:
    """One table as one block of the statement uses it, and the nodes that read it: several, if it is partitioned."""

    use: TableUse
    block: Block
    table: TableName
    """What an index is to be created on: never a partition, never a view."""
    nodes: list[PlanNode] = field(default_factory=list)
    certain: bool = True
    """False where the columns were read off the plan, or through a view."""

    def relations(self, *steps: Step) -> list[TableName]:
        """Return what is read by ``steps``: the table, or those of its partitions that are not left out."""
        read = [relation(node) or self.table for node in self.nodes if node.step in steps]
        return list(dict.fromkeys(read))


def relation(node: PlanNode) -> TableName | None:
    """Return the table that ``node`` names beside its alias, if the engine tells."""
    return TableName(node.relation, node.schema) if node.relation else None


def reads(plan: Plan) -> list[PlanNode]:
    """Return the nodes of ``plan`` that read a table."""
    return [node for node in plan.walk() if node.table and node.step in READS]


def unnamed(plan: Plan, uses: Uses) -> list[TableName]:
    """Return the tables in ``plan`` that the statement does not name: partitions, and what is beneath views."""
    found = [table for node in reads(plan) if (table := relation(node)) is not None]
    return [table for table in dict.fromkeys(found) if not any(table.is_same(use.table) for use in uses.tables())]


def sources(plan: Plan, uses: Uses, ancestors: Ancestors, cast_is_free: CastIsFree) -> list[Source]:
    """Return what ``plan`` reads, each with the use that the statement makes of it."""
    found = _Sources(plan.vendor, uses, ancestors, cast_is_free)
    # What tells its columns finds its use by them; the rest takes what is left, in the order of the statement.
    for node in sorted(reads(plan), key=lambda node: not _tells(node)):
        found.add(node)
    return list(found.made.values())


class _Sources:
    def __init__(self, vendor: str, uses: Uses, ancestors: Ancestors, cast_is_free: CastIsFree) -> None:
        self.vendor = vendor
        self.pairs = [(block, use) for block in uses.blocks for use in block.tables.values()]
        self.ancestors = ancestors
        self.cast_is_free = cast_is_free
        self.made: dict[Hashable, Source] = {}

    def add(self, node: PlanNode) -> None:
        checked = self._checked(node)
        candidates = list(self._candidates(node))
        if candidates:
            block, use = min(candidates, key=lambda pair: self._misfit(pair[1], checked))
            source = self.made.get(id(use)) or self._stated(node, block, use, checked)
            self.made[id(use)] = source
        elif checked is not None and node.relation:
            source = self._beneath(node, checked)
        else:
            return
        source.nodes.append(node)

    def _candidates(self, node: PlanNode) -> list[tuple[Block, TableUse]]:
        reading = [pair for pair in self.pairs if self._reads(node, pair[1])]
        named = [pair for pair in reading if pair[1].alias == node.table]
        if named or not node.relation:
            return named
        return [pair for pair in reading if pair[1].alias == _unnumbered(node.table)]

    def _reads(self, node: PlanNode, use: TableUse) -> bool:
        read = relation(node)
        return read is None or any(use.table.is_same(one) for one in (read, *self.ancestors.get(read, ())))

    def _misfit(self, use: TableUse, checked: TableUse | None) -> tuple[int, bool]:
        return (len(checked.compared() ^ use.compared()) if checked is not None else 0), id(use) in self.made

    def _checked(self, node: PlanNode) -> TableUse | None:
        """Return the use that the node's own conditions tell of; None where they tell nothing."""
        if not _tells(node):
            return None
        text = " AND ".join(f"({one})" for one in (node.condition, node.filter) if one) or "TRUE"
        return use_of_condition(text, relation(node) or TableName(node.table), node.table, self.vendor)

    def _stated(self, node: PlanNode, block: Block, use: TableUse, checked: TableUse | None) -> Source:
        """Return what the statement names; where the plan knows better what is compared, as the plan has it.

        SQLite's plan, which names no table beside an alias, tells what an index is searched by, and no filter.
        """
        known = use
        if node.relation and checked is not None and (checked.compared() != use.compared() or checked.casts):
            wildcard = use.wildcard or checked.wildcard
            known = replace(checked, table=use.table, alias=use.alias, joined=use.joined, wildcard=wildcard)
        table = self._table(node, use.table)
        return Source(self._decided(known, table, use.equal), block, table, certain=not use.followed)

    def _beneath(self, node: PlanNode, checked: TableUse) -> Source:
        """Return what a view reads: the statement does not name it, so the plan alone tells of it."""
        table = self._table(node, None)
        mark = (_unnumbered(node.table), table, frozenset(checked.compared()))
        if mark not in self.made:
            self.made[mark] = Source(self._decided(checked, table, []), Block(), table, certain=False)
        return self.made[mark]

    def _table(self, node: PlanNode, stated: TableName | None) -> TableName:
        read = relation(node)
        if read is None:
            return stated or TableName(node.table)
        line = [read, *self.ancestors.get(read, [])]
        found = next((one for one in line if stated is not None and one.is_same(stated)), line[-1])
        return TableName(found.name) if found.schema == "public" and not (stated and stated.schema) else found

    def _decided(self, use: TableUse, table: TableName, stated: list[str]) -> TableUse:
        """Return ``use`` with each cast taken for what it is: nothing, or a function that hides the column."""
        decided = replace(use, equal=[*use.equal], wrapped=[*use.wrapped], casts=[])
        for column, kind, comparison in use.casts:
            if self.cast_is_free(table, column, kind):
                setattr(decided, comparison, [*dict.fromkeys([*getattr(decided, comparison), column])])
            else:
                decided.wrapped.append((column, "cast"))
        decided.equal.sort(key=lambda column: stated.index(column) if column in stated else len(stated))
        return decided


def _unnumbered(alias: str) -> str:
    return re.sub(r"_\d+$", "", alias)


def _tells(node: PlanNode) -> bool:
    """Tell whether the node names the columns that it compares, or would if there were any."""
    return bool(node.relation or node.condition or node.filter)
