"""Names what a query was for (``Book.author``), by reading the frames of Django that ran it.

``_hints`` and ``_known_related_objects`` of a queryset are empty for generic foreign keys and never name a forward
field; the descriptor whose frame is on the stack does. Read once for each suspicious group, never for each query,
and no descriptor is patched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from types import FrameType
from typing import Any, NamedTuple

from noa_perf.optimizer import callsite
from noa_perf.optimizer.fingerprint import hash_of


class RelationKind(Enum):
    """How the application came to run the query."""

    FORWARD = "forward"
    REVERSE_ONE = "reverse one-to-one"
    REVERSE_MANY = "reverse foreign key"
    MANY_TO_MANY = "many-to-many"
    GENERIC_FOREIGN_KEY = "generic foreign key"
    GENERIC_RELATION = "generic relation"
    DEFERRED = "deferred field"
    REFRESH = "refresh_from_db"
    PREFETCH = "prefetch of single rows"
    MODEL = "query of a model"
    RAW = "raw SQL"


@dataclass(frozen=True, slots=True)
class Relation:
    """What a query was for, in the field's own terms."""

    kind: RelationKind
    model: str
    """Label of the model whose attribute or manager was used: ``shop.Book``; empty for raw SQL."""
    name: str
    """The attribute: a field, an accessor, a deferred column; empty for a query of a model."""
    target: str = ""
    """Label of the model that came back."""
    operation: str = ""
    """The queryset method used: ``all``, ``get``, ``count``, ``first``, …"""
    filtered: tuple[str, ...] = ()
    """Fields compared in the WHERE clause beyond the relation itself."""
    plain: bool = False
    """True when a related manager's rows were asked for as they are (``.all()``), so that a prefetch serves them."""
    lookups: frozenset[str] = frozenset()
    """Names of the lookups used in the WHERE clause: ``exact``, ``in``, ``gte``, …"""
    owner: int = 0
    """Hash of the primary key of the instance whose attribute was read, to tell where it came from; 0 if unknown."""

    @property
    def subject(self) -> str:
        """``Book.author`` for a relation, ``Book.objects.get()`` for a query of a model."""
        model = self.model.rpartition(".")[2]
        if self.name:
            return f"{model}.{self.name}"
        if model:
            return f"{model}.objects.{self.operation or 'all'}()"
        return "raw SQL"


OPERATIONS = frozenset(
    """get first last earliest latest count exists aggregate contains in_bulk iterator get_or_create update_or_create
    create bulk_create bulk_update update delete values values_list save add set remove clear refresh_from_db""".split()
)


def read(frame: FrameType | None) -> Relation | None:
    """Return the :class:`Relation` behind the query run from ``frame``, or None where Django's frames tell nothing."""
    found = _read(frame)
    if found is None:
        return None
    relation, instance = found
    pk = getattr(instance, "__dict__", {}).get(instance._meta.pk.attname) if hasattr(instance, "_meta") else None
    return replace(relation, owner=hash_of(pk)) if pk is not None else relation


def _read(frame: FrameType | None) -> tuple[Relation, Any] | None:
    queryset: Any = None
    operation = ""
    for code_name, this, at in _orm_frames(frame):
        reader = _READERS.get(code_name)
        if reader is not None:
            relation = reader(this, at, operation)
            if relation is not None:
                return relation, at.f_locals.get("instance")
        if queryset is None and code_name.startswith(("QuerySet.", "RawQuerySet.")):
            queryset = this  # the innermost: the one that was really run
        method = code_name.rpartition(".")[2]
        if method in OPERATIONS:
            operation = method
    relation = None if queryset is None else _of_queryset(queryset, operation)
    return None if relation is None else (relation, (getattr(queryset, "_hints", None) or {}).get("instance"))


def _orm_frames(frame: FrameType | None) -> Iterator[tuple[str, Any, FrameType]]:
    for _ in range(callsite.MAX_WALK):
        if frame is None or callsite.kinds[frame.f_code.co_filename] != callsite.PLUMBING:
            return
        module = frame.f_globals.get("__name__", "")
        if module.startswith(("django.db.models", "django.contrib.contenttypes")):
            yield frame.f_code.co_qualname, frame.f_locals.get("self"), frame
        frame = frame.f_back


