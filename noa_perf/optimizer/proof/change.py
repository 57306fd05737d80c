"""A cure's code as a change that can be made to a queryset: what is to be joined, prefetched, or loaded at once."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

METHODS = frozenset({"select_related", "prefetch_related"})


@dataclass(frozen=True, slots=True)
class Change:
    """What is done to the queryset that fetches the rows."""

    method: str
    """``select_related``, ``prefetch_related``, or ``only`` for a field that is to be loaded with the rows."""
    names: tuple[str, ...]

    def apply(self, queryset: Any) -> None:
        """Change ``queryset``, which nobody has evaluated yet, in place."""
        if self.method == "only":
            names, deferred = queryset.query.deferred_loading
            changed = names - set(self.names) if deferred else names | set(self.names)
            queryset.query.deferred_loading = (frozenset(changed), deferred)
            return
        cured = getattr(queryset, self.method)(*self.names)
        queryset.query = cured.query
        queryset._prefetch_related_lookups = cured._prefetch_related_lookups


def change_of(code: str) -> Change | None:
    """Return the change that a cure's ``code`` makes to a queryset; None where the loop has to change as well."""
    try:
        (node,) = ast.parse(f"_{code}" if code.startswith(".") else code).body
    except (SyntaxError, ValueError):
        return None
    value = node.value if isinstance(node, (ast.Assign, ast.Expr)) else None
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return Change("only", (value.value,))
    if isinstance(node, ast.Assign) and isinstance(value, ast.Tuple):
        return _with_names("select_related", value.elts)
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr in METHODS:
        return _with_names(value.func.attr, value.args)
    return None


def _with_names(method: str, nodes: list[ast.expr]) -> Change | None:
    names = [one.value for one in nodes if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return Change(method, tuple(names)) if names and len(names) == len(nodes) else None
