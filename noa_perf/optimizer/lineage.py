"""Where the rows came from whose relations a loop follows: the query to change, and the path from it.

``review.product.category`` in a loop is mended where the reviews are fetched, by
``select_related("product__category")``: so from the query that repeats, through those that led to it, to the one
whose queryset a person builds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from django.apps import apps

from noa_perf.optimizer.fingerprint import Kind
from noa_perf.optimizer.groups import Group, Verdict
from noa_perf.optimizer.relations import Relation, RelationKind

SINGLE = frozenset({RelationKind.FORWARD, RelationKind.REVERSE_ONE})
MANY = frozenset({RelationKind.REVERSE_MANY, RelationKind.MANY_TO_MANY, RelationKind.GENERIC_RELATION})
MAX_DEPTH = 6

_FROM = re.compile(r"\sFROM\s", re.IGNORECASE)
_COMBINED = re.compile(r"\b(?:UNION|INTERSECT|EXCEPT)\b", re.IGNORECASE)
_PARENTHESES = re.compile(r"\([^()]*\)")
# A name may hold its schema, as Django's db_table does: sales"."order.
_TABLES = re.compile(r'\b(?:FROM|JOIN)\s+["`\[]?(\w+(?:["`]\.["`]\w+)?)', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Lineage:
    """The root query of a chain of relations, and the path of attributes from its rows to what repeats."""

    root: Group | None
    """The query whose queryset has to change; None when it is not in the same scope."""
    model: str
    """Label of the model that the root query returns."""
    path: tuple[str, ...] = field(default=())
    """Attributes from the root's rows to the relation that repeats, that one included."""
    single: bool = True
    """Whether every step leads to one object, so that a join can fetch it."""
    rivals: tuple[Group, ...] = ()
    """Other queries of the scope that may as well have fetched those rows."""
    again: bool = False
    """Whether the root fetched rows of a parent model, and each was fetched again as a row of ``model``."""
    near: Lineage | None = None
    """The same from the nearest query of several rows on, where the root is further away than that."""


@lru_cache(maxsize=2_048)
def tables(sql: str) -> tuple[str, ...]:
    """Return the tables that ``sql`` reads, the main one first, whatever subqueries stand before it."""
    return tuple(dict.fromkeys([*_TABLES.findall(_outer(sql))[:1], *_TABLES.findall(sql)]))


@lru_cache(maxsize=2_048)
def _outer(sql: str) -> str:
    """Return ``sql`` without what stands in parentheses."""
    inner = ""
    while inner != sql:
        inner, sql = sql, _PARENTHESES.sub("", sql)
    return sql


def _columns(sql: str) -> str:
    return _FROM.split(_outer(sql), maxsplit=1)[0]


def combined(sql: str) -> bool:
    """Tell whether ``sql`` is a union or the like of several queries."""
    return _COMBINED.search(_outer(sql)) is not None


def parent_of(group: Group, others: Iterable[Group]) -> Group | None:
    """Return the query of the same scope that most likely fetched the rows whose relation ``group`` follows."""
    relation = group.relation
    if relation is None or relation.kind in (RelationKind.MODEL, RelationKind.RAW):
        return None
    table = table_of(relation.model)
    candidates = [
        other
        for other in others
        if other is not group and other.statement.kind is Kind.SELECT and _fetches(other.statement.sql, relation.model)
    ]
    return max(candidates, key=lambda other: _likelihood(other, table, relation.owner), default=None)


@lru_cache(maxsize=8_192)
def _fetches(sql: str, label: str) -> bool:
    """Tell whether ``sql`` returns whole rows of a model: its table is read, and its key is among the columns."""
    table, read = table_of(label), tables(sql)
    if table not in read:
        return False
    if read[0] != table:
        return True  # joined, perhaps under an alias
    columns = _columns(sql)
    key = apps.get_model(label)._meta.pk
    return re.search(rf"\b{re.escape(key.column or '')}\b|\*", columns) is not None


