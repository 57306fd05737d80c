"""What an ORM statement aggregates, compares and joins, read off its SQL in the names of fields."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from noa_perf.optimizer import lineage
from noa_perf.optimizer.groups import Group

LOOKUPS = {"=": "", ">": "gt", ">=": "gte", "<": "lt", "<=": "lte", "BETWEEN": "range"}

_FUNCTIONS = "SUM|AVG|MIN|MAX|COUNT"
_AGGREGATE = re.compile(
    rf"(?P<default>\bCOALESCE\(\s*)?\b(?P<name>{_FUNCTIONS})\(\s*(?P<distinct>DISTINCT\s+)?"
    r'(?:\*|["`](?P<table>\w+)["`]\.["`](?P<column>\w+)["`])\s*\)(?!\s*FILTER)',
    re.IGNORECASE,
)
_COMPARED = re.compile(
    r'["`](?P<table>\w+)["`]\.["`](?P<column>\w+)["`]\s*(?P<sign>>=|<=|=|<|>|BETWEEN)\s*%s(?P<to>\s+AND\s+%s)?|%s',
    re.IGNORECASE,
)
_JOINED = re.compile(
    r'\bJOIN\s+["`](\w+)["`](?:\s+["`]?(\w+)["`]?)?\s+ON\s+\(["`](\w+)["`]\.["`](\w+)["`]\s*=\s*'
    r'["`](\w+)["`]\.["`](\w+)["`]',
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """``SUM(DISTINCT "book"."pages")``."""

    function: str
    """As Django calls it: ``Sum``."""
    field: str
    """``pages``; empty for ``COUNT(*)``."""
    distinct: bool = False
    default: bool = False
    """Whether another value stands in where there are no rows."""

    def code(self, path: str, *, distinct: bool = False) -> str:
        """Return the expression over ``path``, which ends in ``__`` or is empty."""
        argument = f"{path}{self.field}" if self.field else path.removesuffix("__") or "pk"
        more = ", distinct=True" if self.distinct or distinct else ""
        return f'{self.function}("{argument}"{more}{", default=..." if self.default else ""})'


def aggregates(sql: str, table: str) -> list[Aggregate]:
    """Return what ``sql`` aggregates of ``table``; nothing if one of them is more than a plain column."""
    selected = re.split(r"\sFROM\s", sql, maxsplit=1, flags=re.IGNORECASE)[0]
    found = list(_AGGREGATE.finditer(selected))
    rest = _AGGREGATE.sub("", selected)
    if re.search(r"\b(?!CAST\b|COALESCE\b)[A-Z_]+\(", rest, re.IGNORECASE) or any(
        one["table"] not in (None, table) for one in found
    ):
        return []
    made = [
        Aggregate(one["name"].capitalize(), _field(table, one["column"]), bool(one["distinct"]), bool(one["default"]))
        for one in found
    ]
    return made if all(one.field or match["column"] is None for one, match in zip(made, found, strict=True)) else []


def varying(group: Group, label: str = "") -> list[tuple[str, str]]:
    """Return the fields whose values differ between runs, each with its lookup (empty for equality).

    With the ``label`` of a model: nothing, unless they are all its own.
    """
    own = lineage.table_of(label) if label else ""
    matches = list(_COMPARED.finditer(group.statement.sql))
    sizes = [match[0].count("%s") for match in matches]
    first, last = group.first_hashes, group.last_hashes
    if not len(first) == len(last) == sum(sizes):
        return []
    found: list[tuple[str, str]] = []
    at = 0
    for match, size in zip(matches, sizes, strict=True):
        differs, at = first[at : at + size] != last[at : at + size], at + size
        if differs and own not in ("", match["table"]):
            return []
        if differs and match["column"]:
            found.append((_field(match["table"], match["column"]), LOOKUPS[match["sign"].upper()]))
    return found if all(name for name, _ in found) else []


def alternatives(sql: str) -> bool:
    """Tell whether ``sql`` compares one thing OR another."""
    return re.search(r"\sWHERE\s.*\sOR\s", sql, re.IGNORECASE | re.DOTALL) is not None


def multiplies(sql: str) -> bool:
    """Tell whether ``sql`` joins a table by a column that is not unique in it, so that rows come several times."""
    for table, alias, *sides in _JOINED.findall(sql):
        named = alias if alias.upper() not in ("", "ON") else table
        columns = [sides[index + 1] for index in (0, 2) if sides[index] == named]
        field = _field_of(table, columns[0]) if columns else None
        if field is not None and not field.unique:
            return True
    return False


def joined(sql: str) -> tuple[str, ...]:
    """Return the relations to one object that ``sql`` joins to the model of its main table."""
    model = lineage.model_of_sql(sql)
    names = [
        field.name
        for field in (model._meta.concrete_fields if model is not None else ())
        if field.is_relation
        and re.search(rf'JOIN\s.*?["`]{model._meta.db_table}["`]\.["`]{field.column}["`] = ', sql, re.IGNORECASE)
    ]
    return tuple(names)


def _field_of(table: str, column: str | None) -> Any:
    model = lineage.model_of_table(table)
    fields = model._meta.concrete_fields if model is not None else ()
    return next((field for field in fields if field.column == column), None)


def _field(table: str, column: str | None) -> str:
    field = _field_of(table, column)
    return str(field.name) if field is not None else ""
