"""What a template's node loops over: an expression of its own, or a name that Python put into its context.

Where a view or a tag has returned before its template runs the query, no frame leads back to it. But a name in a
context was put there by somebody, and the site's own source says by whom.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from django.apps import apps
from django.db.models import QuerySet

from noa_perf.optimizer.callsite import APPLICATION, CODE, PACKAGE, Node, kinds
from noa_perf.optimizer.reading import source
from noa_perf.optimizer.reading.flow import Flow, Wanted, accessors, flow_of
from noa_perf.optimizer.reading.source import Builder, Function

MAX_HANDS = 40
"""Places in the source that put a name into a context, looked at for one query."""

_LOOKED_AT = re.compile(r"^(?:for\s.*?\sin|if(?:\s+not)?|with\s+\w+=)\s*([\w.]+)(?:\|\S*)?(?:\s+reversed)?\s*$")
_WITH = r"\{%%-?\s*with\s[^%%]*?\b(?:%(name)s=(?P<one>[\w.]+)|(?P<other>[\w.]+)\s+as\s+%(name)s\b)"


def asked(node: Node | None, wanted: Wanted) -> Builder | None:
    """Return the template's own line, or the model's method, where the template itself asks an object for rows."""
    line, expression = _expression(node)
    names = expression.split(".")[1:]
    if node is None or not names:
        return None
    if not set(names) & accessors(wanted.model):
        method = _of_models(names, wanted)
        if method is not None or not hasattr(_queryset(wanted.model), names[-1]):
            return method
    return Builder(node.path or node.template, line, line, node.template, True, "template", expression)


def handed(node: Node | None, wanted: Wanted) -> Builder | None:
    """Return the expression that somebody put into the context under the name that ``node`` looks at."""
    _, name = _expression(node)
    if node is None or not name or "." in name:
        return None
    for kind in (APPLICATION, PACKAGE):  # an installed app's only where the site's own code has none
        found = _of_hands(node, _hands(name, kind, len(sys.modules)), wanted)
        if found is not None:
            return found
    return None


def _expression(node: Node | None) -> tuple[int, str]:
    """Return what ``node`` loops over or looks at, and the line that says so: a ``with`` above may have named it."""
    found = _LOOKED_AT.match(node.contents) if node is not None else None
    if node is None or found is None:
        return 0, ""
    return (_bound(node, found[1]) if "." not in found[1] else None) or (node.line, found[1])


def _bound(node: Node, name: str) -> tuple[int, str] | None:
    """Return the line and the expression of the nearest ``with`` above ``node`` that binds ``name``."""
    try:
        above = Path(node.path).read_text(encoding="utf-8").split("\n")[: node.line]
    except (OSError, ValueError):
        return None
    pattern = re.compile(_WITH % {"name": re.escape(name)})
    found = [(number, match) for number, line in enumerate(above, 1) for match in pattern.finditer(line)]
    return (found[-1][0], found[-1][1]["one"] or found[-1][1]["other"]) if found else None


def _of_models(names: list[str], wanted: Wanted) -> Builder | None:
    """Return what the one method of the site's models with one of these ``names`` builds."""
    found = set()
    for model in apps.get_models():
        for name in names:
            function = getattr(
                inspect.getattr_static(model, name, None), "fget", inspect.getattr_static(model, name, None)
            )
            code = getattr(function, "__code__", None)
            if code is not None and kinds[code.co_filename] in CODE:
                flow = flow_of(code, function.__module__, wanted)
                found.add(flow.returned().best() if flow is not None else None)
    found.discard(None)
    return found.pop() if len(found) == 1 else None


def _queryset(label: str) -> Any:
    try:
        return type(apps.get_model(label)._default_manager.all())
    except (LookupError, ValueError):
        return QuerySet


class _Hand(NamedTuple):
    """A function that puts a value under a name."""

    tree: Function
    value: ast.expr
    path: str
    module: str


def _of_hands(node: Node, hands: tuple[_Hand, ...], wanted: Wanted) -> Builder | None:
    ranked: dict[int, list[Builder]] = {}
    for hand in hands:
        near = _nearness(hand, node)
        flow = Flow(hand.tree, hand.module, hand.path, wanted)
        found = flow.origin([hand.value]).best() or (_as_it_is(flow, hand) if near else None)
        if found is not None and found not in ranked.setdefault(near, []):
            ranked[near].append(found)
    if not ranked:
        return None
    best = ranked[max(ranked)]
    return best[0] if len(best) == 1 else replace(best[0], certain=False)


def _nearness(hand: _Hand, node: Node) -> int:
    """Return 2 where a function or its class names the template, 1 where the class is called like it."""
    around = source.class_around(hand.path, hand.tree)
    for tree in (hand.tree, *([around] if around is not None else [])):
        if any(isinstance(one, ast.Constant) and one.value == node.template for one in ast.walk(tree)):
            return 2
    stem = Path(node.template).stem.replace("_", "").lower()
    return int(around is not None and around.name.lower() == stem)


def _as_it_is(flow: Flow, hand: _Hand) -> Builder | None:
    """Return a value that is not understood: whatever it calls, it is what the template gets."""
    value = flow.value_of(hand.value)
    if not isinstance(value, ast.Call):
        return None
    end = value.end_lineno or value.lineno
    return Builder(hand.path, value.lineno, end, hand.tree.name, True, "expression", ast.unparse(value))


@lru_cache(maxsize=256)
def _hands(name: str, kind: int, loaded: int) -> tuple[_Hand, ...]:
    """Return the functions of the ``loaded`` modules of this kind that put something under ``name`` into a dict."""
    word = re.compile(rf"[\"']{re.escape(name)}[\"']")
    found: list[_Hand] = []
    for module, path in _modules(kind):
        tree = source.module_of(path) if word.search(_text(path)) else None
        for function in ast.walk(tree) if tree is not None else ():
            if isinstance(function, Function):
                found += [_Hand(function, value, path, module) for value in _put(function, name)]
    return tuple(found[:MAX_HANDS])


def _modules(kind: int) -> list[tuple[str, str]]:
    found = ((name, getattr(module, "__file__", None) or "") for name, module in list(sys.modules.items()))
    return sorted((name, path) for name, path in found if path.endswith(".py") and kinds[path] == kind)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _put(function: Function, name: str) -> Iterator[ast.expr]:
    for node in source.own_nodes(function):
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            yield from (value for key, value in pairs if isinstance(key, ast.Constant) and key.value == name)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            key = node.targets[0].slice
            if isinstance(key, ast.Constant) and key.value == name:
                yield node.value