def _likelihood(other: Group, table: str, owner: int) -> tuple[int, bool, int]:
    # A query of single rows brought the instance only if it has just asked for its key; a list may have.
    asked = 2 if owner and owner in other.last_hashes and _asks_for_key(other.statement.sql, table) else 0
    provenance = 1 if other.rows > other.count else asked
    return provenance, tables(other.statement.sql)[0] == table, other.last


def _asks_for_key(sql: str, table: str) -> bool:
    key = getattr(model_of_table(table), "_meta", None)
    return key is not None and re.search(rf'["`]{table}["`]\.["`]{key.pk.column}["`] (=|IN) ', sql) is not None


def prefetched_from(group: Group, others: Iterable[Group]) -> Group | None:
    """Return the query whose rows ``group``, a prefetch, was run for."""
    if group.prefetch is None:
        return None
    table = table_of(group.prefetch[1])
    before = [other for other in others if other is not group and tables(other.statement.sql)[:1] == (table,)]
    return max(before, key=lambda other: (other.prefetch is None, other.last), default=None)


def trace(group: Group, others: Iterable[Group] = ()) -> Lineage:
    """Follow ``group`` back to the query that a person wrote; ``others`` are all of its scope, once that is over."""
    scope = list(others)
    found = _as_children(_trace(group, _parent_of_many(group, scope)), group, scope)
    return replace(found, rivals=_rivals(group, found, scope))


def _as_children(found: Lineage, group: Group, others: list[Group]) -> Lineage:
    """Go on to the list of a parent model's rows where the root fetches each of them as a row of a child model."""
    root = found.root or (group if not found.path else None)
    relation = root.relation if root is not None else None
    if root is None or relation is None or not _asks_for_one_child(relation):
        return found
    above = [one._meta for one in apps.get_model(relation.model)._meta.get_parent_list()]
    before = [one for one in others if one is not root and one.order < root.order]
    if any(set(one.last_hashes) & set(root.last_hashes) and _is_one_of(one, above) for one in before):
        return found  # the parent's row itself came one by one, by that key
    lists = [one for one in before if one.rows >= root.count and any(_is_list_of(one, meta) for meta in above)]
    if not lists:
        return found
    return replace(found, root=max(lists, key=lambda one: one.order), model=relation.model, again=True)


def _asks_for_one_child(relation: Relation) -> bool:
    """Tell whether a query of a model asks for one row by the key that it shares with a parent model."""
    if relation.kind is not RelationKind.MODEL or relation.operation not in ("get", "first"):
        return False
    meta = apps.get_model(relation.model)._meta
    keys = {meta.pk.name, *(one._meta.pk.name for one in meta.get_parent_list())}
    return bool(meta.parents) and len(relation.filtered) == 1 and relation.filtered[0] in keys


def _is_one_of(group: Group, metas: list[Any]) -> bool:
    table = tables(group.statement.sql)[:1]
    return group.rows <= group.count and any(table == (meta.db_table,) for meta in metas)


def _is_list_of(group: Group, meta: Any) -> bool:
    return tables(group.statement.sql)[:1] == (meta.db_table,) and _lists(group, meta.label)


def _parent_of_many(group: Group, others: list[Group]) -> Group | None:
    """Return the parent, or a likelier one: a query of one row brought no more than one of the instances."""
    parent = group.parent
    if parent is None or group.relation is None or parent.rows > 1 or parent.prefetch is not None:
        return parent
    label, table = group.relation.model, table_of(group.relation.model)
    lists = [one for one in others if one is not group and one.order < group.last and _lists(one, label)]
    return max(lists, key=lambda one: (tables(one.statement.sql)[0] == table, one.last), default=parent)


def _lists(group: Group, label: str) -> bool:
    """Tell whether ``group`` fetched several rows of a model at once."""
    return group.statement.kind is Kind.SELECT and group.rows > group.count and _fetches(group.statement.sql, label)


def _rivals(group: Group, found: Lineage, others: list[Group]) -> tuple[Group, ...]:
    root, table = found.root, table_of(found.model)
    # A template asks for its rows where it loops over them: what comes at once is of those rows.
    if root is None or not table or (root.site.node is not None and root.last == group.order - 1):
        return ()
    lists = [one for one in others if one is not root and one is not group and one.order < group.order]
    same = [one for one in lists if tables(one.statement.sql)[:1] == (table,) and _lists(one, found.model)]
    return tuple(same[:MAX_DEPTH])


