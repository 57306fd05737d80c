"""What a statement compares, joins and sorts by, table by table; parsed by sqlglot, off the path of a request."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import sqlglot
from sqlglot import exp

_TEXTS = (exp.DataType.Type.TEXT, exp.DataType.Type.VARCHAR)
_NAMED = re.compile(r"%\(\w+\)s")
_DIALECTS = {"sqlite": "sqlite", "postgresql": "postgres", "mysql": "mysql", "oracle": "oracle"}


@dataclass(slots=True)
class TableUse:
    """How one table (by its alias in the statement) is used."""

    name: str
    alias: str
    equal: list[str] = field(default_factory=list)
    """Columns compared with one value, in the order of the statement."""
    listed: list[str] = field(default_factory=list)
    """Columns compared with a list of values."""
    ranged: list[str] = field(default_factory=list)
    """Columns compared by <, >, BETWEEN."""
    liked: list[str] = field(default_factory=list)
    """Columns compared by LIKE."""
    joined: list[str] = field(default_factory=list)
    """Columns compared with another table's."""
    wrapped: list[tuple[str, str]] = field(default_factory=list)
    """Columns hidden from an index by a function: (column, function)."""


@dataclass(slots=True)
class Uses:
    """How a statement uses its tables."""

    tables: dict[str, TableUse]
    order: list[tuple[str, str, bool]]
    """ORDER BY as (alias, column, descending); empty where an expression is among them."""
    limited: bool
    aggregated: bool


def uses_of(sql: str, vendor: str) -> Uses | None:
    """Return how ``sql`` uses its tables, or None where it cannot be parsed."""
    try:
        tree = sqlglot.parse_one(sql.replace("%s", "?"), read=_DIALECTS.get(vendor, ""))
    except (sqlglot.errors.SqlglotError, RecursionError):
        return None
    tables: dict[str, TableUse] = {}
    for table in tree.find_all(exp.Table):
        # PostgreSQL lowers a name without quotes, and its plans say it so: Django's T2 and U0 become t2 and u0.
        alias = _known_as(table, vendor)
        tables.setdefault(alias, TableUse(table.name, alias))
    if vendor == "postgresql":
        for column in tree.find_all(exp.Column):
            part = column.args.get("table")
            if part is not None and not part.args.get("quoted"):
                part.set("this", part.name.lower())
    for comparison in _comparisons(tree):
        _note(comparison, tables)
    order, whole = _order(tree)
    select = tree if isinstance(tree, exp.Select) else None
    aggregated = select is not None and any(e.find(exp.AggFunc) is not None for e in select.expressions)
    return Uses(tables, order if whole else [], tree.args.get("limit") is not None, aggregated)


def _known_as(table: exp.Table, vendor: str) -> str:
    alias = table.args.get("alias")
    part = alias.this if alias is not None and alias.this is not None else table.this
    name = str(table.alias_or_name)
    return name.lower() if vendor == "postgresql" and not part.args.get("quoted") else name


def is_single(sql: str, vendor: str) -> bool:
    """Tell whether ``sql`` is one statement, and nothing stands behind it: EXPLAIN would run what does."""
    try:
        found = sqlglot.parse(_NAMED.sub("?", sql.replace("%s", "?")), read=_DIALECTS.get(vendor, ""))
    except (sqlglot.errors.SqlglotError, RecursionError):
        # What sqlglot cannot read may still be one statement: then no semicolon stands outside its end.
        return ";" not in sql.strip().rstrip(";")
    return len([one for one in found if one is not None]) == 1


def _comparisons(tree: exp.Expr) -> Iterator[exp.Expr]:
    kinds = (exp.EQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between, exp.In, exp.Like, exp.ILike, exp.Is)
    for node in tree.find_all(*kinds):
        if not _under_or_or_not(node) and node.find_ancestor(exp.Where, exp.Join) is not None:
            yield node


def _under_or_or_not(node: exp.Expr) -> bool:
    above = node.parent
    while above is not None and not isinstance(above, (exp.Where, exp.Join, exp.Select)):
        if isinstance(above, (exp.Or, exp.Not, exp.Case)):
            return True
        above = above.parent
    return False


def _note(node: exp.Expr, tables: dict[str, TableUse]) -> None:
    left, right = node.this, node.args.get("expression")
    if isinstance(left, exp.Escape):
        left = left.this
    if isinstance(left, exp.Cast) and left.to.this in _TEXTS:
        left = left.this  # Django writes column::text before LIKE on PostgreSQL; it hides no index
    other = right.find(exp.Column) if isinstance(right, exp.Expr) else None
    if isinstance(left, exp.Column) and isinstance(right, exp.Column):
        for column in (left, right):
            _add(tables, column, "joined")
        return
    if not isinstance(left, exp.Column):
        _note_wrapped(left, tables)
    elif other is not None and other.table != left.table:
        _add(tables, left, "joined")
    else:
        _add(tables, left, _comparison_kind(node))


def _comparison_kind(node: exp.Expr) -> str:
    if isinstance(node, exp.In):
        return "listed"
    if isinstance(node, (exp.Like, exp.ILike)):
        return "liked"
    return "equal" if isinstance(node, (exp.EQ, exp.Is)) else "ranged"


def _note_wrapped(left: exp.Expr, tables: dict[str, TableUse]) -> None:
    inner = left.find(exp.Column)
    use = tables.get(inner.table) if inner is not None else None
    if use is not None and inner is not None and not left.find(exp.Select):
        use.wrapped.append((inner.name, _function_name(left)))


def _function_name(node: exp.Expr) -> str:
    return str(node.name) if isinstance(node, exp.Anonymous) else node.key


def _add(tables: dict[str, TableUse], column: exp.Column, kind: str) -> None:
    # An UPDATE or DELETE names its columns alone; with one table there is no doubt whose they are.
    use = next(iter(tables.values())) if not column.table and len(tables) == 1 else tables.get(column.table)
    if use is not None and column.name not in getattr(use, kind):
        getattr(use, kind).append(column.name)


def _order(tree: exp.Expr) -> tuple[list[tuple[str, str, bool]], bool]:
    clause = tree.args.get("order")
    keys: list[tuple[str, str, bool]] = []
    for ordered in clause.expressions if clause is not None else ():
        column = ordered.this
        if not isinstance(column, exp.Column):
            return keys, False
        keys.append((column.table, column.name, bool(ordered.args.get("desc"))))
    return keys, True
