"""Follows an evaluated name back, through other names and helpers, to the expressions that build its queryset."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import Any, NamedTuple

from django.apps import apps
from django.db.models import Manager, Model, QuerySet
from django.db.models.manager import BaseManager
from django.utils.functional import cached_property

from noa_perf.optimizer.callsite import CODE, kinds
from noa_perf.optimizer.reading import source
from noa_perf.optimizer.reading.source import Builder, Function

MAX_HOPS = 3
LOOPS = (ast.For, ast.AsyncFor, ast.comprehension)

SHORTCUTS = ("get_object_or_404", "get_list_or_404", "aget_object_or_404", "aget_list_or_404")
_FILLING = frozenset({"append", "extend", "add", "update", "insert", "setdefault"})
_SINGLE = re.compile(
    r"^a?get_object_or_404\(|\.(?:get|first|last|earliest|latest|create|get_or_create|update_or_create|count|exists"
    r"|aggregate|update|delete)\([^()]*(?:\([^()]*\)[^()]*)*\)$"
)


class Wanted(NamedTuple):
    """The rows whose queryset is looked for."""

    model: str
    """Label of their model."""
    several: bool
    """Whether several came at once, so that what returns one object cannot have fetched them."""


@dataclass(slots=True)
class Origin:
    """What an expression's rows were made from."""

    several: bool
    found: list[Builder] = field(default_factory=list)
    outside: bool = False
    """Whether the way back ends at a parameter: the caller built them."""
    either: bool = False
    """Whether the caller may have built them as well: a parameter that is given another value here."""

    def best(self, line: int = 0) -> Builder | None:
        """Return the builder; a guess where several could be meant, then the last one before ``line``."""
        lists = [one for one in self.found if not _SINGLE.search(one.text)]
        lists = lists if lists or self.several else self.found
        if len(lists) == 1:
            return replace(lists[0], certain=lists[0].certain and not self.either)
        before = [one for one in lists if not line or one.line <= line] or lists
        return replace(max(before, key=lambda one: one.line), certain=False) if before else None


