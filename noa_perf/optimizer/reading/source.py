"""Reads the site's own source: files parsed once, functions and statements by line, the class behind a view."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import Any

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Builder:
    """Where a queryset is built."""

    file: str
    line: int
    end: int
    name: str
    """Function, or ``Class.attribute``."""
    certain: bool
    form: str = "expression"
    """``expression``, or what stands for one: the class attributes ``queryset``, ``model``, ``list_select_related``,
    what a method ``returned``, a method that an admin has not yet (``get_queryset``) or has
    (``get_list_select_related``), a ``template`` that asks for it."""
    text: str = ""
    """The source of the expression."""
    present: tuple[str, ...] = ()
    """What ``list_select_related`` names already."""


@lru_cache(maxsize=256)
def _parsed(path: str, modified: float) -> ast.Module | None:
    try:
        return ast.parse(Path(path).read_bytes(), path)
    except (OSError, SyntaxError, ValueError):
        return None


def module_of(path: str) -> ast.Module | None:
    """Return the syntax tree of the file at ``path``, or None where it cannot be read."""
    try:
        return _parsed(path, Path(path).stat().st_mtime)
    except OSError:
        return None


def function_of(code: CodeType) -> ast.AST | None:
    """Return the syntax tree of the function (or module) that ``code`` was compiled from."""
    tree = module_of(code.co_filename)
    if tree is None or code.co_name == "<module>":
        return tree
    # A comprehension or lambda has a code object of its own; its names live in the function around it.
    return enclosing(tree, code.co_firstlineno) or tree


def enclosing(tree: ast.AST, line: int) -> Function | None:
    """Return the innermost function of ``tree`` whose lines, decorators included, hold ``line``."""
    best: Function | None = None
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            if first <= line <= (node.end_lineno or first) and (best is None or first >= best.lineno):
                best = node
    return best


def statement_at(tree: ast.AST, line: int) -> ast.stmt | None:
    """Return the innermost statement of ``tree`` that holds ``line``."""
    best: ast.stmt | None = None
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno):
            best = node
    return best


def head(statement: ast.stmt) -> list[ast.AST]:
    """Return the parts of ``statement`` that run at its own line, without the bodies below it."""
    if isinstance(statement, (ast.For, ast.AsyncFor)):
        return [statement.iter]
    if isinstance(statement, (ast.If, ast.While)):
        return [statement.test]
    if isinstance(statement, (ast.With, ast.AsyncWith)):
        return [item.context_expr for item in statement.items]
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Try)):
        return []
    return [statement]


def own_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of ``tree`` that run in its own scope: not those of functions and classes inside it."""
    pending = list(ast.iter_child_nodes(tree))
    while pending:
        node = pending.pop(0)
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            pending += ast.iter_child_nodes(node)


def around(path: str, tree: ast.AST) -> list[ast.AST]:
    """Return the functions around ``tree``, innermost first, and the module at last."""
    module = module_of(path)
    if module is None or module is tree:
        return []
    inside = [node for node in ast.walk(module) if isinstance(node, Function) and _within(tree, node)]
    return [*sorted(inside, key=lambda node: -node.lineno), module]


def class_around(path: str, tree: ast.AST) -> ast.ClassDef | None:
    """Return the innermost class around ``tree``."""
    module = module_of(path)
    found = (
        [node for node in ast.walk(module) if isinstance(node, ast.ClassDef) and _within(tree, node)] if module else []
    )
    return max(found, key=lambda node: node.lineno, default=None)


def _within(inner: ast.AST, outer: Function | ast.ClassDef) -> bool:
    first, last = getattr(inner, "lineno", 0), getattr(inner, "end_lineno", 0) or 0
    return inner is not outer and outer.lineno <= first and last <= (outer.end_lineno or outer.lineno)


def loops_at(tree: ast.AST, line: int) -> list[ast.expr]:
    """Return what the loops of ``tree`` around ``line`` run over, the innermost first."""
    found: list[tuple[int, int, ast.expr]] = []
    for node in ast.walk(tree):
        over = [node.iter] if isinstance(node, (ast.For, ast.AsyncFor)) else []
        over += [one.iter for one in getattr(node, "generators", ())]
        first, last = getattr(node, "lineno", 0), getattr(node, "end_lineno", 0) or 0
        found += [(last - first, first, one) for one in over if first <= line <= last]
    return [one for _, _, one in sorted(found, key=lambda each: (each[0], -each[1]))]


def view_class(view: Any) -> tuple[type | None, bool]:
    """Return the class behind a URL's callback (a class-based view, viewset or ModelAdmin), and if it is an admin."""
    admin = getattr(view, "model_admin", None)
    if admin is not None:
        return type(admin), True
    cls = getattr(view, "view_class", None) or getattr(view, "cls", None)
    if cls is not None and cls.__name__ == "WrappedAPIView":
        cls = None
    return cls, False


def path_of(cls: type) -> str:
    """Return the file that ``cls`` was written in."""
    return getattr(sys.modules.get(cls.__module__), "__file__", "") or ""


def class_node(path: str, cls: type) -> ast.ClassDef | None:
    """Return the syntax tree of ``cls`` in the file ``path``."""
    tree = module_of(path) if path else None
    found = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == cls.__name__] if tree else []
    return found[-1] if found else None
