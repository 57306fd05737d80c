"""One plan tree for all engines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from noa_perf.optimizer.fingerprint import fold


class Step(Enum):
    """What a node of a plan does, in terms that hold on every engine."""

    SCAN = "scan"
    INDEX_SCAN = "index scan"
    SEARCH = "index search"
    BITMAP = "bitmap"
    AUTOMATIC_INDEX = "automatic index"
    SORT = "sort"
    HASH = "hash"
    GROUP = "group"
    LIMIT = "limit"
    NESTED_LOOP = "nested loop"
    SUBQUERY = "subquery"
    OTHER = "other"


@dataclass(slots=True)
class PlanNode:
    """One step of a plan; what an engine or a plain EXPLAIN does not tell is None."""

    step: Step
    detail: str
    """The engine's own words."""
    table: str = ""
    """Alias or name of the table, as the statement names it."""
    relation: str = ""
    """Name of the table itself, where the plan tells it: a partition's, or that of a table beneath a view."""
    schema: str = ""
    """Schema of ``relation``."""
    index: str = ""
    """Name of the index used, if any."""
    purpose: str = ""
    """What a sort is for: ``ORDER BY``, ``GROUP BY`` or ``DISTINCT``."""
    condition: str = ""
    """What an index is searched by; placeholders, or the literals of the statement."""
    filter: str = ""
    """What is checked on each row that was read."""
    repeated: bool = False
    """Whether it runs once for each row of what encloses it."""
    stopped: bool = False
    """Whether it may be left before it brought all its rows, for a LIMIT or an EXISTS has enough."""
    rows: float | None = None
    """Rows that the planner expects, each time it runs."""
    actual: float | None = None
    """Rows that came, each time it ran."""
    loops: float | None = None
    """How many times it ran."""
    removed: float | None = None
    """Rows that the filter threw away, each time it ran."""
    cost: float | None = None
    """Cost in the engine's own unit, all below included."""
    ms: float | None = None
    """Milliseconds, all runs together, all below included."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Further facts: ``spill_kb`` or ``passes``, ``lossy_blocks``, ``batches``, ``rechecked``, ``buffered``."""
    children: list[PlanNode] = field(default_factory=list)

    def walk(self) -> Iterator[PlanNode]:
        """Yield this node and all below it, outermost first."""
        yield self
        for child in self.children:
            yield from child.walk()

    @property
    def own_ms(self) -> float | None:
        """Milliseconds without those of the nodes below."""
        if self.ms is None:
            return None
        return max(0.0, self.ms - sum(child.ms or 0.0 for child in self.children))

    def figures(self) -> str:
        """Return what is known of rows, loops and time, as the end of a line."""
        parts = []
        expected = [] if self.rows is None else [f"rows {_number(self.rows)} expected"]
        came = [] if self.actual is None else [f"came {_number(self.actual)}"]
        if expected or came:
            parts.append(", ".join(expected + came))
        if self.loops is not None and self.loops > 1:
            parts.append(f"{_number(self.loops)} times")
        if self.removed:
            parts.append(f"{_number(self.removed)} filtered out")
        if self.ms is not None:
            parts.append(f"{self.ms:.2f} ms")
        elif self.cost is not None:
            parts.append(f"cost {self.cost:,.0f}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of one statement."""

    vendor: str
    roots: tuple[PlanNode, ...]
    analyzed: bool = False
    """Whether the statement was run, so that actual rows and times are known."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Facts of the whole: ``execution_ms``, ``planning_ms``, ``jit_ms``."""

    def walk(self) -> Iterator[PlanNode]:
        """Yield every node, outermost first."""
        for root in self.roots:
            yield from root.walk()

    def redacted(self) -> Plan:
        """Return the plan without the values that its conditions may quote."""
        return replace(self, roots=tuple(_redacted(root, self.vendor) for root in self.roots))

    def outline(self) -> dict[str, Any]:
        """Return the plan as JSON-serialisable data: ``lines`` of text, and ``roots``.

        Each node has ``title``, ``figures``, ``weight`` (its own share of the whole, 0 to 1, or None) and ``children``.
        """
        whole = sum(root.ms if root.ms is not None else root.cost or 0.0 for root in self.roots)
        return {"lines": self.drawn(), "roots": [_outlined(root, whole) for root in self.roots]}

    def lines(self) -> list[str]:
        """Return the plan as indented lines of text, in the engine's own words."""
        return list(self._indented("  ", lambda node: node.detail))

    def drawn(self) -> list[str]:
        """Return the plan drawn as a tree for a terminal, with what is known of rows and time."""
        drawn: list[str] = []

        def draw(node: PlanNode, first: str, rest: str) -> None:
            figures = node.figures()
            drawn.append(f"{first}{node.detail}" + (f"  ({figures})" if figures else ""))
            drawn.extend(f"{rest}{'│' if node.children else ' '}    {line}" for line in _conditions(node))
            for number, child in enumerate(node.children, 1):
                last = number == len(node.children)
                draw(child, f"{rest}{'└─' if last else '├─'} ", f"{rest}{'   ' if last else '│  '}")

        for root in self.roots:
            draw(root, "", "")
        return drawn

    def _indented(self, step: str, text: Any) -> Iterator[str]:
        pending = [(root, 0) for root in reversed(self.roots)]
        while pending:
            node, depth = pending.pop()
            yield step * depth + text(node)
            pending.extend((child, depth + 1) for child in reversed(node.children))


def _outlined(node: PlanNode, whole: float) -> dict[str, Any]:
    own = node.own_ms
    if own is None and node.cost is not None:
        own = max(0.0, node.cost - sum(child.cost or 0.0 for child in node.children))
    return {
        "title": node.detail,
        "figures": node.figures(),
        "weight": own / whole if own is not None and whole else None,
        "children": [_outlined(child, whole) for child in node.children],
    }


def _redacted(node: PlanNode, vendor: str) -> PlanNode:
    return replace(
        node,
        detail=fold(node.detail, vendor),
        condition=fold(node.condition, vendor),
        filter=fold(node.filter, vendor),
        children=[_redacted(child, vendor) for child in node.children],
    )


def _conditions(node: PlanNode) -> list[str]:
    lines = [f"search: {node.condition}"] if node.condition and node.condition not in node.detail else []
    return lines + ([f"filter: {node.filter}"] if node.filter else [])


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"
