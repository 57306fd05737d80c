"""A source file that is to be changed: as bytes, for its syntax tree counts bytes, with the line ends that it has."""

from __future__ import annotations

import ast
import codecs
import difflib
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Edit:
    """Text that takes the place of what lies between two offsets, in bytes."""

    begin: int
    end: int
    text: str


class Document:
    """One file; raises OSError, SyntaxError or ValueError where it is none that Python could run."""

    def __init__(self, path: str) -> None:
        """Read it."""
        self.data = Path(path).read_bytes()
        self.data.decode()
        self.tree = ast.parse(self.data)
        # Of bytes, splitlines knows the ends that Python knows, and no form feed or U+2028.
        self._lines = self.data.splitlines(keepends=True)
        self._starts = [0, *accumulate(len(line) for line in self._lines)]
        self.newline = "\r\n" if self.data.find(b"\r\n") >= 0 else "\n"

    def begin(self, node: ast.expr | ast.stmt) -> int:
        """Return where ``node`` begins."""
        return self._offset(node.lineno, node.col_offset)

    def end(self, node: ast.expr | ast.stmt) -> int:
        """Return where ``node`` ends."""
        return self._offset(node.end_lineno or node.lineno, node.end_col_offset or 0)

    def _offset(self, line: int, column: int) -> int:
        bom = len(codecs.BOM_UTF8) if line == 1 and self.data.startswith(codecs.BOM_UTF8) else 0
        return self._starts[line - 1] + bom + column

    def text(self, node: ast.expr) -> str:
        """Return the source of ``node``."""
        return self.data[self.begin(node) : self.end(node)].decode(errors="replace")

    def indent(self, node: ast.stmt) -> str:
        """Return what stands before ``node`` in its line."""
        return self.data[self._starts[node.lineno - 1] : self.begin(node)].decode()

    def line_after(self, node: ast.stmt, *lines: str) -> Edit:
        """Return the edit that adds ``lines`` below ``node``, whatever comment stands behind it."""
        number = node.end_lineno or node.lineno
        end = self._starts[number - 1] + len(self._lines[number - 1].rstrip(b"\r\n"))
        return Edit(end, end, "".join(f"{self.newline}{line}" for line in lines))

    def line_before(self, node: ast.stmt, *lines: str) -> Edit:
        """Return the edit that adds ``lines`` above ``node`` and its decorators."""
        first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))])
        at = self._starts[first - 1]
        return Edit(at, at, "".join(f"{line}{self.newline}" for line in lines))

    def edited(self, edit: Edit) -> bytes:
        """Return the file with ``edit`` made."""
        return self.data[: edit.begin] + edit.text.encode() + self.data[edit.end :]

    def diff(self, changed: bytes, name: str) -> str:
        """Return what makes the file ``changed``, as a unified diff; whoever applies it counts lines by ``\\n``."""
        before, after = _lines(self.data), _lines(changed)
        made = difflib.unified_diff(before, after, f"a/{name}", f"b/{name}")
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in made)


def _lines(data: bytes) -> list[str]:
    *lines, rest = data.decode().split("\n")
    return [f"{line}\n" for line in lines] + ([rest] if rest else [])
