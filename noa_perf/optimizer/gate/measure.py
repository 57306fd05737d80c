"""Asks for endpoints and notes what is compared: queries by statement, N+1, and the shape of each plan.

Each endpoint is asked for twice, and the second answer counts: the first fills what a process keeps for good.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError, connections

from noa_perf.core.findings import Finding, Place
from noa_perf.optimizer import capture, places, report, visits
from noa_perf.optimizer.collector import Collector
from noa_perf.optimizer.fingerprint import statement
from noa_perf.optimizer.groups import Group
from noa_perf.optimizer.middleware import NO_ROUTE
from noa_perf.optimizer.plans import advise, shape
from noa_perf.optimizer.plans.advise import Asked
from noa_perf.optimizer.plans.engines import ENGINES
from noa_perf.optimizer.plans.fault import Fault
from noa_perf.optimizer.plans.names import TableName
from noa_perf.optimizer.sightings import Shape

MAX_SQL = 300
"""Characters of a statement that a baseline keeps, for its reader."""
PLANNED = frozenset({"select", "update", "delete"})


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """A page, and who asks for it."""

    url: str
    user: str = ""

    @property
    def key(self) -> str:
        """Return its name in a baseline."""
        return f"{self.url} as {self.user}" if self.user else self.url


@dataclass(slots=True)
class Ran:
    """One statement of an endpoint."""

    alias: str
    sql: str
    runs: int
    reads: dict[str, str] = field(default_factory=dict)
    """How each table is read: by an index, or ``scan``."""
    where: Place | None = None
    faults: list[Fault] = field(default_factory=list)


@dataclass(slots=True)
class Measured:
    """What one endpoint did."""

    endpoint: Endpoint
    route: str
    status: int
    error: str
    queries: int
    ran: dict[str, Ran]
    """Statements by fingerprint."""
    findings: list[Finding]

    @property
    def n_plus_one(self) -> dict[str, int]:
        """Return the N+1 by subject, each with its queries; a line's number would change with each edit above it."""
        found: dict[str, int] = {}
        for one in self.findings:
            if one.kind == "n_plus_one":
                found[subject_of(one)] = found.get(subject_of(one), 0) + one.count
        return found

    @property
    def failed(self) -> bool:
        """Whether the site could not answer."""
        return bool(self.error) or self.status >= 500

    @property
    def gone(self) -> bool:
        """Whether the site has no such address: it said so itself, whatever its middleware makes of one."""
        return self.status == 404 and self.route == NO_ROUTE

    def as_data(self) -> dict[str, Any]:
        """Return what a baseline keeps of it."""
        return {
            "url": self.endpoint.url,
            "as": self.endpoint.user,
            "route": self.route,
            "status": self.status,
            "queries": self.queries,
            "n_plus_one": self.n_plus_one,
            "statements": {
                key: {"sql": one.sql[:MAX_SQL], "runs": one.runs, "reads": one.reads} for key, one in self.ran.items()
            },
        }


def subject_of(finding: Finding) -> str:
    """Return what an N+1 is about, also where no relation is known."""
    return finding.subject if finding.subject != "query" else f"query {finding.fingerprint}"


def measure(endpoints: Iterable[Endpoint]) -> tuple[list[Measured], list[str]]:
    """Return what each endpoint did, and the aliases of databases that cannot be reached."""
    by_user: dict[str, list[Endpoint]] = {}
    for one in sorted(set(endpoints)):
        by_user.setdefault(one.user, []).append(one)
    found: list[Measured] = []
    lost: list[str] = []
    for user, ones in by_user.items():
        collector = Collector()
        with visits.visiting(user or None, collector) as (visitor, unreachable):
            lost += unreachable
            for one in ones:
                visitor.visit(one.url)
                collector.reset()
                record = visitor.visit(one.url).record
                found.append(_measured(one, record, collector))
    return sorted(found, key=lambda one: one.endpoint), sorted(set(lost))