def read_prefetch(frame: FrameType | None) -> tuple[str, str] | None:
    """Return the full path of the prefetch that runs a query from ``frame``, and the model it started from."""
    path = ""
    for code_name, _, at in _orm_frames(frame):
        if code_name == "prefetch_one_level" and not path:
            lookup, level = at.f_locals.get("lookup"), at.f_locals.get("level", 0)
            path = "__".join(lookup.prefetch_through.split("__")[: level + 1]) if lookup is not None else ""
        elif code_name == "prefetch_related_objects":
            instances = at.f_locals.get("model_instances") or ()
            return (path, _label(type(instances[0]))) if path and instances else None
    return None


def _forward(this: Any, frame: FrameType, operation: str) -> Relation | None:
    field = getattr(this, "field", None)
    if field is None:
        return None
    return Relation(
        RelationKind.FORWARD,
        _label(_concrete(frame, field.model)),
        field.name,
        _label(field.related_model),
        "get",
    )


def _reverse_one(this: Any, frame: FrameType, operation: str) -> Relation:
    related = this.related
    return Relation(
        RelationKind.REVERSE_ONE,
        _label(_concrete(frame, related.model)),
        related.get_accessor_name(),
        _label(related.related_model),
        "get",
    )


def _deferred(this: Any, frame: FrameType, operation: str) -> Relation:
    model = _concrete(frame, this.field.model)
    return Relation(RelationKind.DEFERRED, _label(model), this.field.attname, _label(model), "refresh_from_db")


def _generic_foreign_key(this: Any, frame: FrameType, operation: str) -> Relation:
    field = getattr(this, "field", None) or this
    return Relation(RelationKind.GENERIC_FOREIGN_KEY, _label(field.model), field.name, "", "get")


def _refresh(this: Any, frame: FrameType, operation: str) -> Relation | None:
    caller = frame.f_back
    if caller is not None and caller.f_code.co_qualname.startswith("DeferredAttribute."):
        return None  # the descriptor, further out, knows the field
    return Relation(RelationKind.REFRESH, _label(type(this)), "", _label(type(this)), "refresh_from_db")


def _prefetch(this: Any, frame: FrameType, operation: str) -> Relation | None:
    instances = frame.f_locals.get("model_instances") or ()
    if not instances:
        return None
    name = str(getattr(frame.f_locals.get("lookup"), "prefetch_to", ""))
    return Relation(RelationKind.PREFETCH, _label(type(instances[0])), name, "", "prefetch_related_objects")


_Reader = Callable[[Any, FrameType, str], Relation | None]
_READERS: dict[str, _Reader] = {
    "ForwardManyToOneDescriptor.__get__": _forward,
    "ReverseOneToOneDescriptor.__get__": _reverse_one,
    "DeferredAttribute.__get__": _deferred,
    "GenericForeignKey.__get__": _generic_foreign_key,
    "GenericForeignKeyDescriptor.__get__": _generic_foreign_key,
    "Model.refresh_from_db": _refresh,
    "prefetch_related_objects": _prefetch,
}


def _related_manager(this: Any, frame: FrameType, operation: str) -> Relation | None:
    instance = getattr(this, "instance", None)
    if instance is None:
        return None
    method = frame.f_code.co_qualname.rpartition(".")[2]
    name = getattr(this, "prefetch_cache_name", "")
    return Relation(RelationKind.MANY_TO_MANY, _label(type(instance)), name, _label(this.model), operation or method)


_READERS["create_forward_many_to_many_manager.<locals>.ManyRelatedManager.count"] = _related_manager
_READERS["create_forward_many_to_many_manager.<locals>.ManyRelatedManager.exists"] = _related_manager


def _of_queryset(queryset: Any, operation: str) -> Relation | None:
    model = getattr(queryset, "model", None)
    if model is None:
        return None
    if type(queryset).__name__ == "RawQuerySet":
        return Relation(RelationKind.RAW, "", "", _label(model), "raw")
    compared = _compared(queryset)
    instance = (getattr(queryset, "_hints", None) or {}).get("instance")
    for field in getattr(queryset, "_known_related_objects", None) or {}:
        owner, name = field.remote_field.model, field.remote_field.get_accessor_name()
        known = _Origin(RelationKind.REVERSE_MANY, owner, name, frozenset({field}))
        return _related(known, queryset, operation, compared)
    origin = _many_to_many(queryset, instance, compared) or _generic_relation(queryset, compared)
    if origin is not None:
        return _related(origin, queryset, operation, compared)
    if not operation and getattr(queryset, "_fields", None):
        operation = "values"
    lookups = frozenset(lookup for _, lookup in compared.values())
    return Relation(
        RelationKind.MODEL, _label(model), "", _label(model), operation or "all", _names(compared), lookups=lookups
    )


