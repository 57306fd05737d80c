"""The way from a queryset's rows to a relation, in the names that lookups use, and the rows at its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db.models import IntegerField

from noa_perf.optimizer.lineage import Lineage
from noa_perf.optimizer.relations import Relation


@dataclass(frozen=True, slots=True)
class Step:
    """One attribute on the way."""

    accessor: str
    """As Python reads it and prefetch_related() names it: ``review_set``."""
    lookup: str
    """As filters, select_related() and annotations name it: ``review``."""
    owner: Any
    """The model that has the attribute."""
    field: Any
    many: bool


@dataclass(frozen=True, slots=True)
class Way:
    """The attributes from the rows of a queryset to a relation, that one included."""

    steps: tuple[Step, ...]

    @property
    def lookup(self) -> str:
        """``book__review``."""
        return "__".join(step.lookup for step in self.steps)

    @property
    def accessor(self) -> str:
        """``book__review_set``."""
        return "__".join(step.accessor for step in self.steps)

    @property
    def last(self) -> Step:
        """The relation itself."""
        return self.steps[-1]

    def split(self) -> tuple[Way, Way]:
        """Return the way up to the last step to many rows before the end, and the way from there on."""
        cut = max((index + 1 for index, step in enumerate(self.steps[:-1]) if step.many), default=0)
        return Way(self.steps[:cut]), Way(self.steps[cut:])


def way(relation: Relation, chain: Lineage | None) -> Way | None:
    """Return the way to ``relation`` from the rows that ``chain`` starts at; None where a name is no field's."""
    started = chain is not None and chain.path
    label, names = (chain.model, chain.path) if started and chain else (relation.model, (relation.name,))
    steps: list[Step] = []
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        return None
    for name in names:
        step = _step(model, name)
        if step is None:
            return None
        steps.append(step)
        model = step.field.related_model
    return Way(tuple(steps))


def _step(model: Any, name: str) -> Step | None:
    for field in model._meta.get_fields() if model is not None else ():
        reverse = field.auto_created and not field.concrete
        accessor = field.get_accessor_name() if reverse else field.name
        if accessor == name and field.is_relation:
            return Step(name, field.name, model, field, bool(field.one_to_many or field.many_to_many))
    return None


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows at the end of a way, asked for by themselves, for one row of the outer queryset."""

    code: str
    """``Review.objects.filter(book=OuterRef("pk"))``."""
    back: str
    """The field that leads back: ``book``."""
    prefix: str
    """What stands before a field of the rows: empty, or ``tag__`` behind a many-to-many's own table."""
    table: str
    """The table that is read."""


def rows(end: Way) -> Rows | None:
    """Return the rows at the end of a way whose other steps each lead to one object; None where no code says it."""
    field, owner = end.last.field, end.last.owner
    outer = "__".join(step.lookup for step in end.steps[:-1])
    if hasattr(field, "object_id_field_name"):
        return _generic(field, owner, outer)
    if field.many_to_many:
        base = field.field if field.auto_created else field
        names = (base.m2m_field_name(), base.m2m_reverse_field_name())
        back, prefix = names[::-1] if field.auto_created else names
        code = f'{owner.__name__}.{end.last.accessor}.through.objects.filter({back}=OuterRef("{outer or "pk"}"))'
        return Rows(code, back, f"{prefix}__", base.m2m_db_table())
    if not field.one_to_many:
        return None
    key = field.field.target_field
    outer = (outer or "pk") if key.primary_key else f"{outer}__{key.name}".lstrip("_")
    back, target = field.field.name, field.related_model
    return Rows(f'{target.__name__}.objects.filter({back}=OuterRef("{outer}"))', back, "", target._meta.db_table)


def _generic(field: Any, owner: Any, outer: str) -> Rows | None:
    target, back, kind = field.related_model, field.object_id_field_name, field.content_type_field_name
    # Databases that are strict about types compare a number kept as text with no key.
    if not all(isinstance(one, IntegerField) for one in (target._meta.get_field(back), owner._meta.pk)):
        return None
    about = owner._meta.concrete_model._meta
    of_kind = f'{kind}__app_label="{about.app_label}", {kind}__model="{about.model_name}"'
    code = f'{target.__name__}.objects.filter({of_kind}, {back}=OuterRef("{outer or "pk"}"))'
    return Rows(code, back, "", target._meta.db_table)
