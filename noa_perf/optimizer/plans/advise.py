"""Reads the plan of a dear statement and says what in it costs, and which index or rewrite mends that."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError, connections

from noa_perf.core.findings import Place
from noa_perf.optimizer import capture, lineage
from noa_perf.optimizer.callsite import relative
from noa_perf.optimizer.fingerprint import statement
from noa_perf.optimizer.plans import measured, predicates
from noa_perf.optimizer.plans.engines import ENGINES
from noa_perf.optimizer.plans.fault import Fault
from noa_perf.optimizer.plans.predicates import TableUse, Uses, uses_of
from noa_perf.optimizer.plans.tree import Plan, PlanNode, Step
from noa_perf.optimizer.sightings import Shape

MIN_TABLE_ROWS = 1_000
"""A scan of a smaller table is what any planner would choose."""
MIN_MEAN_SECONDS = 0.001
MIN_SHARE = 0.002
"""Share of all time in the database from which a statement's plan is read though it is not slow."""
MAX_SELECTED = 0.3
"""Share of a table's rows from which reading all of it is right."""
DEEP_OFFSET = 1_000
MAX_INDEX_COLUMNS = 4


@dataclass(frozen=True, slots=True)
class Asked:
    """A statement whose plan is wanted, with what is known of its runs."""

    alias: str
    sql: str
    returned: float | None = None
    """Rows that a run returns, on average; None if it was not watched."""
    wildcard: bool = False
    """Whether it was run with a LIKE pattern that starts with a wildcard."""

    @classmethod
    def of(cls, shape: Shape) -> Asked:
        """Return what the runs of ``shape`` tell."""
        return cls(shape.alias, shape.sql, shape.rows / max(1, shape.count), shape.wildcard)


@dataclass(slots=True)
class Reading:
    """The plan of one statement and what is wrong with it."""

    plan: Plan | None
    faults: list[Fault]
    unavailable: str = ""
    """Why there is no plan, if there is none."""

    @property
    def lines(self) -> list[str]:
        """The plan as indented text."""
        return self.plan.lines() if self.plan is not None else []


def worth_reading(shape: Shape, total: float) -> bool:
    """Tell whether a statement costs enough for its plan to be read."""
    mean = shape.seconds / max(1, shape.count)
    return mean >= MIN_MEAN_SECONDS or shape.seconds >= total * MIN_SHARE


def read(asked: Asked, params: Any = None, *, analyze: bool = False) -> Reading:
    """Return the plan of a statement and its faults; runs EXPLAIN, and the statement itself only with ``analyze``."""
    connection = connections[asked.alias]
    engine = ENGINES.get(connection.vendor)
    if engine is None:
        why = f"Plans cannot be read on {connection.vendor} ({asked.alias}); all else is measured there too."
        return Reading(None, [], why)
    if statement(asked.sql).kind.value not in ("select", "update", "delete", "insert"):
        return Reading(None, [], "Only SELECT, INSERT, UPDATE and DELETE have a plan.")
    if not predicates.is_single(asked.sql, connection.vendor):
        return Reading(None, [], "Only one statement at a time is explained, and one that can be parsed.")
    with capture.muted():
        try:
            plan: Plan = engine.explain(connection, asked.sql, params, analyze=analyze)
        except DatabaseError as error:
            return Reading(None, [], f"Its plan could not be read ({type(error).__name__}).")
        try:
            return Reading(plan, list(_Reader(asked, plan, connection, engine).faults()))
        except DatabaseError as error:
            return Reading(plan, [], f"What its tables hold could not be asked ({type(error).__name__}).")


