"""A cure as a unified diff of the file where its queryset is built; nothing is written."""

from __future__ import annotations

import ast
import difflib
from dataclasses import dataclass
from pathlib import Path

from noa_perf.optimizer.callsite import relative
from noa_perf.optimizer.proof.change import change_of
from noa_perf.optimizer.reading.source import Builder
from noa_perf.optimizer.report import Advice

ENDS = frozenset(
    """get first last earliest latest in_bulk iterator count exists aggregate aget afirst alast aearliest alatest
    ain_bulk aiterator acount aexists aaggregate""".split()
)
"""Methods that end a queryset: what is added to it goes before them."""


@dataclass(frozen=True, slots=True)
class Patch:
    """A diff, or why there is none."""

    diff: str = ""
    certain: bool = True
    """Whether the place is certain; a guess is to be read with care."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Edit:
    """Text that takes the place of what lies between two offsets of a file's lines."""

    begin: tuple[int, int]
    end: tuple[int, int]
    text: str


def patch_for(advice: Advice) -> Patch:
    """Return the diff that makes the cure of ``advice``."""
    builder, code = advice.builder, advice.finding.code
    if builder is None:
        return Patch(reason="The line that builds the queryset was not found.")
    if change_of(code) is None:
        return Patch(reason="The loop has to change as well: that takes a person.")
    try:
        source = Path(builder.file).read_text(encoding="utf-8")
        edit = _edit(ast.parse(source), source, builder, code)
    except (OSError, SyntaxError, ValueError) as error:
        return Patch(reason=f"{relative(builder.file)} could not be read ({type(error).__name__}).")
    if edit is None:
        return Patch(reason=f"The expression at {relative(builder.file)}:{builder.line} could not be located.")
    changed = _edited(source, edit)
    try:
        ast.parse(changed)
    except SyntaxError:
        return Patch(reason=f"At {relative(builder.file)}:{builder.line} the cure does not fit as it stands.")
    return Patch(_diff(source, changed, relative(builder.file)), builder.certain and advice.finding.certain)


def _edit(tree: ast.Module, source: str, builder: Builder, code: str) -> _Edit | None:
    if code.startswith("."):
        return _added(tree, source, builder, code)
    if code.startswith("list_select_related"):
        return _attribute(tree, builder, code, "list_select_related")
    if code.startswith("queryset = "):
        return _attribute(tree, builder, code, "model")
    return _loaded(tree, source, builder, code)


def _loaded(tree: ast.Module, source: str, builder: Builder, code: str) -> _Edit | None:
    """Return the edit that adds a field to the ``only()`` of the expression."""
    for node in ast.walk(tree):
        inside = isinstance(node, ast.Call) and builder.line <= node.lineno <= (node.end_lineno or 0) <= builder.end
        if inside and isinstance(node.func, ast.Attribute) and node.func.attr == "only" and node.args:  # type: ignore[attr-defined]
            end = _end(source, node.args[-1])  # type: ignore[attr-defined]
            return _Edit(end, end, f", {code}")
    return None


def _end(source: str, node: ast.expr) -> tuple[int, int]:
    line, offset = node.end_lineno or node.lineno, node.end_col_offset or 0
    return line, _characters(source, line, offset)


def _added(tree: ast.Module, source: str, builder: Builder, code: str) -> _Edit | None:
    """Return the edit that adds a method call to the expression, before what ends the queryset."""
    node = _expression(tree, builder)
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ENDS:
        node = node.func.value
    if node is None:
        return None
    end = _end(source, node)
    return _Edit(end, end, code)


def _expression(tree: ast.Module, builder: Builder) -> ast.expr | None:
    wanted = ast.dump(ast.parse(builder.text, mode="eval").body)
    for node in ast.walk(tree):
        inside = isinstance(node, ast.expr) and builder.line <= node.lineno <= (node.end_lineno or 0) <= builder.end
        if isinstance(node, ast.expr) and inside and ast.dump(node) == wanted:
            return node
    return None


def _attribute(tree: ast.Module, builder: Builder, code: str, name: str) -> _Edit | None:
    """Return the edit that writes ``code`` in place of a class attribute, or adds it where the class has none."""
    cls = _class(tree, builder)
    if cls is None:
        return None
    plain = [node for node in cls.body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)]
    old = next((node for node in plain if node.targets[0].id == name), None)  # type: ignore[attr-defined]
    if old is not None:
        return _Edit((old.lineno, old.col_offset), (old.end_lineno or old.lineno, old.end_col_offset or 0), code)
    before = plain[-1] if plain else None
    if before is None:
        return None
    end = before.end_lineno or before.lineno, before.end_col_offset or 0
    return _Edit(end, end, f"\n{' ' * before.col_offset}{code}")


def _class(tree: ast.Module, builder: Builder) -> ast.ClassDef | None:
    """Return the innermost class around the builder's line, or the one that its name names."""
    name = builder.name.partition(".")[0]
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    around = [node for node in classes if node.lineno <= builder.line <= (node.end_lineno or node.lineno)]
    return max(around, key=lambda node: node.lineno, default=next((one for one in classes if one.name == name), None))


def _characters(source: str, line: int, offset: int) -> int:
    """Return the characters before ``offset``, which counts bytes."""
    return len(source.splitlines()[line - 1].encode()[:offset].decode())


def _edited(source: str, edit: _Edit) -> str:
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    begin, end = (starts[line - 1] + column for line, column in (edit.begin, edit.end))
    return source[:begin] + edit.text + source[end:]


def _diff(before: str, after: str, name: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
