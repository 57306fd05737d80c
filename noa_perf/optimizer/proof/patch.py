"""A cure as a unified diff of the file where its queryset is built; nothing is written."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from django.db.models import Model, QuerySet
from django.db.models.manager import BaseManager

from noa_perf.optimizer.callsite import relative
from noa_perf.optimizer.cures import placing
from noa_perf.optimizer.proof.change import Change, change_of
from noa_perf.optimizer.proof.document import Document, Edit
from noa_perf.optimizer.reading.flow import SHORTCUTS, chain, managers, resolve
from noa_perf.optimizer.reading.source import Builder, Function, own_nodes
from noa_perf.optimizer.report import Advice

_READS = "get first last earliest latest in_bulk iterator count exists contains aggregate explain".split()
_WRITES = "create get_or_create update_or_create bulk_create bulk_update update delete".split()
WRITES = frozenset([*_WRITES, *(f"a{name}" for name in _WRITES)])
"""Methods that a related manager has of its own, and its querysets have otherwise."""
ENDS = frozenset([*_READS, *(f"a{name}" for name in _READS), *WRITES])
"""Methods that end a queryset: what is added to it goes before them."""
NO_OBJECTS = frozenset({"values", "values_list", "dates", "datetimes"})
UNIONS = frozenset({"union", "intersection", "difference"})


@dataclass(frozen=True, slots=True)
class Patch:
    """A diff, or why there is none."""

    diff: str = ""
    certain: bool = True
    """Whether the place is certain; a guess is to be read with care."""
    reason: str = ""


class _NoDiff(Exception):
    """Why there is none, as its one argument."""


@dataclass(frozen=True, slots=True)
class _Made:
    """An edit, and whether it is certain to be right where the place is."""

    edit: Edit
    certain: bool = True


@dataclass(frozen=True, slots=True)
class _Task:
    """A change, and the place where it is to be made."""

    document: Document
    builder: Builder
    change: Change
    code: str
    """The cure's own words, for what is written anew."""

    @property
    def place(self) -> str:
        """Return the place, as a person reads it."""
        return f"{relative(self.builder.file)}:{self.builder.line}"

    @property
    def addition(self) -> str:
        """Return the change as a method call."""
        return f".{self.change.method}({', '.join(_quoted(name) for name in self.change.names)})"

    def meant(self, node: ast.expr) -> Any:
        """Return what a name in the file stands for, if it is one of the module's own."""
        path = self.builder.file
        module = next((one for one in list(sys.modules.values()) if getattr(one, "__file__", None) == path), None)
        return resolve(node, vars(module)) if module is not None else None


def patch_for(advice: Advice) -> Patch:
    """Return the diff that makes the cure of ``advice``."""
    builder, code = advice.builder, advice.finding.code
    change = change_of(code)
    if builder is None:
        return Patch(reason="The line that builds the queryset was not found.")
    if change is None:
        return Patch(reason="The loop has to change as well, or what is around it: that takes a person.")
    try:
        made, diff = _made(builder, change, code)
    except _NoDiff as why:
        return Patch(reason=str(why))
    return Patch(diff, builder.certain and advice.finding.certain and made.certain)


def _made(builder: Builder, change: Change, code: str) -> tuple[_Made, str]:
    write = _WRITERS.get(builder.form)
    if write is None:
        raise _NoDiff(_REASONS.get(builder.form, "That takes a person."))
    name = relative(builder.file)
    try:
        document = Document(builder.file)
    except (OSError, SyntaxError, ValueError) as error:
        raise _NoDiff(f"{name} could not be read ({type(error).__name__}).") from error
    task = _Task(document, builder, change, code)
    made = write(task)
    changed = document.edited(made.edit)
    try:
        ast.parse(changed)
    except SyntaxError:
        raise _NoDiff(f"At {task.place} the cure does not fit as it stands.") from None
    return made, document.diff(changed, name)


def _in_expression(task: _Task) -> _Made:
    """Change the expression that the builder names."""
    wanted = _dumped(task.builder.text)
    found = [
        node
        for node in ast.walk(task.document.tree)
        if isinstance(node, ast.expr) and _inside(task, node) and ast.dump(node) == wanted
    ]
    if not found or not _is_there(task.document, found[0]):
        raise _NoDiff(f"The expression at {task.place} could not be located.")
    made = _grown(task, found[0])
    return _Made(made.edit, made.certain and len(found) == 1)


