"""The catalogue lists every kind of finding that the code can make, and no other."""

from __future__ import annotations

import ast
from pathlib import Path

import noa_perf.optimizer
from noa_perf.optimizer.catalogue import CATALOGUE
from noa_perf.optimizer.detectors import misuse

HERE = Path(noa_perf.optimizer.__file__).parent
MAKERS = {"Fault", "index_fault"}


def kinds() -> set[str]:
    found: set[str] = set(misuse.BY_OPERATION.values()) | {"unread_columns"}
    for path in HERE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in MAKERS and node.args:
                found |= set(strings(node.args[0]))
            if name == "Finding":
                found |= {text for keyword in node.keywords if keyword.arg == "kind" for text in strings(keyword.value)}
    return found


def strings(node: ast.AST) -> list[str]:
    if isinstance(node, ast.JoinedStr):  # f"{kind}_spill"
        return ["sort_spill", "hash_spill"]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def test_every_kind_is_listed_and_no_other():
    assert kinds() == set(CATALOGUE)
