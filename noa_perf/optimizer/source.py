"""Finds, in the site's own source, the line that builds a queryset; certain where only one line can, else a guess."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import Any

from django.apps import apps
from django.db.models import Manager, Model, QuerySet
from django.db.models.manager import BaseManager

from noa_perf.optimizer.callsite import APPLICATION, Frame, kinds

Function = ast.FunctionDef | ast.AsyncFunctionDef
MAX_HOPS = 3


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
    """``expression``, or the class attribute that stands for one: ``queryset``, ``model``, ``list_select_related``."""
    text: str = ""
    """The source of the expression."""


@lru_cache(maxsize=256)
def _parsed(path: str, modified: float) -> ast.Module | None:
    try:
        return ast.parse(Path(path).read_text(encoding="utf-8"), path)
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


def builder_in_frames(frames: tuple[Frame, ...], model: str, hint: str = "") -> Builder | None:
    """Return where the queryset of ``model`` that was evaluated in ``frames`` is built, nearest frame first.

    ``hint`` is the text of the template node that evaluated it, which names the variable.
    """
    for frame in frames:
        tree = function_of(frame.code)
        if tree is None:
            continue
        found = _builder_near(tree, frame.line, frame.module, frame.code.co_filename, model, hint=hint)
        if found is not None:
            return found
    return None


def builder_in_view(view: Any, model: str, kind: str, hint: str = "") -> Builder | None:
    """Return the class attribute, method or line of ``view`` that builds the queryset of ``model``."""
    cls, admin = view_class(view)
    if cls is None:
        return _builder_in_function(inspect.unwrap(view), model, hint) if callable(view) else None
    if admin and kind == "select_related":
        return _attribute(cls, "list_select_related") or _class_line(cls, "list_select_related")
    own = _own_method(cls, "get_queryset")
    methods = [method for method in (own, _own_method(cls, "get_context_data")) if method is not None]
    built = (_builder_in_function(method, model, hint) for method in methods)
    found = next((one for one in built if one is not None), None)
    if found is not None:
        return found
    if admin:
        return _class_line(cls, "get_queryset")
    # Its own method that asks no parent for the queryset builds it, in a way not understood here.
    return _model_attribute(cls, model) if own is None or _asks_parent(own) else _whole(own)


def _asks_parent(method: Any) -> bool:
    return bool({"get_queryset", "queryset"} & set(method.__code__.co_names))


def _whole(method: Any) -> Builder:
    code = method.__code__
    return Builder(code.co_filename, code.co_firstlineno, code.co_firstlineno, code.co_qualname, certain=False)


def _model_attribute(cls: type, model: str) -> Builder | None:
    """Return ``queryset`` or ``model`` of a generic view if it is about ``model``."""
    about = getattr(getattr(cls, "queryset", None), "model", None) or getattr(cls, "model", None)
    label = getattr(getattr(about, "_meta", None), "label", "")
    return (_attribute(cls, "queryset") or _attribute(cls, "model")) if label == model else None


def view_class(view: Any) -> tuple[type | None, bool]:
    """Return the class behind a URL's callback (a class-based view, viewset or ModelAdmin), and if it is an admin."""
    admin = getattr(view, "model_admin", None)
    if admin is not None:
        return type(admin), True
    cls = getattr(view, "view_class", None) or getattr(view, "cls", None)
    if cls is not None and cls.__name__ == "WrappedAPIView":
        cls = None
    return cls, False


def _own_method(cls: type, name: str) -> Any:
    for owner in cls.__mro__:
        if name in vars(owner):
            method = vars(owner)[name]
            code = getattr(method, "__code__", None)
            return method if code is not None and kinds[code.co_filename] == APPLICATION else None
    return None


def _attribute(cls: type, name: str) -> Builder | None:
    for owner in cls.__mro__:
        if name not in vars(owner):
            continue
        path = getattr(sys.modules.get(owner.__module__), "__file__", "") or ""
        node = _class_node(path, owner)
        for statement in node.body if node is not None and kinds[path] == APPLICATION else ():
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                text = ast.unparse(statement)
                end = statement.end_lineno or statement.lineno
                return Builder(path, statement.lineno, end, f"{owner.__name__}.{name}", True, name, text)
        return None
    return None


