"""Querysets asked for more than is used: rows fetched to be counted, whole objects for one field, unread text.

The queries give the suspicion; the site's own source decides. A name that is used for anything else in the same
function clears the suspicion, for rows that are needed anyway cost nothing more to count.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

from noa_perf.optimizer import lineage
from noa_perf.optimizer.groups import Group
from noa_perf.optimizer.reading import builders, source, usage
from noa_perf.optimizer.reading.flow import Flow, Wanted, flow_of
from noa_perf.optimizer.sightings import Sighting

MIN_ROWS = 20
"""Rows from which text that nobody reads is worth a word."""
MIN_BYTES = 20_000

BY_OPERATION = {
    "QuerySet.__len__": "len_for_count",
    "QuerySet.__bool__": "bool_for_exists",
    "QuerySet.__iter__": "values_would_do",
}


REFINEMENTS = frozenset(
    """aggregate all annotate defer distinct exclude filter in_bulk iterator only order_by prefetch_related reverse
    select_related using values values_list""".split()
)
"""Methods that ask the database anew, whatever rows the queryset holds already."""


@dataclass(frozen=True, slots=True)
class Misuse:
    """A confirmed misuse: what to write instead, and where."""

    line: int
    code: str
    cure: str
    certain: bool = True


def suspicions(group: Group) -> Iterator[str]:
    """Yield the kinds of misuse that the way ``group`` was evaluated allows for; decided without reading a file."""
    operations, site = group.site.operations, group.site
    if group.rows and operations and site.frames and site.node is None and operations[-1] in BY_OPERATION:
        yield BY_OPERATION[operations[-1]]
    if group.wide and group.rows >= MIN_ROWS and group.rows * sum(group.wide.values()) >= MIN_BYTES:
        yield "unread_columns"


def confirm(sighting: Sighting) -> Misuse | None:
    """Return the misuse behind a suspicion if the source bears it out."""
    group = sighting.group
    if sighting.kind == "unread_columns":
        return _unread(sighting)
    frame, model = group.site.frames[0], lineage.model_of_sql(group.statement.sql)
    flow = flow_of(frame.code, frame.module, Wanted(model._meta.label, True)) if model is not None else None
    statement = source.statement_at(flow.tree, frame.line) if flow is not None else None
    if flow is None or statement is None:
        return None
    return _CONFIRMERS[sighting.kind](flow, statement)


def _len(flow: Flow, statement: ast.stmt) -> Misuse | None:
    for part in source.head(statement):
        for node in ast.walk(part):
            if _is_call(node, "len") and _only_measured(flow, node.args[0]):
                cure = "Let the database count: .count() instead of len(), which fetches every row."
                return Misuse(node.lineno, ".count()", cure)
    return None


def _bool(flow: Flow, statement: ast.stmt) -> Misuse | None:
    for part in source.head(statement):
        for node in _tested(part, statement):
            if not isinstance(node, ast.Constant) and _only_measured(flow, node):
                cure = "Ask whether there is one: .exists() instead of the queryset's truth, which fetches every row."
                return Misuse(node.lineno, ".exists()", cure)
    return None


def _values(flow: Flow, statement: ast.stmt) -> Misuse | None:
    for part in source.head(statement):
        for node in ast.walk(part):
            if not isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
                continue
            names = _fields_read(node, flow.model)
            if names and _only_measured(flow, node.generators[0].iter, itself=node):
                code = f".values_list({_quoted(names)}{', flat=True' if len(names) == 1 else ''})"
                cure = f"Only {_quoted(names)} is read of each row: {code} fetches that and builds no model objects."
                return Misuse(node.generators[0].iter.lineno, code, cure)
    return None


_CONFIRMERS = {"len_for_count": _len, "bool_for_exists": _bool, "values_would_do": _values}


def _is_call(node: ast.AST, name: str) -> TypeGuard[ast.Call]:
    named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    return named and isinstance(node, ast.Call) and len(node.args) == 1


def _tested(part: ast.AST, statement: ast.stmt) -> Iterator[ast.expr]:
    candidates: list[ast.AST] = [part] if isinstance(statement, (ast.If, ast.While)) else []
    candidates += [node.test for node in ast.walk(part) if isinstance(node, ast.IfExp)]
    candidates += [node.args[0] for node in ast.walk(part) if _is_call(node, "bool")]
    for node in candidates:
        tested = node
        while isinstance(tested, ast.UnaryOp) and isinstance(tested.op, ast.Not):
            tested = tested.operand
        if isinstance(tested, ast.BoolOp):
            candidates.extend(tested.values)
        elif isinstance(tested, (ast.Name, ast.Call)) and not _is_call(tested, "len"):
            yield tested


def _only_measured(flow: Flow, node: ast.expr, itself: ast.AST | None = None) -> bool:
    """Tell whether the queryset that ``node`` names or builds is used for nothing but this."""
    if not isinstance(node, ast.Name):
        # A method of the site's own may well keep what it returns, for others to loop over.
        return isinstance(node, ast.Call) and flow.builds(node)
    tree = flow.tree
    measured = {id(node)}
    for other in ast.walk(tree):
        if itself is None and (_is_call(other, "len") or _is_call(other, "bool")):
            measured.add(id(other.args[0]))
        elif isinstance(other, ast.Attribute) and other.attr in REFINEMENTS:
            measured.add(id(other.value))
        elif itself is None and isinstance(other, (ast.If, ast.IfExp)):
            test = other.test.operand if isinstance(other.test, ast.UnaryOp) else other.test
            measured.add(id(test))
    loads = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == node.id and isinstance(n.ctx, ast.Load)]
    parameters = {arg.arg for fn in ast.walk(tree) if isinstance(fn, ast.arguments) for arg in _arguments(fn)}
    built = node.id not in parameters and flow.builds_name(node.id)
    return built and all(id(load) in measured for load in loads)


def _arguments(node: ast.arguments) -> list[ast.arg]:
    return [*node.posonlyargs, *node.args, *node.kwonlyargs]


def _fields_read(node: Any, model: Any) -> list[str]:
    """Return the one or two plain columns that a comprehension reads of each row, or nothing."""
    if model is None or len(node.generators) != 1 or not isinstance(node.generators[0].target, ast.Name):
        return []
    target = node.generators[0].target.id
    parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
    parts += node.generators[0].ifs
    columns = {field.attname for field in model._meta.concrete_fields} | {"pk"}
    names = [
        inner.attr
        for part in parts
        for inner in ast.walk(part)
        if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name) and inner.value.id == target
    ]
    uses = sum(isinstance(n, ast.Name) and n.id == target for part in parts for n in ast.walk(part))
    distinct = list(dict.fromkeys(names))
    plain = uses == len(names) and len(distinct) <= 2 and set(distinct) <= columns
    return distinct if plain else []


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


_SELECTED = re.compile(r"^\s*SELECT\s+(?:DISTINCT\s+)?(.*?)\s+FROM\s", re.IGNORECASE | re.DOTALL)
_COLUMN = re.compile(r'^["`](\w+)["`]\.["`](\w+)["`]$')


def _unread(sighting: Sighting) -> Misuse | None:
    group = sighting.group
    model = lineage.model_of_sql(group.statement.sql)
    selected = _SELECTED.match(group.statement.sql)
    if model is None or selected is None or ("(" in selected[1] and "SELECT" in selected[1].upper()):
        return None
    columns = selected[1].split(", ")
    fields = {field.column: field for field in model._meta.concrete_fields}
    names = []
    for index in group.wide or ():
        match = _COLUMN.match(columns[index].strip()) if index < len(columns) else None
        field = fields.get(match[2]) if match and match[1] == model._meta.db_table else None
        if field is not None and not usage.mentions(sighting, model, field.attname):
            names.append(field.attname)
    if not names or not usage.traceable(sighting):
        return None
    widths = sum((group.wide or {}).values()) * group.rows
    cure = (
        f"{_quoted(names)} came with {group.rows:,} rows (about {widths // 1000:,} kB) and is named nowhere in the "
        f"code and templates on the way: .defer({_quoted(names)}), unless it is read where this cannot see."
    )
    builder = builders.find(group.site, sighting.view, Wanted(model._meta.label, several=True))
    line = builder.line if builder else (group.site.frames[0].line if group.site.frames else 0)
    return Misuse(line, f".defer({_quoted(names)})", cure, certain=False)
