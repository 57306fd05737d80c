"""Reads the plan of a dear statement and says what in it costs, and which index or rewrite mends that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from django.db import DatabaseError, connections

from noa_perf.optimizer import capture, lineage
from noa_perf.optimizer.exceptions import ExplainUnavailable
from noa_perf.optimizer.fingerprint import has_leading_wildcard, statement
from noa_perf.optimizer.plans import access, measured, parsing, predicates
from noa_perf.optimizer.plans.engines import ENGINES
from noa_perf.optimizer.plans.fault import Fault
from noa_perf.optimizer.plans.names import TableName, named
from noa_perf.optimizer.plans.sources import READS, Source, sources, unnamed
from noa_perf.optimizer.plans.tree import Plan
from noa_perf.optimizer.sightings import Shape

MIN_MEAN_SECONDS = 0.001
MIN_SHARE = 0.002
"""Share of all time in the database from which a statement's plan is read though it is not slow."""
DEEP_OFFSET = 1_000
EXPLAINING = frozenset({"full_scan", "sort_without_index", "filter_removes_most", "deep_offset"})
"""Kinds that say why many rows are read, and name a better cure than ``few_of_many`` can."""


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
    if statement(asked.sql, connection.vendor).kind.value not in ("select", "update", "delete", "insert"):
        return Reading(None, [], "Only SELECT, INSERT, UPDATE and DELETE have a plan.")
    if not parsing.is_single(asked.sql, connection.vendor):
        return Reading(None, [], "Only one statement at a time is explained, and one that can be parsed.")
    with capture.muted():
        try:
            plan: Plan = engine.explain(connection, asked.sql, params, analyze=analyze)
        except ExplainUnavailable as why:
            return Reading(None, [], str(why))
        except DatabaseError as error:
            return Reading(None, [], f"Its plan could not be read ({type(error).__name__}).")
        try:
            return Reading(plan, list(_faults(asked, plan, connection, engine, params)))
        except DatabaseError as error:
            return Reading(plan, [], f"What its tables hold could not be asked ({type(error).__name__}).")


def sources_of(asked: Asked, plan: Plan) -> list[Source]:
    """Return what ``plan``, the plan of ``asked``, reads, table by table."""
    connection = connections[asked.alias]
    with capture.muted():
        return _sources(asked, plan, connection, ENGINES[connection.vendor])


def _faults(asked: Asked, plan: Plan, connection: Any, engine: Any, params: Any) -> Iterator[Fault]:
    """Yield the plan's faults, one for each table and kind."""
    read = _sources(asked, plan, connection, engine)
    told: set[tuple[str, str]] = set()
    explained: set[str] = set()
    for fault in _every(asked, plan, connection, engine, params, read):
        mark = (fault.subject, fault.code or fault.kind)
        if mark not in told:
            told.add(mark)
            explained |= {fault.subject} if fault.kind in EXPLAINING else set()
            yield fault
    yield from (one for one in _renamed(measured.few_of_many(plan.redacted()), read) if one.subject not in explained)


def _every(asked: Asked, plan: Plan, connection: Any, engine: Any, params: Any, read: list[Source]) -> Iterator[Fault]:
    yield from _deep_offset(asked, plan.vendor)
    # What they say quotes the plan, and is kept: so without the values that a plan may quote.
    yield from _renamed(measured.faults(plan.redacted()), read)
    yield from _stale_statistics(connection, engine, read)
    wildcard = asked.wildcard or has_leading_wildcard(params)
    yield from access.faults(access.Facts(plan, read, connection, engine, asked.returned, wildcard))


def _sources(asked: Asked, plan: Plan, connection: Any, engine: Any) -> list[Source]:
    vendor = connection.vendor
    uses = predicates.uses_of(asked.sql, vendor)
    if uses is None:
        return []
    views = _asked(engine, "views")(connection, [use.table for use in uses.tables()])
    if views:
        uses = predicates.uses_of(asked.sql, vendor, views) or uses
    others = unnamed(plan, uses)
    ancestors = _asked(engine, "ancestors")(connection, others) if others else {}

    def cast_is_free(table: TableName, column: str, kind: str) -> bool:
        return bool(_asked(engine, "cast_is_free")(connection, table, column, kind))

    return sources(plan, uses, ancestors, cast_is_free)


def _asked(engine: Any, name: str) -> Callable[..., Any]:
    """Return what ``engine`` answers a question by; an engine without an answer knows of nothing."""
    return getattr(engine, name, lambda *about: {})


def _renamed(found: Iterator[Fault], read: list[Source]) -> Iterator[Fault]:
    """Yield the faults under the names that a report gives to their tables."""
    names = {node.table: named(source.table) for source in read for node in source.nodes}
    for fault in found:
        yield replace(fault, subject=names.get(fault.subject, fault.subject))


def _stale_statistics(connection: Any, engine: Any, read: list[Source]) -> Iterator[Fault]:
    stale = _asked(engine, "stale_statistics")
    for source in read:
        found = stale(connection, source.relations(*READS)).values()
        if not found:
            continue
        changed, live = (sum(figures) for figures in zip(*found, strict=True))
        code = f"{getattr(engine, 'ANALYZE', 'ANALYZE')} {source.table.quoted(connection)}"
        yield Fault(
            "stale_statistics",
            named(source.table),
            f"{changed:,} rows of {source.table} ({live:,} in all) changed since it was last analyzed",
            f"Run {code}, so that the planner knows what is in it; see to it that {_keeper(connection)}.",
            code,
            evidence={"changed": changed, "rows": live},
        )


def _keeper(connection: Any) -> str:
    return "innodb_stats_auto_recalc is on" if connection.vendor == "mysql" else "autovacuum keeps up"


def _deep_offset(asked: Asked, vendor: str) -> Iterator[Fault]:
    offset = statement(asked.sql, vendor).offset
    if offset >= DEEP_OFFSET:
        main = next(iter(lineage.tables(asked.sql)), "query")
        yield Fault(
            "deep_offset",
            named(TableName.of_db_table(main)),
            f"OFFSET {offset:,} reads and throws away that many rows",
            "Page by key: keep the last row's order key and filter by it (__gt or __lt) instead of an offset.",
        )
