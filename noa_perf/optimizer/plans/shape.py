"""The shape of a plan: by which index each table is read, or that it is scanned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from noa_perf.optimizer.plans.names import TableName
from noa_perf.optimizer.plans.sources import Source
from noa_perf.optimizer.plans.tree import PlanNode, Step

SCAN = "scan"
AUTOMATIC = "automatic index"
"""Built at each run and thrown away: an index that is missing."""
PRIMARY_KEY = "primary key"
"""SQLite's own order of a table, which has no name."""
WITHOUT_INDEX = frozenset({SCAN, AUTOMATIC})


@dataclass(frozen=True, slots=True)
class Access:
    """One way in which a plan reads a table."""

    table: TableName
    way: str
    """Name of the index, or one of the words above."""


def accesses(sources: list[Source]) -> list[Access]:
    """Return the ways in which the tables behind ``sources`` are read, each once."""
    found = [Access(source.table, way) for source in sources for node in source.nodes for way in _ways(node)]
    return list(dict.fromkeys(found))


def _ways(node: PlanNode) -> Iterator[str]:
    if node.step is Step.SCAN:
        yield SCAN
    elif node.step is Step.AUTOMATIC_INDEX:
        yield AUTOMATIC
    elif node.step is Step.BITMAP:
        yield from dict.fromkeys(below.index for below in node.walk() if below.index)
    else:
        yield node.index or PRIMARY_KEY