def _class_line(cls: type, form: str) -> Builder | None:
    path = getattr(sys.modules.get(cls.__module__), "__file__", "") or ""
    node = _class_node(path, cls)
    if node is None or kinds[path] != APPLICATION:
        return None
    return Builder(path, node.lineno, node.end_lineno or node.lineno, cls.__name__, True, form, "")


def _class_node(path: str, cls: type) -> ast.ClassDef | None:
    tree = module_of(path) if path else None
    found = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == cls.__name__] if tree else []
    return found[-1] if found else None


def _builder_in_function(function: Any, model: str, hint: str = "") -> Builder | None:
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    if code is None or kinds[code.co_filename] != APPLICATION:
        return None
    tree = function_of(code)
    return None if tree is None else _builder_near(tree, 0, function.__module__, code.co_filename, model, hint=hint)


def _builder_near(
    tree: ast.AST, line: int, module: str, path: str, model: str, *, hint: str = "", hops: int = 0
) -> Builder | None:
    """Return the expression in ``tree`` whose rows were fetched at ``line``; all of ``tree`` is searched for line 0."""
    finder = _Finder(module, path, model, hops)
    name = getattr(tree, "name", "<module>")
    statement = statement_at(tree, line) if line else None
    near: list[Builder] = []
    parts = _hinted(tree, hint) or (head(statement) if statement is not None else [])
    if parts:
        near = _lists([one for part in parts for one in finder.builders(part, name)])
        near = near or _lists(_by_name(tree, parts, finder, name))
    every = near or _lists(list(finder.builders(tree, name)))
    if len(every) == 1:
        return every[0]
    before = [one for one in every if not line or one.line <= line] or every
    return replace(max(before, key=lambda one: one.line), certain=False) if before else None


def _hinted(tree: ast.AST, hint: str) -> list[ast.AST]:
    """Return what ``tree`` puts into a dict (a template's context) under a name that a template's node mentions."""
    words = set(re.findall(r"\w+", hint.rpartition(" in ")[2]))  # of "for product in related": related
    found: list[ast.AST] = []
    for node in ast.walk(tree) if words else ():
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            found += [value for key, value in pairs if isinstance(key, ast.Constant) and key.value in words]
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            key = node.targets[0].slice
            found += [node.value] if isinstance(key, ast.Constant) and key.value in words else []
        elif isinstance(node, ast.Call):
            found += [keyword.value for keyword in node.keywords if keyword.arg in words]
    return found


def _lists(found: list[Builder]) -> list[Builder]:
    """Leave out what returns one object, where something else is left."""
    several = [one for one in found if not _SINGLE.search(one.text)]
    return several or found


_SINGLE = re.compile(
    r"^get_object_or_404\(|\.(?:get|first|last|earliest|latest|create|get_or_create|update_or_create|count|exists"
    r"|aggregate|update|delete)\([^()]*(?:\([^()]*\)[^()]*)*\)$"
)


def _by_name(tree: ast.AST, parts: list[ast.AST], finder: _Finder, name: str) -> list[Builder]:
    """Return the builders from which the names in ``parts`` were made, through other names if need be."""
    pending = [n.id for part in parts for n in ast.walk(part) if isinstance(n, ast.Name)]
    followed: set[str] = set()
    found: list[Builder] = []
    while pending:
        wanted = pending.pop()
        if wanted in followed:
            continue
        followed.add(wanted)
        for node in ast.walk(tree):
            if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None or wanted not in _targets(node):
                continue
            built = list(finder.builders(node.value, name))
            found.extend(one for one in built if one not in found)
            if not built:
                pending.extend(n.id for n in ast.walk(node.value) if isinstance(n, ast.Name))
    return found


def _targets(node: ast.Assign | ast.AnnAssign) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}