def _is_there(document: Document, node: ast.expr) -> bool:
    """Tell whether the file has ``node`` where its tree says; of what stands in an f-string Python 3.11 knows not."""
    return _dumped(f"({document.text(node)})") == ast.dump(node)


def _dumped(text: str) -> str:
    try:
        return ast.dump(ast.parse(text, mode="eval").body)
    except SyntaxError:
        return ""


def _in_attribute(task: _Task) -> _Made:
    """Change the value of a class attribute."""
    value = _statement(task).value
    if value is None:
        raise _NoDiff(f"The attribute at {task.place} has no value.")
    return _grown(task, value)


def _beside_model(task: _Task) -> _Made:
    """Write a queryset below the attribute ``model``, which stays: other methods of the view may read it."""
    statement = _statement(task)
    return _Made(task.document.line_after(statement, task.document.indent(statement) + task.code))


def _as_attribute(task: _Task) -> _Made:
    """Write the class attribute ``list_select_related``, or what is to stand in its place."""
    if task.builder.text:
        statement = _statement(task)
        return _Made(Edit(task.document.begin(statement), task.document.end(statement), task.code))
    body = _body(task)
    line = task.document.indent(body[0]) + task.code
    attributes = list(takewhile(lambda one: not isinstance(one, Function | ast.ClassDef), body))
    if attributes:
        return _Made(task.document.line_after(attributes[-1], line))
    return _Made(task.document.line_before(body[0], line, ""))


def _as_method(task: _Task) -> _Made:
    """Add to a ModelAdmin that has none of its own the method ``get_queryset``."""
    body = _body(task)
    indent = task.document.indent(body[0])
    step = "\t" if "\t" in indent else "    "
    lines = ("", f"{indent}def get_queryset(self, request):", f"{indent}{step}return {task.code}")
    return _Made(task.document.line_after(body[-1], *lines))


def _in_returned(task: _Task) -> _Made:
    """Change what a method returns, if it does so in one place."""
    name = task.builder.name.rpartition(".")[2]
    around = [
        node
        for node in ast.walk(task.document.tree)
        if isinstance(node, Function) and node.name == name and _first_line(node) == task.builder.line
    ]
    returned = [one.value for node in around[:1] for one in own_nodes(node) if isinstance(one, ast.Return)]
    value = returned[0] if len(returned) == 1 else None
    if not isinstance(value, (ast.Call, ast.Attribute, ast.Name)):
        raise _NoDiff(f"What the method at {task.place} returns is not one expression: that takes a person.")
    _refuse_unfit(task, value)
    end = task.document.end(value)
    return _Made(Edit(end, end, task.addition))


def _first_line(node: Function) -> int:
    return min([node.lineno, *(one.lineno for one in node.decorator_list)])


_WRITERS: dict[str, Callable[[_Task], _Made]] = {
    "expression": _in_expression,
    "queryset": _in_attribute,
    "model": _beside_model,
    "list_select_related": _as_attribute,
    "get_queryset": _as_method,
    "returned": _in_returned,
}
_REASONS = {
    "template": "The template asks for the rows itself; to fetch them in Python takes a person.",
    "get_list_select_related": "A method says what is joined in the list: that takes a person.",
}


def _inside(task: _Task, node: ast.expr | ast.stmt) -> bool:
    return task.builder.line <= node.lineno <= (node.end_lineno or node.lineno) <= task.builder.end


def _statement(task: _Task) -> ast.Assign | ast.AnnAssign:
    for node in ast.walk(task.document.tree):
        found = isinstance(node, (ast.Assign, ast.AnnAssign)) and _inside(task, node)
        if found and ast.unparse(node) == task.builder.text:
            return node  # type: ignore[return-value]
    raise _NoDiff(f"The attribute at {task.place} could not be located.")


def _body(task: _Task) -> list[ast.stmt]:
    """Return the statements of the class at the builder's line, if they stand below it."""
    for node in ast.walk(task.document.tree):
        found = isinstance(node, ast.ClassDef) and node.lineno == task.builder.line
        if found and not task.document.indent(node.body[0]).strip():  # type: ignore[attr-defined]
            return node.body  # type: ignore[attr-defined, no-any-return]
    raise _NoDiff(f"The class at {task.place} could not be located, or is written on one line.")