class _Reader:
    def __init__(self, asked: Asked, plan: Plan, connection: Any, engine: Any) -> None:
        self.asked = asked
        self.plan = plan
        self.connection = connection
        self.engine = engine
        self.uses: Uses | None = uses_of(asked.sql, connection.vendor)

    def faults(self) -> Iterator[Fault]:
        """Yield the plan's faults, one for each table and kind."""
        yield from self._deep_offset()
        yield from measured.faults(self.plan)
        if self.uses is None:
            return
        yield from self._stale_statistics(self.uses)
        told: set[tuple[str, str]] = set()
        for node in self.plan.walk():
            for fault in self._of_node(node, self.uses):
                mark = (fault.subject, fault.code or fault.kind)
                if mark not in told:
                    told.add(mark)
                    yield fault

    def _of_node(self, node: PlanNode, uses: Uses) -> Iterator[Fault]:
        if node.step is Step.SORT:
            yield from self._sort(node, uses)
            return
        use = uses.tables.get(node.table)
        if use is None or node.step not in (Step.SCAN, Step.INDEX_SCAN, Step.AUTOMATIC_INDEX):
            return
        rows = self.engine.table_rows(self.connection, use.name)
        if rows < MIN_TABLE_ROWS:
            return
        if node.step is Step.AUTOMATIC_INDEX:
            yield from self._automatic_index(use, rows)
        else:
            yield from self._scan(node, use, uses, rows)

    def _scan(self, node: PlanNode, use: TableUse, uses: Uses, rows: int) -> Iterator[Fault]:
        selected = self._selected(node, uses)
        facts = {"table_rows": rows, "rows_selected": selected, "plan": self.plan.lines()}
        if use.wrapped and not (use.equal or use.ranged):
            column, function = use.wrapped[0]
            yield Fault(
                "function_hides_index",
                _named(use.name),
                f"{function}({column}) hides {use.name}.{column} from any index, so all {rows:,} rows are read",
                f"Compare {column} itself, by a range (__gte, __lt) instead of a date part; or index the expression.",
                evidence=facts,
            )
            return
        columns = self._wanted(use, uses)
        if use.liked and self.asked.wildcard and not use.equal:
            column = use.liked[0]
            yield Fault(
                "leading_wildcard",
                _named(use.name),
                f"A pattern that starts with a wildcard on {use.name}.{column} reads all {rows:,} rows",
                f"No B-tree index can help. Search {column} by full text (FTS5 on SQLite, SearchVector or a trigram "
                "index on PostgreSQL), or by its beginning: __startswith.",
                evidence=facts,
            )
            return
        everything = selected is not None and selected > rows * MAX_SELECTED
        if columns and not everything and (use.equal or use.ranged or node.repeated):
            summary = f"Every run reads all {rows:,} rows of {use.name}" + (
                ", for each outer row" if node.repeated else ""
            )
            yield self._index_fault("full_scan", use, columns, summary, facts)

    def _selected(self, node: PlanNode, uses: Uses) -> float | None:
        """Return about how many of the rows read are wanted; None where nothing tells."""
        if node.actual is not None or node.rows is not None:
            return node.actual if node.actual is not None else node.rows
        return None if uses.aggregated or uses.limited else self.asked.returned

    def _stale_statistics(self, uses: Uses) -> Iterator[Fault]:
        ask = getattr(self.engine, "stale_statistics", None)
        found = ask(self.connection, [use.name for use in uses.tables.values()]) if ask is not None else {}
        for table, (changed, live) in found.items():
            yield Fault(
                "stale_statistics",
                _named(table),
                f"{changed:,} rows of {table} ({live:,} in all) changed since it was last analyzed",
                f"Run ANALYZE {table}, so that the planner knows what is in it; see to it that autovacuum keeps up.",
                f"ANALYZE {table}",
                evidence={"changed": changed, "rows": live},
            )

    def _automatic_index(self, use: TableUse, rows: int) -> Iterator[Fault]:
        columns = [(name, False) for name in dict.fromkeys([*use.joined, *use.equal])]
        if columns:
            summary = f"Every run builds an index of {use.name} ({rows:,} rows) and throws it away"
            yield self._index_fault(
                "automatic_index", use, columns, summary, {"table_rows": rows, "plan": self.plan.lines()}
            )

    def _sort(self, node: PlanNode, uses: Uses) -> Iterator[Fault]:
        aliases = {alias for alias, _, _ in uses.order}
        if node.purpose != "ORDER BY" or len(aliases) != 1 or not uses.limited:
            return
        use = uses.tables.get(aliases.pop())
        first = next((one for one in self.plan.walk() if one.table), None)
        if use is None or first is None or first.table != use.alias or use.listed:
            return
        rows = self.engine.table_rows(self.connection, use.name)
        columns = self._wanted(use, uses)
        if rows >= MIN_TABLE_ROWS and columns:
            summary = f"Every run sorts rows of {use.name} ({rows:,} in all) to return the first few"
            facts = {"table_rows": rows, "plan": self.plan.lines()}
            yield self._index_fault("sort_without_index", use, columns, summary, facts)

    def _wanted(self, use: TableUse, uses: Uses) -> list[tuple[str, bool]]:
        """Return the columns of the index that serves ``use``: equalities, then the order or one range."""
        joined = [] if self._drives(use) else use.joined
        columns = [(name, False) for name in dict.fromkeys([*use.equal, *joined])]
        own = [(name, down) for alias, name, down in uses.order if alias == use.alias]
        given = {name for name, _ in columns}
        if own and len(own) == len(uses.order) and not use.listed:
            columns += [(name, down) for name, down in own if name not in given]
        else:
            columns += [(name, False) for name in [*use.listed, *use.ranged][:1] if name not in given]
        return columns[:MAX_INDEX_COLUMNS]

    def _drives(self, use: TableUse) -> bool:
        first = next((one for one in self.plan.walk() if one.table), None)
        return first is not None and first.table == use.alias and not first.repeated

    def _index_fault(
        self, kind: str, use: TableUse, columns: list[tuple[str, bool]], summary: str, facts: dict[str, Any]
    ) -> Fault:
        model = lineage.model_of_table(use.name)
        if model is None:
            listed = ", ".join(f"{name} DESC" if down else name for name, down in columns)
            code = f"CREATE INDEX ON {use.name} ({listed})"
            return Fault(kind, use.name, summary, f"Create the index: {code}.", code, evidence=facts)
        fields = {field.column: field.name for field in model._meta.concrete_fields}
        names = [("-" if down else "") + fields.get(name, name) for name, down in columns]
        code = f"models.Index(fields={names!r}, name={_index_name(model, names)!r})".replace("'", '"')
        cure = f"Add {code} to {model.__name__}.Meta.indexes."
        return Fault(
            kind,
            model.__name__,
            summary,
            cure,
            code,
            _model_place(model),
            evidence={"fields": names, **facts},
        )

    def _deep_offset(self) -> Iterator[Fault]:
        offset = statement(self.asked.sql).offset
        if offset >= DEEP_OFFSET:
            yield Fault(
                "deep_offset",
                _named(next(iter(lineage.tables(self.asked.sql)), "query")),
                f"OFFSET {offset:,} reads and throws away that many rows",
                "Page by key: keep the last row's order key and filter by it (__gt or __lt) instead of an offset.",
            )


def _named(table: str) -> str:
    model = lineage.model_of_table(table)
    return model.__name__ if model is not None else table


def _index_name(model: Any, names: list[str]) -> str:
    plain = "_".join(name.lstrip("-") for name in names)
    return f"{model._meta.model_name[:10]}_{plain[:14]}_idx"[:30].replace("__", "_")


def _model_place(model: Any) -> Place | None:
    try:
        file = inspect.getsourcefile(model)
        line = inspect.getsourcelines(model)[1]
    except (OSError, TypeError):
        return None
    return Place(file=relative(file), line=line, name=f"{model.__name__}.Meta.indexes") if file else None