class _Finder:
    """Recognises the expressions of one module that build a queryset of one model."""

    def __init__(self, module: str, path: str, model: str, hops: int) -> None:
        self.globals = vars(sys.modules[module]) if module in sys.modules else {}
        self.path = path
        self.hops = hops
        self.model: Any = None
        self.accessors: frozenset[str] = frozenset()
        try:
            self.model = apps.get_model(model)
        except (LookupError, ValueError):
            return
        self.accessors = _accessors(self.model)

    def builders(self, tree: ast.AST, name: str) -> Iterator[Builder]:
        """Yield the outermost building expressions below ``tree``."""
        pending: list[ast.AST] = [tree]
        while pending:
            node = pending.pop(0)
            if isinstance(node, (ast.Call, ast.Attribute)):
                found = self._expression(node, name)
                if found is not None:
                    yield found
                    continue
            pending.extend(ast.iter_child_nodes(node))

    def _expression(self, node: ast.expr, name: str) -> Builder | None:
        chain, root = _chain(node)
        if self._roots_in_model(root, chain) or (
            chain and chain[0] in self.accessors and not isinstance(root, ast.Call)
        ):
            return self._made(node, name)
        if len(chain) > 1 and any(one in self.accessors for one in chain[:-1]):
            return self._made(node, name)
        if isinstance(node, ast.Call):
            return self._called(node, name)
        return None

    def _made(self, node: ast.expr, name: str) -> Builder:
        text = ast.unparse(node)
        return Builder(self.path, node.lineno, node.end_lineno or node.lineno, name, True, "expression", text)

    def _roots_in_model(self, root: ast.expr, chain: list[str]) -> bool:
        if not isinstance(root, ast.Name) or not chain or self.model is None:
            return False
        if root.id == "self" and len(chain) > 1 and chain[0] == "model":
            return isinstance(getattr(self.model, chain[1], None), Manager | BaseManager)
        value = self.globals.get(root.id)
        if value is None:
            return root.id == self.model.__name__ and (chain[0] == "objects" or chain[0].endswith("manager"))
        if isinstance(value, (QuerySet, BaseManager)):
            return issubclass(self.model, value.model) or issubclass(value.model, self.model)
        if not (isinstance(value, type) and issubclass(value, Model)):
            return False
        same = issubclass(self.model, value) or issubclass(value, self.model)
        return same and isinstance(getattr(value, chain[0], None), Manager | BaseManager)

    def _called(self, node: ast.Call, name: str) -> Builder | None:
        target = _resolve(node.func, self.globals)
        if target in _SHORTCUTS and node.args:
            about = node.args[0]
            meant = _resolve(about, self.globals) is self.model is not None or any(self.builders(about, name))
            return self._made(node, name) if meant else None
        code = getattr(inspect.unwrap(target) if callable(target) else None, "__code__", None)
        if self.hops >= MAX_HOPS or code is None or kinds[code.co_filename] != APPLICATION:
            return None
        tree = function_of(code)
        if tree is None or self.model is None:
            return None
        module = getattr(inspect.unwrap(target), "__module__", "")
        return _builder_near(tree, 0, module, code.co_filename, self.model._meta.label, hops=self.hops + 1)


_SHORTCUTS = ("get_object_or_404", "get_list_or_404")


def _resolve(node: ast.expr, names: dict[str, Any]) -> Any:
    if isinstance(node, ast.Name):
        if node.id in _SHORTCUTS:
            return node.id
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        # Only modules and classes are looked into: reading an instance's attribute could run anything.
        owner = _resolve(node.value, names)
        return (
            inspect.getattr_static(owner, node.attr, None)
            if inspect.ismodule(owner) or inspect.isclass(owner)
            else None
        )
    return None


def _chain(node: ast.expr) -> tuple[list[str], ast.expr]:
    names: list[str] = []
    while True:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            node = node.func
        elif isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        elif isinstance(node, ast.Subscript):
            node = node.value
        else:
            return names[::-1], node


@lru_cache(maxsize=512)
def _accessors(model: Any) -> frozenset[str]:
    names: set[str] = set()
    for field in model._meta.get_fields(include_hidden=False):
        if getattr(field, "related_model", None) is None or not field.is_relation or field.auto_created:
            continue
        accessor = getattr(field.remote_field, "get_accessor_name", lambda: None)()
        if accessor and (field.many_to_one or field.many_to_many):
            names.add(accessor)
    for other in apps.get_models():
        names.update(f.name for f in other._meta.many_to_many if f.related_model is model)
    return frozenset(names)