class Flow:
    """One function (or module) of the site, as the place where querysets of one model are built and handed on."""

    def __init__(
        self, tree: ast.AST, module: str, path: str, wanted: Wanted, owner: type | None = None, hops: int = 0
    ) -> None:
        """Read ``tree``, a part of the file ``path`` of ``module``; ``owner`` is the class it is a method of."""
        self.tree = tree
        self.wanted = wanted
        self.path = path
        self.owner = owner
        self.hops = hops
        self.globals = vars(sys.modules[module]) if module in sys.modules else {}
        self.name = getattr(tree, "name", "<module>")
        self.parameters = _parameters(tree)
        self.model = _model(wanted.model)
        self.accessors = _accessors(self.model) if self.model is not None else frozenset()

    def origin(self, parts: Iterable[ast.AST]) -> Origin:
        """Return what the rows of ``parts`` were made from, followed through as many names as need be."""
        origin, pending, followed = Origin(self.wanted.several), list(parts), set[str]()
        while pending:
            built, names = self._scan(pending.pop(0))
            origin.found += [one for one in built if one not in origin.found]
            for name in names:
                if name not in followed and not (built and not _only_single(built)):
                    followed.add(name)
                    pending += self._bindings(name, origin)
        return origin

    def everything(self) -> Origin:
        """Return all that is built here, whatever for."""
        origin, pending = Origin(self.wanted.several), [self.tree]
        while pending:
            node = pending.pop(0)
            found = self._expression(node)
            origin.found += [found] if found is not None else []
            pending += ast.iter_child_nodes(node) if found is None else []
        return origin

    def returned(self) -> Origin:
        """Return what the rows that this function returns or yields were made from."""
        return self.origin(
            node.value
            for node in source.own_nodes(self.tree)
            if isinstance(node, (ast.Return, ast.Yield, ast.YieldFrom)) and node.value is not None
        )

    def hinted(self, hint: str) -> list[ast.AST]:
        """Return what is put into a dict (a template's context) under the name that a template's node loops over."""
        words = set(re.findall(r"\w+", hint.rpartition(" in ")[2])[: 1 if " in " in hint else None])
        found: list[ast.AST] = []
        for node in ast.walk(self.tree) if words else ():
            if isinstance(node, ast.Dict):
                pairs = zip(node.keys, node.values, strict=True)
                found += [value for key, value in pairs if isinstance(key, ast.Constant) and key.value in words]
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
                key = node.targets[0].slice
                found += [node.value] if isinstance(key, ast.Constant) and key.value in words else []
            elif isinstance(node, ast.Call):
                found += [keyword.value for keyword in node.keywords if keyword.arg in words]
        return found

    def value_of(self, node: ast.expr) -> ast.AST:
        """Return ``node`` or, where it is a name, the one value that the name is given here."""
        values = list(_values(source.own_nodes(self.tree), node.id)) if isinstance(node, ast.Name) else []
        return values[0] if len(values) == 1 else node

    def builds(self, node: ast.expr) -> bool:
        """Tell whether ``node`` itself is a chain from a model or manager, and no call that hides one."""
        names, root = chain(node)
        return self._from_model(root, names) or self._from_instance(root, names)

    def builds_name(self, name: str, known: frozenset[str] = frozenset()) -> bool:
        """Tell whether all that ``name`` is given here are such chains, or go on from names that are."""
        values = list(_values(source.own_nodes(self.tree), name))
        return bool(values) and all(self._goes_on(value, known | {name}) for value in values)

    def _goes_on(self, value: ast.AST, known: frozenset[str]) -> bool:
        if not isinstance(value, ast.expr) or self.builds(value):
            return isinstance(value, ast.expr)
        root = chain(value)[1]
        return isinstance(root, ast.Name) and (root.id in known or self.builds_name(root.id, known))

    def _scan(self, node: ast.AST) -> tuple[list[Builder], list[str]]:
        """Return the builders in an expression or statement, and the names beside them that its rows may come from."""
        built: list[Builder] = []
        names: list[str] = []
        pending = [node]
        while pending:
            part = pending.pop(0)
            found = self._expression(part)
            called = self._called(part) if found is None else []
            if found is not None or called:
                built += [found] if found is not None else called
            elif isinstance(part, ast.Name):
                names.append(part.id)
            elif isinstance(part, ast.Attribute) and _dotted(part):
                names.append(ast.unparse(part))
            else:
                pending += _sources(part)
        return built, names

    def _bindings(self, name: str, origin: Origin) -> list[ast.AST]:
        """Return the values that ``name`` was given here, in its class, or around here."""
        root = name.partition(".")[0]
        for key in _prefixes(name):
            if found := list(_values(source.own_nodes(self.tree), key)):
                origin.either = origin.either or key in self.parameters
                return found
        if root in ("self", "cls") and root != name:
            return list(self._attributes(name))
        if root in self.parameters:
            origin.outside = True
            return []
        around = source.around(self.path, self.tree)
        return next((found for tree in around if (found := list(_values(source.own_nodes(tree), root)))), [])

    def _attributes(self, name: str) -> Iterator[ast.AST]:
        """Yield what the methods and the body of the class around here give to ``self.<name>``."""
        body = source.class_around(self.path, self.tree)
        for node in ast.walk(body) if body is not None else ():
            yield from _values([node], name)
        for statement in body.body if body is not None else ():
            yield from _values([statement], name.partition(".")[2])

    def _expression(self, node: ast.AST) -> Builder | None:
        if not isinstance(node, (ast.Call, ast.Attribute)):
            return None
        if self.builds(node):
            return self._made(node)
        if isinstance(node, ast.Call) and resolve(node.func, self.globals) in SHORTCUTS and node.args:
            about = node.args[0]
            meant = resolve(about, self.globals) is self.model is not None or self._expression(about) is not None
            return self._made(node) if meant else None
        return None

    def _made(self, node: ast.expr) -> Builder:
        end = node.end_lineno or node.lineno
        return Builder(self.path, node.lineno, end, self.name, True, "expression", ast.unparse(node))

    def _from_model(self, root: ast.expr, names: list[str]) -> bool:
        if not isinstance(root, ast.Name) or not names or self.model is None:
            return False
        if root.id in ("self", "cls") and root.id in self.parameters:
            manager = names[1:2] if names[0] == "model" else names[:1] if root.id == "cls" else []
            return any(isinstance(getattr(self.model, one, None), Manager | BaseManager) for one in manager)
        value = self.globals.get(root.id)
        if value is None:
            return root.id == self.model.__name__ and (names[0] == "objects" or names[0].endswith("manager"))
        if isinstance(value, (QuerySet, BaseManager)):
            return issubclass(self.model, value.model) or issubclass(value.model, self.model)
        if not (isinstance(value, type) and issubclass(value, Model)):
            return False
        same = issubclass(self.model, value) or issubclass(value, self.model)
        return same and isinstance(getattr(value, names[0], None), Manager | BaseManager)

    def _from_instance(self, root: ast.expr, names: list[str]) -> bool:
        if names and names[0] in self.accessors and not isinstance(root, ast.Call):
            return True
        return any(one in self.accessors for one in names[:-1])

    def _called(self, node: ast.AST) -> list[Builder]:
        """Return what the site's own function that ``node`` calls, or the property that it reads, builds."""
        code, module = _code(self._target(node))
        if self.hops >= MAX_HOPS or code is None or self.model is None or kinds[code.co_filename] not in CODE:
            return []
        flow = flow_of(code, module, self.wanted, self.hops + 1)
        found = flow.returned().best() if flow is not None else None
        if found is None:
            return []
        overridden = _overridden(self.owner, code.co_name)
        return [replace(found, certain=found.certain and not overridden)]

    def _target(self, node: ast.AST) -> Any:
        called = node.func if isinstance(node, ast.Call) else node
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id == "self":
            target = inspect.getattr_static(self.owner, called.attr, None) if self.owner else None
        elif isinstance(called, (ast.Name, ast.Attribute)):
            target = resolve(called, self.globals)
        else:
            return None
        read = getattr(target, "fget", None) or getattr(target, "func", None) if _is_property(target) else None
        return read if isinstance(node, ast.Attribute) else target if isinstance(node, ast.Call) else None


