"""What one twin of the shop changes in the other, statement by statement."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from pathlib import Path

SHOP = Path(__file__).resolve().parents[2] / "testproject" / "shop"
LISTS = ("select_related", "prefetch_related", "annotate", "only")


@dataclass(frozen=True)
class Change:
    """Some statements of a module, or a line of a template, in both twins."""

    file: str
    """Path below the twin."""
    first: int
    last: int
    """The lines in the faulty twin."""
    old: str
    new: str
    owner: int = 0
    """The line of the class that a class attribute belongs to."""

    def __str__(self) -> str:
        return f"{self.file}:{self.first}\n  - {self.old}\n  + {self.new}"

    @cached_property
    def parts(self) -> set[tuple[str, str]]:
        """What was added to calls and class attributes that the old statement has, or could have."""
        return parts(self.new) - parts(self.old)

    @property
    def adds_only(self) -> bool:
        """Whether the new statement, its additions taken away, is the old one."""
        return bare(self.new) == bare(self.old)

    def near(self, file: str, line: int) -> bool:
        """Whether a place of a finding is here: on these lines, or the class that they are in."""
        if file != f"testproject/shop/as_is/{self.file}":
            return False
        return self.first <= line <= self.last or line == self.owner


def parts(code: str) -> set[tuple[str, str]]:
    """Return each argument of each eager or narrow loading in code, as (method, argument)."""
    found: set[tuple[str, str]] = set()
    for node in ast.walk(_parsed(code)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LISTS:
            arguments: Sequence[ast.AST] = [*node.args, *node.keywords]
            found |= {(node.func.attr, ast.unparse(argument)) for argument in arguments}
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "list_select_related":
            found |= {("list_select_related", ast.unparse(name)) for name in getattr(node.value, "elts", [])}
    return found


def bare(code: str) -> str:
    """Return code without those loadings."""
    return ast.unparse(_Bare().visit(_parsed(code)))


class _Bare(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.func, ast.Attribute) or node.func.attr not in LISTS:
            return node
        if node.func.attr == "only":
            node.args = []
            return node
        return node.func.value

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        self.generic_visit(node)
        return None if ast.unparse(node.targets[0]) == "list_select_related" else node


def _parsed(code: str) -> ast.Module:
    try:
        return ast.parse(code)
    except SyntaxError:
        return ast.parse("queryset" + code if code.startswith(".") else "")


def changes() -> Iterator[Change]:
    """Yield all that the mended twin changes."""
    faulty, mended = SHOP / "as_is", SHOP / "mended"
    assert _files(faulty) == _files(mended)
    for name in _files(faulty):
        old, new = (faulty / name).read_text(), (mended / name).read_text()
        if old != new:
            yield from _statements(name, old, new) if name.endswith(".py") else _lines(name, old, new)


def _files(twin: Path) -> list[str]:
    found = [path.relative_to(twin) for path in twin.rglob("*") if path.is_file()]
    return sorted(str(path) for path in found if "__pycache__" not in path.parts)


def _lines(name: str, old: str, new: str) -> Iterator[Change]:
    before, after = old.splitlines(), new.splitlines()
    assert len(before) == len(after), f"{name} gained or lost lines"
    for number, (was, now) in enumerate(zip(before, after, strict=True), 1):
        if was != now:
            yield Change(name, number, number, was.strip(), now.strip())


def _statements(name: str, old: str, new: str) -> Iterator[Change]:
    # Comments are no part of the tree: they must be the same.
    assert re.findall(r"#.*", old) == re.findall(r"#.*", new), f"{name} has other comments"
    return _bodies(name, ast.parse(old), ast.parse(new), 0)


def _bodies(name: str, old: ast.AST, new: ast.AST, owner: int) -> Iterator[Change]:
    """Yield the changes among the statements of two bodies, as deep inside as they can be told apart."""
    before, after = old.body, new.body  # type: ignore[attr-defined]
    matcher = SequenceMatcher(None, [ast.dump(node) for node in before], [ast.dump(node) for node in after], False)
    for kind, i, j, k, m in matcher.get_opcodes():
        if kind == "equal":
            continue
        if j - i == m - k:
            for was, now in zip(before[i:j], after[k:m], strict=True):
                yield from _pair(name, was, now, owner)
        else:
            yield _change(name, before[i:j], after[k:m], before[max(i - 1, 0)], owner)


def _pair(name: str, old: ast.stmt, new: ast.stmt, owner: int) -> Iterator[Change]:
    nests = isinstance(old, ast.ClassDef | ast.FunctionDef) and type(old) is type(new)
    if nests and _head(old) == _head(new):
        yield from _bodies(name, old, new, old.lineno if isinstance(old, ast.ClassDef) else 0)
    elif isinstance(old, ast.If) and isinstance(new, ast.If) and ast.dump(old.test) != ast.dump(new.test):
        assert [*map(ast.dump, old.body)] == [*map(ast.dump, new.body)]
        yield Change(name, old.lineno, old.lineno, ast.unparse(old.test), ast.unparse(new.test))
    else:
        yield _change(name, [old], [new], old, owner)


def _head(node: ast.stmt) -> str:
    """Return a class or function without its body."""
    return ast.unparse(node).split(":\n")[0]


def _change(name: str, old: list[ast.stmt], new: list[ast.stmt], beside: ast.stmt, owner: int) -> Change:
    first = old[0] if old else beside
    last = old[-1] if old else beside
    was, now = ("\n".join(map(ast.unparse, nodes)) for nodes in (old, new))
    return Change(name, first.lineno, last.end_lineno or last.lineno, was, now, owner)