def _trace(group: Group, parent: Group | None) -> Lineage:
    relation = group.relation
    if relation is None or not relation.name:
        return Lineage(parent, "", ())
    path = [relation.name]
    single = relation.kind in SINGLE
    model, here = relation.model, parent
    near: Lineage | None = None
    for _ in range(MAX_DEPTH):
        if here is None:
            break
        if here.prefetch is not None:
            prefix, root_model = here.prefetch
            path[:0] = prefix.split("__")
            return Lineage(here.parent or here, root_model, tuple(path), False, near=near)
        joined = _join_path(here.statement.sql, model)
        if joined is None:
            break
        path[:0] = joined[1]
        model = joined[0]
        above = here.relation
        if above is None or not _is_step(here, above) or here.parent is None or here.parent is here:
            return Lineage(here, model, tuple(path), single, near=near)
        if above.kind in MANY and near is None:
            near = Lineage(here, model, tuple(path), single)
        path.insert(0, above.name)
        single = single and above.kind in SINGLE
        model, here = above.model, here.parent
    return Lineage(here, model, tuple(path), single, near=near)


def _is_step(group: Group, relation: Relation) -> bool:
    # Rows that were filtered or ordered anew are fetched by no prefetch: theirs is the queryset to change. Unless
    # that runs for each row itself: then it is to be prefetched, and what it asks for picked in Python.
    picked = group.verdict is Verdict.N_PLUS_ONE and not relation.filtered
    return (
        bool(relation.name)
        and (relation.plain or picked or relation.kind not in MANY)
        and relation.kind
        not in (
            RelationKind.DEFERRED,
            RelationKind.PREFETCH,
            RelationKind.REFRESH,
        )
    )


def _join_path(sql: str, model: str) -> tuple[str, list[str]] | None:
    """Return the main model of a statement and the forward path from it to ``model`` over the tables it joins."""
    read, target = tables(sql), table_of(model)
    if not read or target not in read:
        return None
    if read[0] == target:
        return model, []
    start = model_of_table(read[0])
    if start is None:
        return None
    # A table may be joined twice, for a filter and for its rows: those whose columns are selected.
    columns = _columns(sql)
    return _search(sql, start, target, columns) or _search(sql, start, target, "")


def _search(sql: str, start: Any, target: str, columns: str) -> tuple[str, list[str]] | None:
    read = tables(sql)
    pending: list[tuple[Any, list[str]]] = [(start, [])]
    while pending:
        at, path = pending.pop(0)
        for one in at._meta.get_fields():
            related = getattr(one, "related_model", None)
            if not one.is_relation or not (one.many_to_one or one.one_to_one) or related in (None, "self"):
                continue
            if not _joins_by(sql, at._meta.db_table, getattr(one, "column", None), columns):
                continue
            if related._meta.db_table == target:
                return start._meta.label, [*path, one.name]
            if related._meta.db_table in read and len(path) < 3:
                pending.append((related, [*path, one.name]))
    return None


def _joins_by(sql: str, table: str, column: str | None, columns: str) -> bool:
    if column is None:
        return False
    joins = re.findall(rf'{table}["`]?\.["`]?{column}["`]? = ["`]?(\w+)["`]?\.', sql)
    return any(not columns or re.search(rf'\b{alias}["`]?\.', columns) for alias in joins)


def table_of(label: str) -> str:
    """Return the table of the model ``label``; empty where there is no such model."""
    try:
        return str(apps.get_model(label)._meta.db_table)
    except (LookupError, ValueError):
        return ""


def model_of_table(table: str) -> Any:
    """Return the model kept in ``table``, or None."""
    return next((model for model in apps.get_models(include_auto_created=True) if model._meta.db_table == table), None)


def model_of_sql(sql: str) -> Any:
    """Return the model of the main table of ``sql``, or None."""
    read = tables(sql)
    return model_of_table(read[0]) if read else None