def flow_of(code: CodeType, module: str, wanted: Wanted, hops: int = 0) -> Flow | None:
    """Return the :class:`Flow` of the function that ``code`` was compiled from, or None where it cannot be read."""
    tree = source.function_of(code)
    return Flow(tree, module, code.co_filename, wanted, _owner(code, module), hops) if tree is not None else None


def chain(node: ast.expr) -> tuple[list[str], ast.expr]:
    """Return the attributes and methods of ``Book.objects.filter(…)[:5]``, in order, and what they start from."""
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


def _is_property(target: Any) -> bool:
    return isinstance(target, (property, functools.cached_property, cached_property))


def _code(target: Any) -> tuple[CodeType | None, str]:
    """Return the code of a function, whatever wraps it, and the module that it was written in."""
    if not callable(target) and not isinstance(target, (classmethod, staticmethod)):
        return None, ""
    function = inspect.unwrap(getattr(target, "__func__", target))
    code = getattr(function, "__code__", None)
    return (code, function.__module__) if isinstance(code, CodeType) else (None, "")


def _owner(code: CodeType, module: str) -> type | None:
    found: Any = sys.modules.get(module)
    for name in code.co_qualname.split(".")[:-1]:
        found = inspect.getattr_static(found, name, None) if found is not None else None
    return found if inspect.isclass(found) else None


def _overridden(cls: type | None, name: str) -> bool:
    below: list[type] = cls.__subclasses__() if cls is not None else []
    return any(name in vars(one) or _overridden(one, name) for one in below)


def _only_single(built: list[Builder]) -> bool:
    return all(_SINGLE.search(one.text) for one in built)


