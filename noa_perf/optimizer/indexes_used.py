"""Which index a test asks for, and what the plans of a block's statements say to that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import connections, models, transaction

from noa_perf.optimizer import capture, report, telling
from noa_perf.optimizer.groups import Group
from noa_perf.optimizer.plans import advise, shape
from noa_perf.optimizer.plans.advise import Asked, Reading
from noa_perf.optimizer.plans.engines import ENGINES
from noa_perf.optimizer.plans.names import TableName, model_of
from noa_perf.optimizer.plans.shape import Access
from noa_perf.optimizer.watches import Watch

SMALL = 1_000
"""Rows below which a planner may well prefer to scan."""


@dataclass(frozen=True, slots=True)
class Explained:
    """One statement of the block, with its plan."""

    group: Group
    reading: Reading
    accesses: list[Access]


@dataclass(frozen=True, slots=True)
class Demand:
    """The index that a test asks for."""

    name: str = ""
    fields: tuple[str, ...] = ()
    table: TableName | None = None
    using: str | None = None
    force: bool = False

    @classmethod
    def of(
        cls,
        name_or_fields: str | Sequence[str] | None,
        table: str | type[models.Model] | None,
        using: str | None,
        *,
        force: bool,
    ) -> Demand:
        """Return what the arguments of ``assert_uses_index`` mean."""
        name = name_or_fields if isinstance(name_or_fields, str) else ""
        fields = () if isinstance(name_or_fields, str) else tuple(name_or_fields or ())
        written = table if isinstance(table, str) or table is None else table._meta.db_table
        return cls(name, fields, TableName.of_db_table(written) if written else None, using, force)

    def complaint(self, watch: Watch) -> str:
        """Return why the plans of what ``watch`` saw will not do; empty if they do."""
        explained = [one for group in telling.selects(watch, self.using) if (one := self._explained(group))]
        if not explained:
            return f"No SELECT{self._where()} ran in this block, so no index can have been used."
        if unread := [one for one in explained if one.reading.plan is None]:
            return "\n".join([f"The plan of a statement{self._where()} cannot be read:", *_shown(unread[0])])
        if self.name or self.fields:
            bad = [] if any(self._served(one) for one in explained) else explained
        else:
            bad = [one for one in explained if self._scanned(one)]
        return "\n".join([self._headline(bad), *_all_shown(bad), *self._doubts(bad)]) if bad else ""

    def _explained(self, group: Group) -> Explained | None:
        """Return the plan of ``group``, or None where it reads nothing of the table that is asked about."""
        asked = Asked(group.alias, group.statement.sql)
        with _scans_forbidden(group.alias, forbidden=self.force):
            reading = advise.read(asked, group.first_params)
            sources = advise.sources_of(asked, reading.plan) if reading.plan is not None else []
        accesses = shape.accesses(sources)
        concerned = self.table is None or any(self.table.is_same(one.table) for one in accesses)
        return Explained(group, reading, accesses) if concerned or reading.plan is None else None

    def _served(self, one: Explained) -> bool:
        used = {(access.table, access.index) for access in one.accesses if self._meant(access.table)}
        if self.name:
            return any(index == self.name for _, index in used)
        return any(index in self._serving(one.group.alias, table) for table, index in used)

    def _scanned(self, one: Explained) -> list[Access]:
        return [each for each in one.accesses if each.index in shape.WITHOUT_INDEX and self._meant(each.table)]

    def _meant(self, table: TableName) -> bool:
        return self.table is None or self.table.is_same(table)

    def _serving(self, alias: str, table: TableName) -> set[str]:
        """Return the names of the indexes of ``table`` that begin with the fields that are asked for."""
        model = model_of(table)
        columns = {field.name: field.column for field in model._meta.concrete_fields} if model is not None else {}
        wanted = [columns.get(name.lstrip("-"), name.lstrip("-")) for name in self.fields]
        connection = connections[alias]
        with capture.muted(), connection.cursor() as cursor:
            found = connection.introspection.get_constraints(cursor, table.name)
        serving = {
            name
            for name, one in found.items()
            if (one["index"] or one["unique"] or one["primary_key"]) and one["columns"][: len(wanted)] == wanted
        }
        key = {shape.PRIMARY_KEY} if any(found[name]["primary_key"] for name in serving) else set()
        return serving | key

    def _headline(self, bad: list[Explained]) -> str:
        if self.name:
            return f"The index {self.name!r} is not used{self._where()}:"
        if self.fields:
            return f"No index that begins with ({', '.join(self.fields)}) is used{self._where()}:"
        tables = dict.fromkeys(str(access.table) for one in bad for access in self._scanned(one))
        return f"Read without an index: {', '.join(tables)}:"

    def _where(self) -> str:
        return (f" on {self.table}" if self.table else "") + (f" on database {self.using!r}" if self.using else "")

    def _doubts(self, bad: list[Explained]) -> Iterator[str]:
        """Yield what the size of the tables, rather than a missing index, may have done."""
        for alias, table in dict.fromkeys((one.group.alias, access.table) for one in bad for access in one.accesses):
            connection = connections[alias]
            if connection.vendor == "sqlite" or self.force or not self._meant(table):
                continue
            with capture.muted():
                rows = ENGINES[connection.vendor].table_rows(connection, table)
            if rows < SMALL:
                way = ", or ask with force=True whether the index can be used at all" * (
                    connection.vendor == "postgresql"
                )
                yield (
                    f"{connection.display_name} knows of {rows} rows in {table}, and scans a small table whatever its "
                    f"indexes: fill it and run ANALYZE{way}."
                )


@contextmanager
def _scans_forbidden(alias: str, *, forbidden: bool) -> Iterator[None]:
    """Have PostgreSQL use an index wherever one can serve; no other engine can be told so, and none is."""
    if not forbidden or connections[alias].vendor != "postgresql":
        yield
        return
    with capture.muted(), transaction.atomic(using=alias):
        with connections[alias].cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
        yield
        transaction.set_rollback(True, using=alias)


def _all_shown(bad: list[Explained]) -> Iterator[str]:
    for one in bad[: telling.MAX_SHAPES]:
        yield from _shown(one)


def _shown(one: Explained) -> Iterator[str]:
    yield f"  {one.group.statement.folded[: telling.MAX_SQL]}"
    yield f"  {report.where(one.group).strip()}"
    if one.reading.unavailable:
        yield f"    {one.reading.unavailable}"
    plan = one.reading.plan
    yield from (f"    {line}" for line in (plan.redacted().drawn() if plan is not None else ()))
