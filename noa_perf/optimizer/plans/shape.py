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

_AND = " + "
_ALL_OF = "scan of "


@dataclass(frozen=True, slots=True)
class Access:
    """One way in which a plan reads a table."""

    table: TableName
    index: str
    """Name of the index, or one of the words above."""
    whole: bool = False
    """Whether the index is read from end to end, and nothing is looked up in it."""

    @property
    def way(self) -> str:
        """Return it in words."""
        return f"{_ALL_OF}{self.index}" if self.whole else self.index


def accesses(sources: list[Source]) -> list[Access]:
    """Return the ways in which the tables behind ``sources`` are read, each once."""
    found = [
        Access(source.table, index, node.step is Step.INDEX_SCAN)
        for source in sources
        for node in source.nodes
        for index in _indexes(node)
    ]
    return list(dict.fromkeys(found))


def _indexes(node: PlanNode) -> Iterator[str]:
    if node.step is Step.SCAN:
        yield SCAN
    elif node.step is Step.AUTOMATIC_INDEX:
        yield AUTOMATIC
    elif node.step is Step.BITMAP:
        yield from dict.fromkeys(below.index for below in node.walk() if below.index)
    else:
        yield node.index or PRIMARY_KEY


def ways_by_table(found: list[Access]) -> dict[str, str]:
    """Return how each table is read, in words that can be kept and compared."""
    ways: dict[str, set[str]] = {}
    for one in found:
        ways.setdefault(str(one.table), set()).add(one.way)
    return {table: _AND.join(sorted(each)) for table, each in sorted(ways.items())}


def indexes_of(ways: str) -> set[str]:
    """Return the indexes that such words name."""
    return {way.removeprefix(_ALL_OF) for way in ways.split(_AND)} - WITHOUT_INDEX


def selectivity(ways: str) -> int:
    """Return 2 where rows are looked up by an index, 1 where all of an index is read, 0 where the table is."""
    return min(0 if way in WITHOUT_INDEX else 1 if way.startswith(_ALL_OF) else 2 for way in ways.split(_AND))
