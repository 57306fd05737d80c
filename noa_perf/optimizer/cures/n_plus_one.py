"""The cure for an N+1 by the kind of its relation: the code to add, and a sentence on where and why."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db.models import QuerySet

from noa_perf.optimizer.cures import annotating, statements
from noa_perf.optimizer.cures.cure import Cure
from noa_perf.optimizer.cures.paths import way
from noa_perf.optimizer.groups import Group
from noa_perf.optimizer.lineage import Lineage
from noa_perf.optimizer.relations import Relation, RelationKind

MANY = frozenset({RelationKind.REVERSE_MANY, RelationKind.MANY_TO_MANY, RelationKind.GENERIC_RELATION})

RANGES = frozenset({"gt", "gte", "lt", "lte", "range"})

_WRITES = {
    "INSERT": (
        "bulk_create",
        "Collect the objects and write them in one go with {model}.objects.bulk_create(objects).",
    ),
    "UPDATE": (
        "bulk_update",
        (
            "Change the objects first and write them once with {model}.objects.bulk_update(objects, fields), "
            "or let one {model}.objects.filter(...).update(...) do it."
        ),
    ),
    "DELETE": ("delete", "Delete them in one statement: {model}.objects.filter(pk__in=ids).delete()."),
}


def cure_of(group: Group, chain: Lineage | None, *, crowded: bool = False) -> Cure:
    """Return the cure for an N+1; ``crowded`` when other findings add joins to many at the same line."""
    relation = group.relation
    if relation is None or relation.kind is RelationKind.RAW:
        return Cure(
            "IN (...)",
            "Ask once for all rows: one statement with WHERE ... IN (...) or a JOIN, before the loop.",
        )
    if relation.kind is RelationKind.MODEL:
        again = chain is not None and chain.again
        return _of_children(relation, group) if again else _of_model(relation, group)
    if relation.kind is RelationKind.REFRESH:
        return _in_bulk(relation, "Reload all objects in one query instead of one by one")
    if relation.kind is RelationKind.PREFETCH:
        code = f'prefetch_related_objects(rows, "{relation.name}")'
        return Cure(code, f"Prefetch once for all rows, before the loop: {code}.")
    if relation.kind is RelationKind.DEFERRED:
        name = _field_name(relation.model, relation.name)
        return Cure(f'"{name}"', f'Load "{name}" with the rows: add it to .only(), or take it out of .defer().', "only")
    if relation.kind in MANY and _of_one_owner(relation, group):
        return _in_one_go(relation, group)
    if relation.kind in MANY and not relation.plain:
        if not relation.filtered and relation.operation in annotating.OPERATIONS:
            return annotating.cure(group, chain, crowded=crowded)
        if relation.filtered and statements.alternatives(group.statement.sql):
            path = _path(relation, chain)
            text = f'Its conditions are alternatives, which no prefetch has: fetch each with the rows ("{path}" is one)'
            return Cure("", f"{text}, and join them in Python.")
        return _prefetch(relation, _path(relation, chain))
    return _eager(relation, chain)


def _eager(relation: Relation, chain: Lineage | None) -> Cure:
    single = chain.single if chain is not None and chain.path else relation.kind not in MANY
    if single and relation.kind is not RelationKind.GENERIC_FOREIGN_KEY and relation.kind not in MANY:
        to = way(relation, chain)
        path = to.lookup if to is not None else _path(relation, chain)
        return Cure(f'.select_related("{path}")', "it comes joined to the rows.", "select_related")
    path = _path(relation, chain)
    return Cure(f'.prefetch_related("{path}")', "one query fetches it for all rows.", "prefetch_related")


def _path(relation: Relation, chain: Lineage | None) -> str:
    return "__".join(chain.path) if chain is not None and chain.path else relation.name


def write_cure(group: Group) -> Cure:
    """Return the cure for a loop of writes."""
    word = group.statement.sql.lstrip()[:6].upper()
    form, text = _WRITES.get(word, _WRITES["UPDATE"])
    model = _model_name(group.relation.model if group.relation else "") or "Model"
    return Cure(form, text.format(model=model))


def _of_children(relation: Relation, group: Group) -> Cure:
    """Return the cure for rows of a parent model, each fetched again as a row of the child model."""
    model = apps.get_model(relation.model)
    parent = model._meta.get_parent_list()[-1]
    # An attribute that fetches the child (`.specific`, say) has a queryset's method of that name beside it, as a rule.
    named = [frame.code.co_name for frame in group.site.frames]
    method = next((name for name in named if _has_own_method(parent, name)), "")
    if method:
        return Cure(
            f".{method}()", f"it fetches each {parent.__name__} as the {model.__name__} that it is.", "children"
        )
    code = f"{model.__name__}.objects"
    text = f"Each {parent.__name__} of a list is fetched again, as a {model.__name__}: have {code} fetch the list"
    return Cure(code, f"{text}, or one {code}.in_bulk(ids) all of them.")


def _has_own_method(model: Any, name: str) -> bool:
    queryset = type(model._default_manager.all())
    return hasattr(queryset, name) and not hasattr(QuerySet, name)


def _of_model(relation: Relation, group: Group) -> Cure:
    model = _model_name(relation.model)
    fields, varying = relation.filtered, statements.varying(group)
    key = fields[0] if len(fields) == 1 else ""
    operation = relation.operation
    joined = statements.foreign(group, relation.model)
    if joined:
        return Cure("", f"Ask once for all rows, before the loop: compare {joined} with a list, and group them by it.")
    foreign = not all(_is_field(relation.model, name) for name in ([name for name, _ in varying] or fields))
    if foreign or (not varying and statements.beyond_fields(group.statement.sql)):
        return Cure("", "Ask once for all rows, before the loop: in a statement that has the conditions of all runs.")
    if operation in ("get", "first", "last") and key and _unique(relation.model, key):
        return _in_bulk(relation, "Fetch all that the loop needs before it", "" if _is_pk(relation.model, key) else key)
    if any(lookup for _, lookup in varying) or (relation.lookups and relation.lookups <= RANGES):
        return _of_ranges(relation, group, varying)
    name = next((name for name, _ in varying), key or (fields[0] if fields else "pk"))
    if operation in ("count", "aggregate"):
        value = _value(group, relation)
        if value is None:
            return Cure("", f'Ask once for all rows: group the same expression by .values("{name}").')
        code = f'.values("{name}").annotate({"n" if operation == "count" else "value"}={value})'
        return Cure(code, f"Ask once for all rows, grouped: {model}.objects.filter({name}__in=...){code}.")
    if operation == "exists":
        code = f'.values_list("{name}", flat=True)'
        return Cure(code, f"Ask once which exist: set({model}.objects.filter({name}__in=...){code}).")
    code = f".filter({name}__in=...)"
    if "in" in relation.lookups:
        return Cure(code, f"Each run has a list of its own: join the lists, and ask once: {model}.objects{code}.")
    return Cure(code, f"Ask once for all rows, before the loop: {model}.objects{code}, then group them by {name}.")


def _of_ranges(relation: Relation, group: Group, varying: list[tuple[str, str]]) -> Cure:
    """Return the cure for a query per range: of dates for a chart, of prices for a filter."""
    model = _model_name(relation.model)
    bounds = varying or [(relation.filtered[0] if relation.filtered else "pk", "range")]
    conditions = ", ".join(f"{field}{f'__{lookup}' if lookup else ''}={_BOUNDS[lookup]}" for field, lookup in bounds)
    value = _value(group, relation) if relation.operation in ("count", "aggregate", "exists") else None
    if value is None and relation.operation == "aggregate":
        return Cure("", f"Ask once for all ranges: the same expression for each, with filter=Q({conditions}).")
    if value is None:
        code = f".filter({conditions})"
        text = f"Ask once for the whole span: {model}.objects{code}, then sort the rows into their ranges in Python."
        return Cure(code, text)
    names = list(dict.fromkeys(_BOUNDS[lookup].strip("()") for _, lookup in bounds))
    each = f"({', '.join(names)})" if len(", ".join(names).split(", ")) > 1 else names[0]
    filtered = f"{value[:-1]}, filter=Q({conditions}))"
    code = f'.aggregate(**{{f"n{{i}}": {filtered} for i, {each} in enumerate(ranges)}})'
    return Cure(code, f"Ask once for all ranges: {model}.objects{code}.")


_BOUNDS = {"": "value", "gt": "low", "gte": "low", "lt": "high", "lte": "high", "range": "(low, high)"}


def _value(group: Group, relation: Relation) -> str | None:
    """Return what is aggregated, or None where it is more than one plain column."""
    if relation.operation != "aggregate":
        return 'Count("pk")'
    found = statements.aggregates(group.statement.sql, apps.get_model(relation.model)._meta.db_table)
    return found[0].code("") if len(found) == 1 else None


def _in_bulk(relation: Relation, lead: str, field: str = "") -> Cure:
    code = f'.in_bulk(values, field_name="{field}")' if field else ".in_bulk(ids)"
    return Cure(code, f"{lead}: {_model_name(relation.model)}.objects{code}, then look each up in that dict.")


def _of_one_owner(relation: Relation, group: Group) -> bool:
    """Tell whether all runs ask the same object, for other rows of it each time."""
    varying = {name for name, _ in statements.varying(group, relation.target)}
    if not varying and group.statement.batched and relation.filtered:  # a list of its own in each run
        runs = zip(group.first_hashes, group.last_hashes, strict=False)
        return any(first == last == relation.owner for first, last in runs)
    return bool(varying) and varying <= set(relation.filtered)


def _in_one_go(relation: Relation, group: Group) -> Cure:
    name = next((name for name, _ in statements.varying(group)), relation.filtered[0])
    code = f".filter({name}__in=...)"
    owner = _model_name(relation.model).lower()
    text = f"All runs ask one {owner}. Ask it once, before the loop: {owner}.{relation.name}{code}"
    return Cure(code, f"{text}; then look each up by {name}.", "loop")


def _prefetch(relation: Relation, path: str) -> Cure:
    target = _model_name(relation.target)
    condition = f".filter({', '.join(f'{one}=...' for one in relation.filtered)})" if relation.filtered else ".all()"
    code = f'.prefetch_related(Prefetch("{path}", queryset={target}.objects{condition}, to_attr="..."))'
    text = "one query fetches what the loop asks for; read the list in to_attr instead."
    if relation.operation in ("first", "last", "slice", "get", "values", "values_list") and not relation.filtered:
        code = f'.prefetch_related("{path}")'
        asks = f"pick from .all() in Python, for .{relation.operation}() asks again."
        served = "a slice of .all() is served from them."
        text = f"one query fetches them all; {served if relation.operation == 'slice' else asks}"
    return Cure(code, text, "prefetch_related")


def _model_name(label: str) -> str:
    return label.rpartition(".")[2]


def _field_name(label: str, name: str) -> str:
    """Return the name of a field that may be given by its column's attribute, ``author_id``."""
    return str(apps.get_model(label)._meta.get_field(name).name)


def _unique(label: str, name: str) -> bool:
    try:
        field = apps.get_model(label)._meta.get_field(name)
    except (FieldDoesNotExist, LookupError, ValueError):  # an annotation, say: not a key to look rows up by
        return False
    return bool(getattr(field, "unique", False))


def _is_field(label: str, name: str) -> bool:
    return any(
        name in (field.name, getattr(field, "attname", "")) for field in apps.get_model(label)._meta.get_fields()
    )


def _is_pk(label: str, name: str) -> bool:
    return apps.get_model(label)._meta.pk is not None and apps.get_model(label)._meta.pk.name == name