def _grown(task: _Task, node: ast.expr) -> _Made:
    """Add the change to the queryset in ``node``."""
    if task.change.method == "only":
        return _Made(_loaded(task, node))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SHORTCUTS and node.args:
        return _of_shortcut(task, node.args[0])
    _refuse_unfit(task, node)
    queryset, certain = _queryset(task, node)
    end = task.document.end(queryset)
    return _Made(Edit(end, end, task.addition), certain)


def _of_shortcut(task: _Task, given: ast.expr) -> _Made:
    """Change the first argument of ``get_object_or_404``: a model becomes a queryset of its default manager."""
    meant = task.meant(given)
    if isinstance(meant, type) and issubclass(meant, Model):
        end = task.document.end(given)
        return _Made(Edit(end, end, f".{meant._default_manager.name}{task.addition}"))
    if isinstance(given, (ast.Call, ast.Attribute)) or isinstance(meant, (QuerySet, BaseManager)):
        return _grown(task, given)
    raise _NoDiff(f"What {task.document.text(given)} is at {task.place} cannot be read off the source.")


def _queryset(task: _Task, node: ast.expr) -> tuple[ast.expr, bool]:
    """Return the part of an expression that is a queryset or a manager, and whether that is certain."""
    whole = node
    while True:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = node.func.attr
            if name in WRITES and not _is_of_model(task, node.func.value):
                raise _NoDiff(f"{name}() may be a related manager's own, which no queryset has: that takes a person.")
            if name not in ENDS:
                return node, hasattr(
                    QuerySet, name
                ) or name == "get_queryset"  # of a method of the site's own, who knows what it returns
            node = node.func.value
        elif isinstance(node, ast.Subscript) and not isinstance(node.slice, ast.Slice):
            node = node.value
        elif isinstance(node, ast.Attribute) and hasattr(QuerySet, node.attr):
            node = node.value  # a method that is handed on, and called by a template
        elif isinstance(node, ast.Subscript) or _is_manager(task, node):
            return node, True
        else:
            raise _NoDiff(f"In {task.document.text(whole)} at {task.place} nothing is certain to be a queryset.")


def _is_manager(task: _Task, node: ast.expr) -> bool:
    named = isinstance(node, ast.Attribute) and node.attr in managers()
    return named or isinstance(task.meant(node), (QuerySet, BaseManager))


def _is_of_model(task: _Task, node: ast.expr) -> bool:
    meant = task.meant(chain(node)[1])
    return isinstance(meant, type) and issubclass(meant, Model)


def _refuse_unfit(task: _Task, node: ast.expr) -> None:
    """Raise where a queryset would refuse the change when it runs."""
    method, names = task.change.method, set(chain(node)[0])
    if found := sorted(names & NO_OBJECTS):
        raise _NoDiff(f"{found[0]}() gives no objects, whose relations could be loaded: that takes a person.")
    if found := sorted(names & UNIONS):
        raise _NoDiff(f"{found[0]}() takes no {method}(): that takes a person.")
    fields = [name.partition("__")[0] for name in task.change.names]
    if method == "select_related" and any(placing.withheld(node, field) for field in fields):
        raise _NoDiff(f"Its .only() or .defer() has to let {', '.join(map(_quoted, fields))} through as well.")
    if method == "prefetch_related" and names & {"iterator", "aiterator"} and not _is_sized(node):
        raise _NoDiff("Its .iterator() needs a chunk_size=... to prefetch: that takes a person.")


def _is_sized(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and bool(node.args or node.keywords)


def _loaded(task: _Task, node: ast.expr) -> Edit:
    """Return the edit that adds the fields to the ``only()`` of the expression."""
    for call in ast.walk(node):
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr == "only"
            and call.args
        ):
            end = task.document.end(call.args[-1])
            return Edit(end, end, "".join(f", {_quoted(name)}" for name in task.change.names))
    left_out = ", ".join(_quoted(name) for name in task.change.names)
    raise _NoDiff(
        f"No .only() at {task.place} leaves {left_out} out: look for its .defer(), or for where that is said."
    )


def _quoted(name: str) -> str:
    return f'"{name}"'
