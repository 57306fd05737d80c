"""The cure for an N+1 by the kind of its relation: the code to add, and a sentence on where and why."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.apps import apps

from noa_perf.optimizer.groups import Group
from noa_perf.optimizer.lineage import Lineage
from noa_perf.optimizer.relations import Relation, RelationKind
from noa_perf.optimizer.source import Builder

MANY = frozenset({RelationKind.REVERSE_MANY, RelationKind.MANY_TO_MANY, RelationKind.GENERIC_RELATION})

RANGES = frozenset({"gt", "gte", "lt", "lte", "range"})

_AGGREGATE = re.compile(r'\b(SUM|AVG|MIN|MAX|COUNT)\(\s*(?:DISTINCT\s+)?["`]\w+["`]\.["`](\w+)["`]', re.IGNORECASE)
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


@dataclass(frozen=True, slots=True)
class Cure:
    """What to change.

    ``code`` is to be added. Where ``form`` names a way of loading eagerly, ``text`` only gives the reason, for the
    report knows the place; elsewhere it is the whole sentence.
    """

    code: str
    text: str
    form: str = ""


def cure_of(group: Group, chain: Lineage | None) -> Cure:
    """Return the cure for an N+1."""
    relation = group.relation
    if relation is None or relation.kind is RelationKind.RAW:
        return Cure(
            "IN (...)",
            "Ask once for all rows: one statement with WHERE ... IN (...) or a JOIN, before the loop.",
        )
    if relation.kind is RelationKind.MODEL:
        return _of_model(relation, group)
    if relation.kind is RelationKind.REFRESH:
        return _in_bulk(relation, "Reload all objects in one query instead of one by one")
    if relation.kind is RelationKind.PREFETCH:
        code = f'prefetch_related_objects(rows, "{relation.name}")'
        return Cure(code, f"Prefetch once for all rows, before the loop: {code}.")
    if relation.kind is RelationKind.DEFERRED:
        text = f'Load "{relation.name}" with the rows: add it to .only(), or take it out of .defer().'
        return Cure(f'"{relation.name}"', text, "only")
    path = "__".join(chain.path) if chain is not None and chain.path else relation.name
    if relation.kind in MANY and not relation.plain:
        return _of_many(relation, group, path)
    single = chain.single if chain is not None and chain.path else relation.kind not in MANY
    single = single and relation.kind is not RelationKind.GENERIC_FOREIGN_KEY and relation.kind not in MANY
    form = "select_related" if single else "prefetch_related"
    why = "it comes joined to the rows." if single else "one query fetches it for all rows."
    return Cure(f'.{form}("{path}")', why, form)


def placed(cure: Cure, builder: Builder | None) -> Cure:
    """Return ``cure`` in the words of the place where it goes: a class attribute is written as one."""
    if builder is None or cure.form not in ("select_related", "prefetch_related", "annotate"):
        return cure
    if builder.form == "list_select_related":
        paths = re.findall(r'"([^"]+)"', cure.code)
        code = f"list_select_related = ({', '.join(repr(p) for p in paths)},)".replace("'", '"')
        return Cure(code, f"Set {code} on {builder.name.partition('.')[0]}: it comes joined to the rows.")
    if builder.form == "model":
        model = builder.text.partition("=")[2].strip() or "Model"
        code = f"queryset = {model}.objects{cure.code}"
        return Cure(code, f"Write {code} in place of `{builder.text}`: {cure.text}")
    if builder.form == "get_queryset":
        code = f"super().get_queryset(request){cure.code}"
        return Cure(code, f"Return {code} from {builder.name}.get_queryset: {cure.text}")
    return cure


def write_cure(group: Group) -> Cure:
    """Return the cure for a loop of writes."""
    word = group.statement.sql.lstrip()[:6].upper()
    form, text = _WRITES.get(word, _WRITES["UPDATE"])
    model = _model_name(group.relation.model if group.relation else "") or "Model"
    return Cure(form, text.format(model=model))


def _of_model(relation: Relation, group: Group) -> Cure:
    model = _model_name(relation.model)
    fields = relation.filtered
    key = fields[0] if len(fields) == 1 else ""
    operation = relation.operation
    if operation in ("get", "first", "last") and key and _unique(relation.model, key):
        return _in_bulk(relation, "Fetch all that the loop needs before it", "" if _is_pk(relation.model, key) else key)
    name = key or (fields[0] if fields else "pk")
    if relation.lookups and relation.lookups <= RANGES:
        return _of_ranges(relation, group, name)
    if operation in ("count", "aggregate"):
        code = f'.values("{name}").annotate(n=Count("pk"))'
        if operation == "aggregate":
            code = code.replace('n=Count("pk")', f"value={_aggregate(group)}")
        return Cure(code, f"Ask once for all rows, grouped: {model}.objects.filter({name}__in=...){code}.")
    if operation == "exists":
        code = f'.values_list("{name}", flat=True)'
        return Cure(code, f"Ask once which exist: set({model}.objects.filter({name}__in=...){code}).")
    code = f".filter({name}__in=...)"
    if "in" in relation.lookups:
        return Cure(code, f"Each run has a list of its own: join the lists, and ask once: {model}.objects{code}.")
    return Cure(code, f"Ask once for all rows, before the loop: {model}.objects{code}, then group them by {name}.")


def _of_ranges(relation: Relation, group: Group, name: str) -> Cure:
    value = _aggregate(group) if relation.operation == "aggregate" else 'Count("pk")'
    code = f'.annotate(period=Trunc("{name}", "...")).values("period").annotate(value={value})'
    model = _model_name(relation.model)
    return Cure(code, f"Ask once for all ranges: {model}.objects{code} for dates, Case(When(...)) for other ranges.")


def _in_bulk(relation: Relation, lead: str, field: str = "") -> Cure:
    code = f'.in_bulk(values, field_name="{field}")' if field else ".in_bulk(ids)"
    return Cure(code, f"{lead}: {_model_name(relation.model)}.objects{code}, then look each up in that dict.")


def _of_many(relation: Relation, group: Group, path: str) -> Cure:
    name = path.replace("__", "_")
    if relation.filtered or relation.operation not in ("count", "exists", "aggregate"):
        return _prefetch(relation, path)
    if relation.operation == "count":
        code = f'.annotate({name}_count=Count("{path}"))'
        return Cure(
            code,
            f"the query that fetches the rows counts too; read `{name}_count` where .count() is called.",
            "annotate",
        )
    if relation.operation == "exists":
        target = _model_name(relation.target)
        code = f'.annotate(has_{name}=Exists({target}.objects.filter({_back(relation)}=OuterRef("pk"))))'
        return Cure(
            code,
            f"the query that fetches the rows asks too; read `has_{name}` where .exists() is called.",
            "annotate",
        )
    value = _aggregate(group, prefix=f"{path}__")
    code = f".annotate({name}_value={value})"
    return Cure(
        code,
        f"the query that fetches the rows computes it; read `{name}_value` where .aggregate() is called.",
        "annotate",
    )


def _prefetch(relation: Relation, path: str) -> Cure:
    target = _model_name(relation.target)
    condition = f".filter({', '.join(f'{one}=...' for one in relation.filtered)})" if relation.filtered else ".all()"
    code = f'.prefetch_related(Prefetch("{path}", queryset={target}.objects{condition}, to_attr="..."))'
    text = "one query fetches what the loop asks for; read the list in to_attr instead."
    if relation.operation in ("first", "last", "slice", "get", "values", "values_list") and not relation.filtered:
        code = f'.prefetch_related("{path}")'
        text = f"one query fetches them all; pick from .all() in Python, for .{relation.operation}() asks again."
    return Cure(code, text, "prefetch_related")


def _aggregate(group: Group, prefix: str = "") -> str:
    match = _AGGREGATE.search(group.statement.sql)
    return f'{match[1].capitalize()}("{prefix}{match[2]}")' if match else f'Count("{prefix or "pk"}")'


def _back(relation: Relation) -> str:
    try:
        model = apps.get_model(relation.model)
    except (LookupError, ValueError):
        return "..."
    for field in model._meta.get_fields():
        accessor = getattr(field, "get_accessor_name", lambda: "")()
        if accessor == relation.name:
            return str(getattr(getattr(field, "field", None), "name", "..."))
    return "..."


def _model_name(label: str) -> str:
    return label.rpartition(".")[2]


def _unique(label: str, name: str) -> bool:
    try:
        field = apps.get_model(label)._meta.get_field(name)
    except Exception:  # a name that is no field of the model (an annotation): not a key to look rows up by
        return False
    return bool(getattr(field, "unique", False))


def _is_pk(label: str, name: str) -> bool:
    return apps.get_model(label)._meta.pk is not None and apps.get_model(label)._meta.pk.name == name