def _sources(node: ast.AST) -> list[ast.AST]:
    """Return the parts of ``node`` that its rows can come from: of a filter the queryset, not what it compares with."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and hasattr(QuerySet, node.func.attr):
        return [node.func.value]
    if isinstance(node, ast.Call):
        function = [node.func.value] if isinstance(node.func, ast.Attribute) else []
        return [*function, *node.args, *(keyword.value for keyword in node.keywords)]
    if isinstance(node, ast.IfExp):
        return [node.body, node.orelse]
    if isinstance(node, ast.Subscript):
        return [node.value]
    if isinstance(node, ast.Lambda):
        return []
    return [one for one in ast.iter_child_nodes(node) if not isinstance(getattr(one, "ctx", None), ast.Store)]


def _dotted(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    least = 2 if parts[0] in ("self", "cls") and len(parts) > 1 else 1
    return [".".join(parts[:length]) for length in range(len(parts), least - 1, -1)]


def _values(nodes: Iterable[ast.AST], name: str) -> Iterator[ast.AST]:
    """Yield what ``nodes`` put into the variable or attribute ``name``."""
    for node in nodes:
        if isinstance(node, ast.Assign) and any(_holds(target, name) for target in node.targets):
            yield node.value
        elif isinstance(node, (ast.AnnAssign, ast.AugAssign, ast.NamedExpr)) and _holds(node.target, name):
            yield from [node.value] if node.value is not None else []
        elif isinstance(node, LOOPS) and _holds(node.target, name):
            yield node.iter
        elif isinstance(node, ast.withitem) and node.optional_vars is not None and _holds(node.optional_vars, name):
            yield node.context_expr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _FILLING:
            yield from node.args if ast.unparse(node.func.value) == name else []


def _holds(target: ast.expr, name: str) -> bool:
    if isinstance(target, (ast.Tuple, ast.List)):
        return any(_holds(one, name) for one in target.elts)
    if isinstance(target, (ast.Subscript, ast.Starred)):
        return _holds(target.value, name)
    return isinstance(target, (ast.Name, ast.Attribute)) and ast.unparse(target) == name


def _parameters(tree: ast.AST) -> frozenset[str]:
    if not isinstance(tree, Function):
        return frozenset()
    given = tree.args
    rest = [one for one in (given.vararg, given.kwarg) if one is not None]
    return frozenset(one.arg for one in [*given.posonlyargs, *given.args, *given.kwonlyargs, *rest])


def resolve(node: ast.expr, names: dict[str, Any]) -> Any:
    """Return what a name, or an attribute of a module or class, stands for among ``names``."""
    if isinstance(node, ast.Name):
        return node.id if node.id in SHORTCUTS else names.get(node.id)
    if isinstance(node, ast.Attribute):
        # Only modules and classes are looked into: reading an instance's attribute could run anything.
        owner = resolve(node.value, names)
        looked_into = inspect.ismodule(owner) or inspect.isclass(owner)
        return inspect.getattr_static(owner, node.attr, None) if looked_into else None
    return None


def _model(label: str) -> Any:
    try:
        return apps.get_model(label)
    except (LookupError, ValueError):
        return None


@functools.lru_cache(maxsize=512)
def _accessors(model: Any) -> frozenset[str]:
    names: set[str] = set()
    for one in model._meta.get_fields(include_hidden=False):
        if getattr(one, "related_model", None) is None or not one.is_relation or one.auto_created:
            continue
        accessor = getattr(one.remote_field, "get_accessor_name", lambda: None)()
        if accessor and (one.many_to_one or one.many_to_many):
            names.add(accessor)
    for other in apps.get_models():
        names.update(one.name for one in other._meta.many_to_many if one.related_model is model)
        names.update(one.name for one in other._meta.private_fields if getattr(one, "related_model", None) is model)
    return frozenset(names)


def accessors(label: str) -> frozenset[str]:
    """Return the attributes of other models' instances that lead to many rows of the model ``label``."""
    model = _model(label)
    return _accessors(model) if model is not None else frozenset()


@functools.lru_cache(maxsize=1)
def managers() -> frozenset[str]:
    """Return the names of all managers, related ones too, of the site's models."""
    names = {one.name for model in apps.get_models() for one in model._meta.managers}
    return frozenset(names).union(*(_accessors(model) for model in apps.get_models(include_auto_created=True)))
