"""SQLite's plans as a tree, and each fault on a real plan that has it and one that hasn't."""

from __future__ import annotations

import json

import pytest
from django.core.checks import run_checks
from django.db import connection
from django.db.models.functions import Lower

from noa_perf.optimizer import capture
from noa_perf.optimizer.collector import Collector
from noa_perf.optimizer.plans import sqlite
from noa_perf.optimizer.plans.engines import ENGINES
from noa_perf.optimizer.plans.predicates import uses_of
from noa_perf.optimizer.plans.tree import Step
from tests.library.models import Author, Book, Publisher
from tests.optimizer.helpers import findings_of

pytestmark = pytest.mark.django_db
KINDS = (
    "full_scan",
    "sort_without_index",
    "automatic_index",
    "function_hides_index",
    "leading_wildcard",
    "deep_offset",
)


@pytest.fixture(autouse=True)
def every_plan_is_read(settings):
    settings.NOA_PERF = {"OPTIMIZER": {"SLOW_QUERY_MS": 0}}


@pytest.fixture
def shelf(db):
    author = Author.objects.create(name="x")
    Book.objects.bulk_create(Book(title=f"t{n}", author=author, pages=n) for n in range(1_200))


def run(sql, params=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchall() if cursor.description else None


def scan():
    list(Book.objects.filter(title="t7"))


def scan_for_a_count():
    Book.objects.filter(title="t7").count()


def sort():
    list(Book.objects.order_by("-pages", "pk")[:5])


def filter_and_sort():
    list(Book.objects.filter(title="t7").order_by("-pages")[:5])


def ranged():
    Book.objects.filter(pages__gte=1_190).count()


FAULTS = [
    (scan, "full_scan", ["title"], "(title)"),
    (scan_for_a_count, "full_scan", ["title"], "(title)"),
    (sort, "sort_without_index", ["-pages", "id"], "(pages DESC, id)"),
    (filter_and_sort, "full_scan", ["title", "-pages"], "(title, pages DESC)"),
    (ranged, "full_scan", ["pages"], "(pages)"),
]


@pytest.mark.parametrize(
    ("block", "kind", "fields", "columns"), FAULTS, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_missing_index_is_named_and_mends_it(shelf, block, kind, fields, columns):
    found = findings_of(block, *KINDS)

    assert [(one.kind, one.subject, one.evidence["fields"]) for one in found] == [(kind, "Book", fields)]
    assert f"models.Index(fields={json.dumps(fields)}" in found[0].code
    assert found[0].change.file == "tests/library/models.py"
    assert found[0].where.file == "tests/optimizer/test_plans.py"

    run(f"CREATE INDEX mended ON library_book {columns}")
    assert findings_of(block, *KINDS) == []


def test_an_index_built_for_each_run_is_found(shelf):
    Publisher.objects.bulk_create(Publisher(name=f"t{n}") for n in range(1_200))

    def block():
        run(
            "SELECT COUNT(*) FROM library_publisher p JOIN library_book b ON b.title = p.name WHERE p.name > %s",
            ["a"],
        )

    found = [one for one in findings_of(block, *KINDS) if one.kind == "automatic_index"]

    assert [(one.subject, one.evidence["fields"]) for one in found] == [("Book", ["title"])]
    run("CREATE INDEX mended ON library_book (title)")
    assert [one for one in findings_of(block, *KINDS) if one.kind == "automatic_index"] == []


def test_a_function_that_hides_a_column_is_named(shelf):
    def block():
        list(Book.objects.annotate(low=Lower("title")).filter(low="t7"))

    (found,) = findings_of(block, *KINDS)

    assert found.kind == "function_hides_index"
    assert "lower(title)" in found.summary.lower()


@pytest.mark.parametrize(("lookup", "kinds"), [("title__contains", ["leading_wildcard"]), ("title__startswith", [])])
def test_a_leading_wildcard_is_told_from_a_prefix(shelf, lookup, kinds):
    found = findings_of(lambda: Book.objects.filter(**{lookup: "t7"}).count(), *KINDS)

    assert [one.kind for one in found] == kinds


@pytest.mark.parametrize(("start", "kinds"), [(1_000, ["deep_offset"]), (100, [])])
def test_a_deep_offset(shelf, start, kinds):
    found = findings_of(lambda: list(Book.objects.order_by("pk")[start : start + 10]), *KINDS)

    assert [one.kind for one in found] == kinds


@pytest.mark.parametrize(
    "block",
    [
        lambda: list(Book.objects.all()),
        Book.objects.count,
        lambda: list(Book.objects.filter(pk=7)),
        lambda: list(Book.objects.filter(author_id=1).order_by("pk")[:5]),
        lambda: list(Book.objects.order_by("pk")[:5]),
        lambda: list(Book.objects.filter(pages__gte=1)),
    ],
    ids=["all", "count", "by key", "by indexed column", "in key order", "most of the table"],
)
def test_right_plans_are_left_alone(shelf, block):
    assert findings_of(block, *KINDS) == []


def test_a_small_table_is_scanned_rightly():
    Author.objects.bulk_create(Author(name=str(n)) for n in range(50))

    assert findings_of(lambda: list(Author.objects.filter(name="7")), *KINDS) == []


def test_one_index_for_two_queries_is_one_finding(shelf):
    def block():
        list(Book.objects.filter(title="t7"))
        Book.objects.filter(title="t8").count()

    (found,) = findings_of(block, *KINDS)

    assert found.count == 2
    assert len(found.evidence["also"]) == 1
    assert "mends 1 more" in found.summary


def test_a_slow_query_comes_with_its_plan_and_without_its_values(shelf):
    def block():
        list(Book.objects.filter(title="a very secret value"))

    found = findings_of(block)

    slow = next(one for one in found if one.kind == "slow_query")
    assert slow.evidence["plan"] == ["SCAN library_book"]
    assert "models.Index" in slow.cure
    assert slow.where.file == "tests/optimizer/test_plans.py"
    assert "secret" not in json.dumps([one.as_dict() for one in found])


def test_slowness_counts_from_each_databases_own_limit(settings, shelf):
    settings.NOA_PERF = {"OPTIMIZER": {"SLOW_QUERY_MS": 0, "SLOW_QUERY_MS_BY_ALIAS": {"default": 60_000}}}

    assert findings_of(scan, "slow_query") == []


def test_without_an_engine_plans_are_off_and_that_is_said(shelf, monkeypatch):
    monkeypatch.delitem(ENGINES, "sqlite")

    (slow,) = findings_of(scan, "slow_query")

    assert "Plans cannot be read on sqlite" in slow.cure
    assert [message.id for message in run_checks()] == ["noa_perf_optimizer.W002"]


def test_reading_a_plan_is_not_reported_itself(shelf):
    collector = Collector()
    with capture.quiet(), capture.scope("x") as scope:
        scan()
        collector.add(scope)
        before = scope.queries
        assert collector.findings()
        assert scope.queries == before


def wanted(sql, params=None):
    """Return the indexes that ``sql`` asks for."""
    found = findings_of(lambda: run(sql, params), "full_scan")
    return sorted((one.subject, *one.evidence["fields"], one.certain) for one in found)


@pytest.mark.parametrize("word", ["UNION", "UNION ALL", "INTERSECT"])
def test_each_side_of_a_union_wants_its_own_index(shelf, word):
    sql = (
        f"SELECT id FROM library_book WHERE library_book.title = %s {word} "
        "SELECT id FROM library_book WHERE library_book.pages = %s"
    )
    assert wanted(sql, ["t7", 8]) == [("Book", "pages", True), ("Book", "title", True)]

    run("CREATE INDEX mended ON library_book (title)")
    assert wanted(sql, ["t7", 8]) == [("Book", "pages", True)]
    run("CREATE INDEX mended_too ON library_book (pages)")
    assert wanted(sql, ["t7", 8]) == []


def test_a_subquery_on_the_same_table_wants_its_own_index(shelf):
    sql = (
        "SELECT id FROM library_book WHERE library_book.title = %s "
        "AND author_id IN (SELECT author_id FROM library_book WHERE library_book.pages = %s)"
    )

    assert not any({"title", "pages"} <= set(one) for one in wanted(sql, ["t7", 8]))
    assert ("Book", "pages", True) in wanted(sql, ["t7", 8])


@pytest.mark.parametrize(
    ("word", "expected"),
    [("MATERIALIZED", ("Book", "pages", True)), ("NOT MATERIALIZED", ("Book", "title", "pages", False))],
)
def test_a_cte_is_no_table(shelf, word, expected):
    sql = (
        f"WITH library_author AS {word} (SELECT * FROM library_book WHERE library_book.pages = %s) "
        "SELECT * FROM library_author WHERE library_author.title = %s"
    )

    assert wanted(sql, [8, "t7"]) == [expected]


def test_the_conditions_of_two_readers_of_a_cte_are_not_its_own(shelf):
    sql = (
        "WITH shown AS (SELECT * FROM library_book WHERE library_book.pages > %s) SELECT id FROM shown "
        "WHERE shown.title = %s UNION SELECT id FROM shown WHERE shown.author_id = %s"
    )

    assert not any("title" in one for one in wanted(sql, [8, "t7", 1]))


def test_what_is_beneath_a_view_is_told_of_its_table_and_marked_as_not_certain(shelf):
    run("CREATE VIEW shown AS SELECT b.id, b.title AS label FROM library_book b")
    run("CREATE VIEW shown_again AS SELECT * FROM shown")
    for view in ("shown", "shown_again"):
        assert wanted(f"SELECT * FROM {view} WHERE {view}.label = %s", ["t7"]) == [("Book", "title", False)]

    run("CREATE INDEX mended ON library_book (title)")
    assert wanted("SELECT * FROM shown WHERE shown.label = %s", ["t7"]) == []


def test_a_view_that_is_read_whole_is_no_fault(shelf):
    run("CREATE VIEW counted AS SELECT author_id, COUNT(*) AS n FROM library_book GROUP BY author_id")

    assert wanted("SELECT * FROM counted WHERE counted.n = %s", [5]) == []


def test_a_cast_hides_an_index(shelf):
    def block():
        run("SELECT id FROM library_book WHERE CAST(library_book.pages AS text) = %s", ["7"])

    (found,) = findings_of(block, *KINDS)

    assert found.kind == "function_hides_index"


def parse(*details):
    return sqlite.parse([(number, 0, 0, detail) for number, detail in enumerate(details, 1)])


@pytest.mark.parametrize(
    ("detail", "step", "table", "index"),
    [
        ("SCAN library_book", Step.SCAN, "library_book", ""),
        ("SCAN TABLE library_book AS b", Step.SCAN, "b", ""),
        ("SCAN b USING COVERING INDEX i", Step.INDEX_SCAN, "b", "i"),
        ("SEARCH b USING INDEX i (a=? AND c>?)", Step.SEARCH, "b", "i"),
        ("SEARCH b USING INTEGER PRIMARY KEY (rowid=?)", Step.SEARCH, "b", ""),
        ("SEARCH b USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN", Step.SEARCH, "b", ""),
        ("SEARCH b USING AUTOMATIC COVERING INDEX (a=?)", Step.AUTOMATIC_INDEX, "b", ""),
        ("USE TEMP B-TREE FOR ORDER BY", Step.SORT, "", ""),
        ("CORRELATED SCALAR SUBQUERY 1", Step.SUBQUERY, "", ""),
        ("something new in SQLite 4", Step.OTHER, "", ""),
    ],
)
def test_each_kind_of_step(detail, step, table, index):
    (node,) = parse(detail).walk()

    assert (node.step, node.table, node.index, node.detail) == (step, table, index, detail)


def test_what_runs_for_each_row_is_marked():
    plan = sqlite.parse(
        [
            (1, 0, 0, "SCAN a"),
            (2, 0, 0, "SCAN b"),
            (3, 0, 0, "CORRELATED SCALAR SUBQUERY 1"),
            (4, 3, 0, "SCAN c"),
        ]
    )

    assert [(node.detail, node.repeated) for node in plan.walk()] == [
        ("SCAN a", False),
        ("SCAN b", True),
        ("CORRELATED SCALAR SUBQUERY 1", True),
        ("SCAN c", True),
    ]
    assert plan.lines() == ["SCAN a", "SCAN b", "CORRELATED SCALAR SUBQUERY 1", "  SCAN c"]


def test_part_of_an_order_is_a_sort_too():
    (node,) = parse("USE TEMP B-TREE FOR LAST TERM OF ORDER BY").walk()

    assert node.purpose == "ORDER BY"


def test_columns_are_read_off_a_statement():
    (block,) = uses_of(
        'SELECT "b"."x" FROM "book" "b" INNER JOIN "author" ON ("b"."author_id" = "author"."id") '
        'WHERE ("b"."a" = %s AND "b"."c" > %s AND "b"."d" IN (%s, %s) AND NOT ("b"."n" = %s) AND lower("b"."e") = %s) '
        'ORDER BY "b"."f" DESC LIMIT 3',
        "sqlite",
    ).blocks

    book = block.tables["b"]
    assert (str(book.table), book.equal, book.ranged, book.listed, book.joined) == (
        "book",
        ["a"],
        ["c"],
        ["d"],
        ["author_id"],
    )
    assert book.wrapped == [("e", "lower")]
    assert block.order == [("b", "f", True)]
    assert block.limited


def test_what_cannot_be_parsed_is_left_alone():
    assert uses_of("this is ( not SQL", "sqlite") is None


def test_an_index_for_a_sort_has_what_the_plan_does_not_tell(shelf):
    author = Author.objects.get()

    def related():
        list(Book.objects.filter(author=author, price=0).order_by("-pages", "pk")[:5])

    (found,) = findings_of(related, "sort_without_index")

    # SQLite says that it searches by author, and not what it checks on each row.
    assert found.evidence["plan"][0].startswith("SEARCH library_book USING INDEX")
    assert found.evidence["fields"] == ["author", "price", "-pages", "id"]