class _Origin(NamedTuple):
    """A relation to many, and the comparisons that only say whose rows are meant."""

    kind: RelationKind
    owner: Any
    name: str
    own: frozenset[Any]


def _related(origin: _Origin, queryset: Any, operation: str, compared: dict[Any, Any]) -> Relation:
    filtered = _names({field: value for field, value in compared.items() if field not in origin.own})
    values = bool(getattr(queryset, "_fields", None))
    sliced = queryset.query.is_sliced
    plain = not (filtered or operation or sliced or values or queryset.query.annotations)
    named = operation or ("values" if values else "slice" if sliced else "all")
    return Relation(
        origin.kind,
        _label(_undeferred(origin.owner)),
        origin.name,
        _label(queryset.model),
        named,
        filtered,
        plain,
    )


def _many_to_many(queryset: Any, instance: Any, compared: dict[Any, Any]) -> _Origin | None:
    if instance is None:
        return None
    model = type(instance)
    joined = {join.table_name for join in queryset.query.alias_map.values() if join.table_name}
    # Each with the column of the table between that holds this side: a relation to itself has two of them.
    managers = [
        (field.related_model, field.remote_field.through, field.name, field.m2m_field_name())
        for field in model._meta.many_to_many
        if hasattr(field, "m2m_field_name")  # tags, for one, are a relation to many of somebody's own making
    ]
    managers += [
        (one.related_model, one.through, one.get_accessor_name(), one.field.m2m_reverse_field_name())
        for one in model._meta.related_objects
        if one.many_to_many and hasattr(one.field, "m2m_reverse_field_name")
    ]
    for target, through, name, side in managers:
        own = frozenset(field for field in compared if field.model is through)
        if target is queryset.model and through._meta.db_table in joined and side in {field.name for field in own}:
            return _Origin(RelationKind.MANY_TO_MANY, model, name, own)
    return None


def _generic_relation(queryset: Any, compared: dict[Any, Any]) -> _Origin | None:
    from django.contrib.contenttypes.fields import GenericForeignKey

    by_name = {field.name: field for field in compared if field.model is queryset.model}
    for foreign in queryset.model._meta.private_fields:
        if not isinstance(foreign, GenericForeignKey) or not {foreign.ct_field, foreign.fk_field} <= by_name.keys():
            continue
        owner = _content_type_model(compared[by_name[foreign.ct_field]][0])
        for field in owner._meta.private_fields if owner is not None else ():
            if (
                getattr(field, "related_model", None) is queryset.model
                and field.object_id_field_name == foreign.fk_field
            ):
                own = frozenset({by_name[foreign.ct_field], by_name[foreign.fk_field]})
                return _Origin(RelationKind.GENERIC_RELATION, owner, field.name, own)
    return None


def _content_type_model(identity: Any) -> Any:
    from django.contrib.contenttypes.models import ContentType

    # Only from Django's cache, which the manager that asked has just used: no query of ours.
    for cached in getattr(ContentType.objects, "_cache", {}).values():
        if identity in cached:
            return cached[identity].model_class()
    return None


def _compared(queryset: Any) -> dict[Any, tuple[Any, str]]:
    """Return the fields that the WHERE clause compares, each with the (last) value and the lookup."""
    found: dict[Any, tuple[Any, str]] = {}
    pending = [queryset.query.where] if getattr(queryset, "query", None) is not None else []
    while pending:
        node = pending.pop()
        pending.extend(getattr(node, "children", ()) or ())
        target = getattr(getattr(node, "lhs", None), "target", None)
        if target is not None:
            found[target] = getattr(node, "rhs", None), getattr(node, "lookup_name", "")
    return found


def _names(compared: dict[Any, Any]) -> tuple[str, ...]:
    return tuple(sorted({field.name for field in compared}))


def _concrete(frame: FrameType, default: Any) -> Any:
    instance = frame.f_locals.get("instance")
    return _undeferred(type(instance)) if instance is not None else default


def _undeferred(model: Any) -> Any:
    return model._meta.concrete_model or model if hasattr(model, "_meta") else model


def _label(model: Any) -> str:
    return (
        getattr(getattr(model, "_meta", None), "label", "") if model is not None and not isinstance(model, str) else ""
    )
