"""What an ORM statement aggregates, compares and joins, read off its SQL in the names of fields."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from django.apps import apps

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
_CLOSED = re.compile(r"(?:\bNOT\s*)?\([^()]*\)", re.IGNORECASE)
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

    Nothing, where one of them is no plain comparison. With the ``label`` of a model: unless they are all its own.
    """
    own = lineage.table_of(label) if label else ""
    found = _differing(group)
    if found is None or any(match["column"] is None or own not in ("", match["table"]) for match in found):
        return []
    if any(_negates(group.statement.sql[: match.start()]) for match in found):
        return []
    fields = [(_field(match["table"], match["column"]), LOOKUPS[match["sign"].upper()]) for match in found]
    return fields if all(name for name, _ in fields) else []


def foreign(group: Group, label: str) -> str:
    """Return the one field of another model (``TaggedItem.object_id``) by which alone the runs differ; else nothing."""
    found = _differing(group) or []
    own = {lineage.table_of(label), *(one._meta.db_table for one in apps.get_model(label)._meta.get_parent_list())}
    if len(found) != 1 or found[0]["table"] in (None, *own):
        return ""
    model, field = lineage.model_of_table(found[0]["table"]), _field(found[0]["table"], found[0]["column"])
    return f"{model.__name__}.{field}" if field else ""


def _differing(group: Group) -> list[re.Match[str]] | None:
    """Return the comparisons whose values differ between runs; None where that cannot be told."""
    matches = list(_COMPARED.finditer(group.statement.sql))
    sizes = [match[0].count("%s") for match in matches]
    first, last = group.first_hashes, group.last_hashes
    if not len(first) == len(last) == sum(sizes):
        return None
    found: list[re.Match[str]] = []
    at = 0
    for match, size in zip(matches, sizes, strict=True):
        if first[at : at + size] != last[at : at + size]:
            found.append(match)
        at += size
    return found


def alternatives(sql: str) -> bool:
    """Tell whether ``sql`` compares one thing OR another."""
    return re.search(r"\sWHERE\s.*\sOR\s", sql, re.IGNORECASE | re.DOTALL) is not None


def _negates(before: str) -> bool:
    """Tell whether what comes after this part of a statement lies in a ``NOT (...)``."""
    inside = before
    while _CLOSED.search(inside):
        inside = _CLOSED.sub("", inside)
    return re.search(r"\bNOT\s*\(", inside, re.IGNORECASE) is not None


def beyond_fields(sql: str) -> bool:
    """Tell whether ``sql`` has a condition that must not hold, or a pattern: no list of values stands for those."""
    return re.search(r"\sWHERE\s.*(?:\bNOT\s*\(|\sLIKE\s)", sql, re.IGNORECASE | re.DOTALL) is not None


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
