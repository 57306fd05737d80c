"""Cures for a count, a look or a sum over a relation to many, once for each row: the query of the rows computes it.

A join to many repeats the rows. Where two of them meet in one query, a plain Count() or Sum() multiplies: a count
can be told to be distinct, and anything else has to become a subquery of its own.
"""

from __future__ import annotations

from enum import Enum

from noa_perf.optimizer import lineage
from noa_perf.optimizer.cures import statements
from noa_perf.optimizer.cures.cure import Cure
from noa_perf.optimizer.cures.paths import Rows, Way, rows, way
from noa_perf.optimizer.cures.statements import Aggregate
from noa_perf.optimizer.groups import Group
from noa_perf.optimizer.lineage import Lineage

OPERATIONS = frozenset({"count", "exists", "aggregate"})


class Company(Enum):
    """What else the query joins where the annotation goes."""

    NONE = "nothing to many"
    OTHERS = "other relations to many"
    GROUPED = "aggregates, or the same relation for a filter"


def joined_path(group: Group, chain: Lineage | None) -> str:
    """Return the relation to many that the cure joins to the query of the rows, or nothing where it joins none."""
    relation = group.relation
    if relation is None or relation.filtered or relation.operation not in ("count", "aggregate"):
        return ""
    to = way(relation, chain)
    return to.lookup if to is not None and to.last.many and not to.split()[0].steps else ""


def cure(group: Group, chain: Lineage | None, *, crowded: bool = False) -> Cure:
    """Return the cure; ``crowded`` when other findings add joins to many at the same line."""
    relation = group.relation
    to = way(relation, chain) if relation is not None else None
    if relation is None or to is None:
        return _in_words(group)
    outer, inner = to.split()
    company = Company.NONE if outer.steps else _company(inner, chain, crowded)
    made = _expression(group, inner, company)
    if made is None:
        return _in_words(group)
    name, value = made
    annotate = f".annotate({', '.join(f'{one}={code}' for one, code in zip(name, value, strict=True))})"
    read = f"read {' and '.join(f'`{one}`' for one in name)} where .{relation.operation}() is called."
    if not outer.steps:
        return Cure(annotate, f"the query that fetches the rows {_VERBS[relation.operation]}; {read}", "annotate")
    model = inner.steps[0].owner.__name__
    code = f'.prefetch_related(Prefetch("{outer.accessor}", queryset={model}.objects{annotate}))'
    why = f'in place of a plain "{outer.accessor}"; the query that prefetches {_VERBS[relation.operation]}; {read}'
    return Cure(code, why, "prefetch_related")


_VERBS = {"count": "counts too", "exists": "asks too", "aggregate": "computes it"}


def _company(to: Way, chain: Lineage | None, crowded: bool) -> Company:
    sql = chain.root.statement.sql if chain is not None and chain.root is not None else ""
    asked = rows(to)
    if " GROUP BY " in sql.upper() or (asked is not None and asked.table in lineage.tables(sql)[1:]):
        return Company.GROUPED
    return Company.OTHERS if crowded or statements.multiplies(sql) else Company.NONE


def _expression(group: Group, to: Way, company: Company) -> tuple[list[str], list[str]] | None:
    """Return the annotations' names and their code."""
    name, asked = to.lookup.replace("__", "_"), rows(to)
    operation = group.relation.operation if group.relation is not None else ""
    if operation == "exists":
        return ([f"has_{name}"], [f"Exists({asked.code})"]) if asked is not None else None
    if operation == "count":
        code = _count(to, asked, company)
        return ([f"{name}_count"], [code]) if code is not None else None
    wanted = statements.aggregates(group.statement.sql, to.last.field.related_model._meta.db_table)
    codes = [_aggregate(one, to, asked, company) for one in wanted]
    if not wanted or None in codes:
        return None
    names = [f"{name}_{one.function.lower()}_{one.field}".rstrip("_") for one in wanted]
    return (names if len(names) > 1 else [f"{name}_value"]), [code for code in codes if code is not None]


def _count(to: Way, asked: Rows | None, company: Company) -> str | None:
    if company is Company.GROUPED:
        return f"Coalesce({_subquery(asked, Aggregate('Count', ''))}, 0)" if asked is not None else None
    return Aggregate("Count", "").code(f"{to.lookup}__", distinct=company is Company.OTHERS)


def _aggregate(one: Aggregate, to: Way, asked: Rows | None, company: Company) -> str | None:
    repeatable = one.distinct or one.function in ("Min", "Max")
    if company is Company.NONE or (company is Company.OTHERS and repeatable):
        return one.code(f"{to.lookup}__")
    if company is Company.OTHERS and not one.field:
        return one.code(f"{to.lookup}__", distinct=True)
    return _subquery(asked, one) if asked is not None else None


def _subquery(asked: Rows, one: Aggregate) -> str:
    grouped = f'{asked.code}.order_by().values("{asked.back}")'
    value = one.code(asked.prefix if one.field else "")
    return f'Subquery({grouped}.annotate(value={value}).values("value"))'


def _in_words(group: Group) -> Cure:
    relation = group.relation
    name, operation = (relation.name, relation.operation) if relation is not None else ("", "")
    if operation == "aggregate":
        text = (
            f"Compute it in the query that fetches the rows: .annotate() there, with the same expression, each field "
            f'in it led by "{name}__".'
        )
        return Cure("", text)
    code = f'.prefetch_related("{name}")'
    return Cure(
        code,
        f"one query fetches them all; look into .all() in Python, for .{operation}() asks again.",
        "prefetch_related",
    )
