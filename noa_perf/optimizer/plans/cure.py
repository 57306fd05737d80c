"""The index that mends a plan: the line for the model's Meta, or the statement where no model keeps the table."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from noa_perf.core.findings import Place
from noa_perf.optimizer.callsite import relative
from noa_perf.optimizer.plans.fault import Fault
from noa_perf.optimizer.plans.names import TableName, model_of, quoted

DERIVED = "The columns were followed through a view or a derived table: see that the index is used."


@dataclass(frozen=True, slots=True)
class Wanted:
    """An index that would serve."""

    connection: Any
    table: TableName
    columns: list[tuple[str, bool]]
    """Each with whether it descends."""
    certain: bool

    def statement(self) -> str:
        """Return the statement that creates it; MariaDB, MySQL and SQLite want a name, PostgreSQL takes one."""
        keys = [quoted(self.connection, name) + (" DESC" if down else "") for name, down in self.columns]
        name = "_".join([self.table.name, *(name for name, _ in self.columns)])[:56] + "_idx"
        table = self.table.quoted(self.connection)
        return f"CREATE INDEX {quoted(self.connection, name)} ON {table} ({', '.join(keys)})"


def index_fault(kind: str, wanted: Wanted, summary: str, evidence: dict[str, Any]) -> Fault:
    """Return the fault that ``wanted`` mends."""
    model = model_of(wanted.table)
    doubt = "" if wanted.certain else f" {DERIVED}"
    if model is None:
        code = wanted.statement()
        cure = f"Create the index: {code}.{doubt}"
        return Fault(kind, str(wanted.table), summary, cure, code, certain=wanted.certain, evidence=evidence)
    fields = {field.column: field.name for field in model._meta.concrete_fields}
    names = [("-" if down else "") + fields.get(name, name) for name, down in wanted.columns]
    code = f"models.Index(fields={names!r}, name={_index_name(model, names)!r})".replace("'", '"')
    return Fault(
        kind,
        model.__name__,
        summary,
        f"Add {code} to {model.__name__}.Meta.indexes.{doubt}",
        code,
        _model_place(model),
        certain=wanted.certain,
        evidence={"fields": names, **evidence},
    )


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
