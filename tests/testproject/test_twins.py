from __future__ import annotations

import ast
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models import Index
from django.test import Client

from noa_perf.core.findings import Finding, Place
from noa_perf.optimizer.collector import collector
from noa_perf.optimizer.plans import advise
from testproject.demo.workload import record
from testproject.shop.indexes import INDEXES, create_indexes
from testproject.shop.seed import STAFF, Shop

from .changes import SHOP, Change, changes, parts

pytestmark = pytest.mark.django_db

CHANGES = list(changes())
# Below a thousand rows, an index for a table is not worth a finding.
SCALE = 0.5


@pytest.fixture(scope="module")
def findings(shop: Shop) -> list[Finding]:
    """What noa_perf finds while the faulty twin answers a part of the demo's mix."""
    client = Client()
    assert client.login(username=STAFF[0], password=STAFF[1])
    collector.reset()
    for request in _some_of_each_route():
        assert _answer(client, request) == 200, request
    with pytest.MonkeyPatch.context() as patch:
        # A scan is a scan, however little of this machine's time it took.
        patch.setattr(advise, "MIN_SHARE", 0)
        return collector.findings()


def _some_of_each_route(number: int = 8) -> Iterator[dict[str, Any]]:
    """Yield the first requests of each route, as far as their paths differ; additions to carts come first."""
    workload, seen = record(requests=1_000), defaultdict[str, set[str]](set)
    for request in chain.from_iterable((*workload.warm_up, *workload.measured)):
        paths = seen[request["name"]]
        if "json" in request or (request["path"] not in paths and len(paths) < number):
            paths.add(request["path"])
            yield request


def _answer(client: Client, request: dict[str, Any]) -> int:
    if "json" in request:
        sent = client.post(request["path"], json.dumps(request["json"]), content_type="application/json")
        return sent.status_code
    return client.get(request["path"]).status_code


def test_the_twins_differ() -> None:
    assert len(CHANGES) > 20


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: f"{change.file}:{change.first}")
def test_every_change_was_named_by_a_finding_at_that_line(change: Change, findings: list[Finding]) -> None:
    here = [finding for finding in findings if any(change.near(*place) for place in _places(finding))]
    said = "\n".join(f"  {finding.kind} {finding.subject}: {finding.code or finding.cure}" for finding in here)
    if change.file.endswith(".py") and change.old.startswith("from django.db.models import"):
        assert _imported(change) <= _names(findings), f"{change}\n{said}"
    elif change.file.endswith(".py") and change.adds_only:
        named = set().union(*(_named(finding) for finding in here))
        assert change.parts <= named, f"{change}\nnot named: {change.parts - named}; said there:\n{said}"
    else:
        assert any(_rewrites(change, finding) for finding in here), f"{change}\nsaid there:\n{said}"


@pytest.mark.parametrize(("model", "index"), INDEXES, ids=lambda given: getattr(given, "name", None))
def test_every_index_was_named_by_a_finding(model: type, index: Index, findings: list[Finding]) -> None:
    wanted = [ast.unparse(ast.Constant(field)) for field in index.fields]
    named = {(finding.subject.split(".")[0], *_fields(finding)) for finding in findings}
    assert (model.__name__, *wanted) in named, sorted(named)


def _places(finding: Finding) -> Iterator[tuple[str, int]]:
    places: tuple[Place | None, ...] = (finding.change, finding.where, finding.template)
    return ((place.file, place.line) for place in places if place)


def _named(finding: Finding) -> set[tuple[str, str]]:
    """Return what a finding says to add; a bare field name belongs into ``only()``."""
    if re.fullmatch(r'"\w+"', finding.code):
        return {("only", repr(ast.literal_eval(finding.code)))}
    return parts(finding.code)


def _imported(change: Change) -> set[str]:
    return set(re.findall(r"\w+", change.new)) - set(re.findall(r"\w+", change.old))


def _names(findings: list[Finding]) -> set[str]:
    return set().union(*(re.findall(r"\w+", finding.code) for finding in findings))


def _fields(finding: Finding) -> list[str]:
    if not finding.code.startswith("models.Index("):
        return []
    call = ast.parse(finding.code, mode="eval").body
    fields: Any = next(keyword.value for keyword in getattr(call, "keywords", []) if keyword.arg == "fields")
    return [ast.unparse(field) for field in fields.elts]


def _rewrites(change: Change, finding: Finding) -> bool:
    """Whether the change is the finding's cure, and nothing besides."""
    old, new, code = change.old, change.new, finding.code
    if finding.kind == "duplicate":
        return any(new == old.replace(expression, name) for name, expression in _kept(finding) if expression in old)
    if finding.kind == "len_for_count":
        return code == ".count()" and new == re.sub(r"len\((\w+)\)", r"\1.count()", old)
    if finding.kind == "bool_for_exists":
        return code == ".exists()" and new == old + code
    if finding.kind == "values_would_do":
        fetched = re.sub(r"\[(\w+)\.pk for \1 in (.*)\]", r"\2", old)
        return new == fetched + code.replace('"', "'")
    if code.startswith(".annotate("):
        relation = re.search(r"(\w+)_count=Count\(\"(\w+)\"\)", code)
        return relation is not None and new == re.sub(rf"{relation[2]}\.count(\(\))?", f"{relation[1]}_count", old)
    if code.startswith(".in_bulk("):
        before = r"(\w+) = \[(\w+)\.objects\.get\(pk=(\w+)\) for \3 in (\w+)\]"
        found = re.fullmatch(before, old)
        held = new.split(" = ")[0]
        if not found:
            return False
        fetch = f"{held} = {found[2]}.objects.in_bulk({found[4]})"
        return new == f"{fetch}\n{found[1]} = [{held}[{found[3]}] for {found[3]} in {found[4]}]"
    return False


def _kept(finding: Finding) -> Iterator[tuple[str, str]]:
    """Yield the variables that a duplicate's cure says to keep, with what they hold."""
    for file, line in re.findall(r"testproject/shop/as_is/(\w+\.py):(\d+)", finding.cure):
        for node in ast.walk(ast.parse((SHOP / "as_is" / file).read_text())):
            if isinstance(node, ast.Assign) and node.lineno == int(line):
                yield ast.unparse(node.targets[0]), ast.unparse(node.value)


def test_the_indexes_can_be_created_and_are_used(shop: Shop) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # The schema editor wants foreign keys off, which a transaction cannot do; an index needs none of it.
        patch.setattr(connection.features, "supports_atomic_references_rename", True, raising=False)
        patch.setattr(connection, "disable_constraint_checking", lambda: True)
        patch.setattr(connection, "enable_constraint_checking", lambda: None)
        create_indexes()
    for model, index in INDEXES:
        assert index.name in connection.introspection.get_constraints(connection.cursor(), model._meta.db_table)


def test_the_page_of_faults_lists_every_change() -> None:
    page = (Path(SHOP).parents[1] / "docs" / "reference" / "faults.md").read_text()
    missing = [str(change) for change in CHANGES if f"`{change.file}:{change.first}`" not in page]
    missing += [index.name for _, index in INDEXES if f"`{index.name}`" not in page]
    assert not missing
