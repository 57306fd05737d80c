"""The catalogue lists every kind of finding that the code can make, and no other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import noa_perf.optimizer
from noa_perf.optimizer.catalogue import CATALOGUE, ENGINES, EVERYWHERE, Seen
from noa_perf.optimizer.detectors import misuse

HERE = Path(noa_perf.optimizer.__file__).parent
MAKERS = {"Fault", "index_fault", "_of_source"}


def kinds() -> set[str]:
    found: set[str] = set(misuse.BY_OPERATION.values()) | {"unread_columns"}
    for path in HERE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in MAKERS and node.args:
                found |= set(strings(node.args[0]))
            if name in ("Finding", "replace"):
                found |= {text for keyword in node.keywords if keyword.arg == "kind" for text in strings(keyword.value)}
    return found


def strings(node: ast.AST) -> list[str]:
    if isinstance(node, ast.JoinedStr):  # f"{kind}_spill"
        return ["sort_spill", "hash_spill"]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def test_every_kind_is_listed_and_no_other():
    assert kinds() == set(CATALOGUE)


TESTED = {
    "PostgreSQL": ("test_plans_postgresql.py", "test_perf_gate_servers.py"),
    "MariaDB": ("test_plans_mariadb.py", "test_perf_gate_servers.py"),
    "SQLite": ("test_plans.py", "test_perf_gate.py"),
}
CLAIMED = [
    (kind, engine)
    for kind, entry in CATALOGUE.items()
    for engine, seen in zip(ENGINES, entry.seen, strict=True)
    if entry.seen is not EVERYWHERE and seen in (Seen.YES, Seen.ANALYZED)
]


@pytest.mark.parametrize(("kind", "engine"), CLAIMED)
def test_what_is_claimed_of_a_database_is_tested_on_it(kind, engine):
    trees = [ast.parse(Path(__file__).with_name(name).read_text()) for name in TESTED[engine]]

    assert kind in {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}


def test_nothing_is_claimed_of_mysql_that_needs_its_plans():
    place = ENGINES.index("MySQL")

    plans = [entry.seen[place] for entry in CATALOGUE.values() if entry.seen is not EVERYWHERE]
    assert set(plans) == {Seen.UNTRIED, Seen.NO}
