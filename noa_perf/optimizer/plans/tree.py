"""One plan tree for all engines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum


class Step(Enum):
    """What a node of a plan does, in terms that hold on every engine."""

    SCAN = "scan"
    INDEX_SCAN = "index scan"
    SEARCH = "index search"
    AUTOMATIC_INDEX = "automatic index"
    SORT = "sort"
    SUBQUERY = "subquery"
    OTHER = "other"


@dataclass(slots=True)
class PlanNode:
    """One step of a plan."""

    step: Step
    detail: str
    """The engine's own words."""
    table: str = ""
    """Alias or name of the table, as the statement names it."""
    index: str = ""
    """Name of the index used, if any."""
    purpose: str = ""
    """What a sort is for: ``ORDER BY``, ``GROUP BY`` or ``DISTINCT``."""
    repeated: bool = False
    """Whether it runs once for each row of what encloses it."""
    children: list[PlanNode] = field(default_factory=list)

    def walk(self) -> Iterator[PlanNode]:
        """Yield this node and all below it, outermost first."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of one statement."""

    vendor: str
    roots: tuple[PlanNode, ...]

    def walk(self) -> Iterator[PlanNode]:
        """Yield every node, outermost first."""
        for root in self.roots:
            yield from root.walk()

    def lines(self) -> list[str]:
        """Return the plan as indented lines of text."""
        drawn: list[str] = []

        def draw(node: PlanNode, depth: int) -> None:
            drawn.append("  " * depth + node.detail)
            for child in node.children:
                draw(child, depth + 1)

        for root in self.roots:
            draw(root, 0)
        return drawn
