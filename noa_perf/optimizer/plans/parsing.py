"""Questions to sqlglot: a statement as a tree, its names as the database spells them, its common table expressions."""

from __future__ import annotations

import re
from collections.abc import Iterator

import sqlglot
from sqlglot import exp

from noa_perf.optimizer.plans.names import TableName

BLOCKS = (exp.Select, exp.Update, exp.Delete)
COMPARISONS = (exp.EQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between, exp.In, exp.Like, exp.ILike, exp.Is)

_DIALECTS = {"sqlite": "sqlite", "postgresql": "postgres", "mysql": "mysql", "oracle": "oracle"}
_NAMED = re.compile(r"%\(\w+\)s")
_PLACEHOLDER = re.compile(r"%s|%%")


def dialect(vendor: str) -> str:
    """Return sqlglot's name for what Django calls ``vendor``."""
    return _DIALECTS.get(vendor, "")


def positional(sql: str) -> str:
    """Return ``sql`` with ``%s`` for every parameter that it names."""
    return _NAMED.sub("%s", sql)


def placeholders(sql: str) -> int:
    """Return how many values ``sql``, with positional parameters, asks for."""
    return sum(1 for found in _PLACEHOLDER.findall(sql) if found == "%s")


def numbered(sql: str, mark: str) -> str:
    """Return ``sql`` for a parser or a server: ``mark`` and a number, from 1, in the place of each ``%s``."""
    numbers = iter(range(1, sql.count("%s") + 1))
    return _PLACEHOLDER.sub(lambda match: "%" if match[0] == "%%" else f"{mark}{next(numbers)}", sql)


def parsed(sql: str, vendor: str) -> exp.Expr | None:
    """Return ``sql`` as a tree; None where it cannot be parsed."""
    try:
        return sqlglot.parse_one(sql, read=dialect(vendor))
    except (sqlglot.errors.SqlglotError, RecursionError):
        return None


def is_single(sql: str, vendor: str) -> bool:
    """Tell whether ``sql`` is one statement, and nothing stands behind it: EXPLAIN would run what does."""
    try:
        found = sqlglot.parse(positional(sql).replace("%s", "?"), read=dialect(vendor))
    except (sqlglot.errors.SqlglotError, RecursionError):
        # What sqlglot cannot read may still be one statement: then no semicolon stands outside its end.
        return ";" not in sql.strip().rstrip(";")
    return len([one for one in found if one is not None]) == 1


def cte_of(table: exp.Expr) -> exp.Expr | None:
    """Return the CTE that ``table`` names, if it names one."""
    above = table.parent
    while above is not None:
        clause = above.args.get("with_") or above.args.get("with")
        for cte in reversed(_visible(clause, table) if isinstance(clause, exp.With) else []):
            if cte.alias.lower() == table.name.lower() and not table.args.get("db"):
                return cte
        above = above.parent
    return None


def _visible(clause: exp.With, table: exp.Expr) -> list[exp.CTE]:
    """Return the CTEs that stand before ``table``, and its own where they are recursive."""
    seen: list[exp.CTE] = []
    inside = {id(one) for one in _ancestors(table)}
    for cte in clause.expressions:
        if id(cte) in inside:
            return [*seen, cte] if clause.args.get("recursive") else seen
        seen.append(cte)
    return seen


def _ancestors(node: exp.Expr) -> Iterator[exp.Expr]:
    above = node.parent
    while above is not None:
        yield above
        above = above.parent


def only_reader(cte: exp.Expr, tree: exp.Expr) -> exp.Expr | None:
    """Return the query of a CTE that conditions reach: it is read once, and not kept as a table of its own."""
    readers = [table for table in tree.find_all(exp.Table) if cte_of(table) is cte]
    query: exp.Expr = cte.this
    return query if len(readers) == 1 and not cte.args.get("materialized") else None


def condenses(query: exp.Select) -> bool:
    """Tell whether a condition on its rows is none on the rows that it reads."""
    if any(query.args.get(key) is not None for key in ("group", "distinct", "limit", "offset", "having")):
        return True
    return any(one.find(exp.AggFunc, exp.Window) is not None for one in query.expressions)


def name(table: exp.Expr, vendor: str) -> TableName:
    """Return what ``table`` is called, its schema with it if that is written."""
    schema = table.args.get("db")
    return TableName(spelt(table.this, vendor), spelt(schema, vendor) if schema is not None else "")


def known_part(table: exp.Expr) -> exp.Expr:
    """Return the alias by which the columns of ``table`` are named, or its name."""
    alias = table.args.get("alias")
    part: exp.Expr = alias.this if alias is not None and alias.this is not None else table.this
    return part


def spelt(part: exp.Expr, vendor: str) -> str:
    """Return a name as the database knows it."""
    # PostgreSQL lowers a name without quotes, and its plans say it so: Django's T2 and U0 become t2 and u0.
    return part.name.lower() if vendor == "postgresql" and not part.args.get("quoted") else str(part.name)


def is_required(node: exp.Expr) -> bool:
    """Tell whether every row has to meet this comparison: it stands in WHERE or ON, under no OR, NOT or CASE."""
    for above in _ancestors(node):
        if isinstance(above, (exp.Where, exp.Join)):
            return True
        if isinstance(above, (exp.Or, exp.Not, exp.Case, *BLOCKS)):
            return False
    return False


def bare(node: exp.Expr) -> exp.Expr:
    """Return what stands in parentheses, and before ESCAPE."""
    while isinstance(node, (exp.Paren, exp.Escape)):
        node = node.this
    return node