def _measured(endpoint: Endpoint, record: dict[str, Any], collector: Collector) -> Measured:
    sightings, shapes = collector.seen()
    ran: dict[str, Ran] = {}
    for one in shapes:
        kind = statement(one.sql, connections[one.alias].vendor).kind
        ran[key_of(one.alias, one.digest)] = _ran(one, planned=kind.value in PLANNED)
    dearest: dict[str, Group] = {}
    for sighting in sorted(sightings, key=lambda one: -one.count):
        dearest.setdefault(key_of(sighting.group.alias, sighting.group.statement.digest), sighting.group)
    for key, group in dearest.items():
        if key in ran:
            ran[key].where = places.at(group) or places.node(group)
    wrong = [one for one in sightings if one.kind in ("n_plus_one", "duplicate")]
    return Measured(
        endpoint,
        record["route"],
        record["status"],
        record["error"],
        record["queries"],
        ran,
        report.findings(wrong, []),
    )


def key_of(alias: str, digest: str) -> str:
    """Return the name of a statement in a baseline."""
    return digest if alias == "default" else f"{digest}@{alias}"


def _ran(one: Shape, *, planned: bool) -> Ran:
    made = Ran(one.alias, one.folded, one.count)
    if planned:
        asked = Asked.of(one)
        reading = advise.read(asked)
        if reading.plan is not None:
            made.faults = reading.faults
            made.reads = shape.ways_by_table(shape.accesses(advise.sources_of(asked, reading.plan)))
    return made


def databases(measured: list[Measured]) -> dict[str, Any]:
    """Return, for each database that was asked, its engine, its version, and about how many rows its tables have."""
    tables: dict[str, set[str]] = {}
    for one in measured:
        for ran in one.ran.values():
            tables.setdefault(ran.alias, set()).update(ran.reads)
    return {alias: _database(alias, sorted(names)) for alias, names in sorted(tables.items())}


def _database(alias: str, tables: list[str]) -> dict[str, Any]:
    connection = connections[alias]
    engine = ENGINES.get(connection.vendor)
    with capture.muted():
        version = connection.get_database_version()
        rows = {name: rounded(engine.table_rows(connection, _named(name))) for name in tables} if engine else {}
    return {"engine": connection.display_name, "version": ".".join(map(str, version[:3])), "rows": rows}


def has_indexes(alias: str, table: str, way: str) -> bool:
    """Tell whether there still are the indexes by which ``table`` was read, as a baseline writes that."""
    connection = connections[alias]
    with capture.muted(), connection.cursor() as cursor:
        there = connection.introspection.get_constraints(cursor, _named(table).name)
    return shape.indexes_of(way) <= {*there, shape.PRIMARY_KEY}


def _named(written: str) -> TableName:
    schema, _, name = written.rpartition(".")
    return TableName(name, schema)


def rounded(rows: int) -> int:
    """Return ``rows`` to two digits: estimates differ a little from run to run, a baseline must not."""
    return round(rows, 2 - len(str(rows)))


def analyze() -> tuple[list[str], dict[str, str]]:
    """Have each database take its statistics anew; return the aliases of those that did, and why others did not."""
    done: list[str] = []
    refused: dict[str, str] = {}
    for alias in connections:
        if connections[alias].vendor not in ENGINES:
            continue
        try:
            with capture.muted():
                _analyze(connections[alias])
        except DatabaseError as error:  # it cannot be reached, or only be read: a standby
            refused[alias] = str(error).strip().partition("\n")[0]
        else:
            done.append(alias)
    return done, refused


def _analyze(connection: Any) -> None:
    with connection.cursor() as cursor:
        if connection.vendor != "mysql":
            cursor.execute("ANALYZE")
            return
        tables = [TableName(name).quoted(connection) for name in connection.introspection.table_names(cursor)]
        if tables:
            cursor.execute(f"ANALYZE TABLE {', '.join(tables)}")
            for _, _, kind, message in cursor.fetchall():
                if kind == "Error":
                    raise DatabaseError(message)
