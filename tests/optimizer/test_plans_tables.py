"""Tables that a plan calls otherwise than its statement: partitions, schemas, views, one table in several blocks."""

from __future__ import annotations

import time

import pytest

from noa_perf.optimizer.lineage import tables
from noa_perf.optimizer.plans import advise
from noa_perf.optimizer.plans.names import TableName, model_of
from tests.library.models import Book, Order

pytestmark = [pytest.mark.server]

ROWS = 6_000


def read(sql, params=None, *, analyze=False):
    reading = advise.read(advise.Asked("pg", sql), params, analyze=analyze)
    assert not reading.unavailable
    return reading


def faults(sql, params=None, *kinds):
    return [one for one in read(sql, params).faults if not kinds or one.kind in kinds]


def wanted(sql, params=None):
    """Return the indexes that are asked for: subject and fields, in the order of the plan."""
    return [(one.subject, one.evidence.get("fields") or one.code) for one in faults(sql, params, "full_scan")]


def fill(pg, table, *, rows=ROWS):
    pg(
        f"INSERT INTO {table} (title, author_id, pages, added) "
        f"SELECT 't' || n, n %% 3000, n, date '2026-01-01' + n %% 365 FROM generate_series(1, {rows}) n",
        [],
    )


COLUMNS = "id bigserial, title varchar(100), author_id int, pages int, added date"


@pytest.fixture
def books(pg):
    pg(f"CREATE TABLE library_book ({COLUMNS}, PRIMARY KEY (id)) WITH (autovacuum_enabled = off)")
    fill(pg, "library_book")
    pg("ANALYZE")
    return pg


@pytest.fixture
def partitioned(pg):
    """Books in a partition for each half of the year; the second one in two."""
    pg(f"CREATE TABLE library_book ({COLUMNS}) PARTITION BY RANGE (added)")
    pg("CREATE TABLE book_spring PARTITION OF library_book FOR VALUES FROM ('2026-01-01') TO ('2026-07-01')")
    pg(
        "CREATE TABLE book_autumn PARTITION OF library_book FOR VALUES FROM ('2026-07-01') TO ('2027-01-01') "
        "PARTITION BY LIST (pages)"
    )
    pg("CREATE TABLE book_page_9 PARTITION OF book_autumn FOR VALUES IN (200)")
    pg("CREATE TABLE book_other PARTITION OF book_autumn DEFAULT")
    fill(pg, "library_book")
    pg("ANALYZE")
    return pg


BY_TITLE = 'SELECT * FROM "library_book" WHERE "library_book"."title" = %s'


# Partitions


def test_partitions_are_one_table_with_one_fault_on_the_model(partitioned):
    (fault,) = faults(BY_TITLE, None, "full_scan")

    assert (fault.subject, fault.certain) == ("Book", True)
    assert fault.evidence["fields"] == ["title"]
    assert fault.evidence["table_rows"] == ROWS
    partitioned("CREATE INDEX ON library_book (title)")
    assert faults(BY_TITLE, None, "full_scan") == []


def test_of_partitions_those_that_are_scanned_count(partitioned):
    sql = f'{BY_TITLE} AND "library_book"."added" < %s'

    (fault,) = faults(sql, ["t7", "2026-03-01"], "full_scan")

    (spring,) = partitioned("SELECT count(*) FROM book_spring")[0]
    assert fault.evidence["table_rows"] == spring
    assert fault.evidence["fields"] == ["title", "added"]


def test_a_partition_that_is_wanted_whole_is_no_fault(partitioned):
    sql = 'SELECT * FROM "library_book" WHERE "library_book"."added" >= %s AND "library_book"."added" < %s'

    reading = read(sql, ["2026-01-01", "2026-07-01"])

    assert [node.relation for node in reading.plan.walk() if node.relation] == ["book_spring"]
    assert reading.faults == []
    assert wanted(sql, ["2026-02-01", "2026-02-03"]) == [("Book", ["added"])]


def test_the_same_partitioned_table_twice(partitioned):
    sql = (
        'SELECT T2."id" FROM "library_book" INNER JOIN "library_book" T2 ON ("library_book"."pages" = T2."author_id") '
        'WHERE "library_book"."title" = %s'
    )

    assert wanted(sql)[0] == ("Book", ["title"])


def test_statistics_of_partitions_are_told_of_the_table(partitioned):
    assert faults(BY_TITLE, None, "stale_statistics") == []

    partitioned("UPDATE library_book SET title = title || 'x'")
    partitioned("SELECT pg_stat_force_next_flush()")
    deadline = time.monotonic() + 30  # the server counts when it comes to it
    while not (found := faults(BY_TITLE, None, "stale_statistics")):
        assert time.monotonic() < deadline

    assert [(one.subject, one.code) for one in found] == [("Book", 'ANALYZE "library_book"')]


def test_tables_that_inherit_are_told_of_the_parent(books):
    books("CREATE TABLE old_book () INHERITS (library_book)")
    fill(books, "old_book")
    books("ANALYZE")

    (fault,) = faults(BY_TITLE, None, "full_scan")

    assert (fault.subject, fault.evidence["table_rows"]) == ("Book", 2 * ROWS)


# Schemas


@pytest.fixture
def orders(pg):
    """An ``order`` in two schemas; the one of ``public`` is small."""
    pg("DROP SCHEMA IF EXISTS sales CASCADE")
    pg("CREATE SCHEMA sales")
    for schema, rows in (("public", 10), ("sales", ROWS)):
        pg(f'CREATE TABLE {schema}."order" (id bigserial PRIMARY KEY, customer int, total int)')
        pg(f'INSERT INTO {schema}."order" (customer, total) SELECT n %% 3000, n FROM generate_series(1, {rows}) n', [])
    pg("ANALYZE")
    yield pg
    pg("SET search_path TO DEFAULT")
    pg("DROP SCHEMA sales CASCADE")


def test_a_table_in_a_schema_is_told_of_its_model(orders):
    sql = 'SELECT * FROM "sales"."order" WHERE "sales"."order"."customer" = %s'

    (fault,) = faults(sql, None, "full_scan")

    assert (fault.subject, fault.evidence["fields"]) == ("Order", ["customer"])
    assert fault.evidence["table_rows"] == ROWS
    orders('CREATE INDEX ON sales."order" (customer)')
    assert faults(sql) == []


def test_a_table_of_the_same_name_elsewhere_is_another(orders):
    assert faults('SELECT * FROM "order" WHERE "order"."customer" = %s') == []
    assert faults('SELECT * FROM "public"."order" WHERE "public"."order"."customer" = %s') == []

    both = (
        'SELECT * FROM "public"."order" INNER JOIN "sales"."order" '
        'ON ("public"."order"."id" = "sales"."order"."total") '
        'WHERE "public"."order"."total" = %s AND "sales"."order"."customer" = %s'
    )
    assert [(subject, fields[0]) for subject, fields in wanted(both, [1, 2])] == [("Order", "customer")]


def test_a_table_that_the_search_path_finds(orders):
    orders("SET search_path TO sales")

    (fault,) = faults('SELECT * FROM "order" WHERE "order"."total" = %s', None, "full_scan")

    assert fault.evidence["table_rows"] == ROWS
    assert "sales.order" in fault.summary


def test_an_index_without_a_model_is_created_in_the_right_schema(orders):
    orders('CREATE TABLE sales.unknown AS SELECT * FROM sales."order"')
    orders("ANALYZE sales.unknown")
    sql = 'SELECT * FROM "sales"."unknown" u WHERE u."customer" = %s'

    (fault,) = faults(sql, None, "full_scan")

    orders(fault.code)
    assert 'ON "sales"."unknown" ("customer")' in fault.code
    assert faults(sql, None, "full_scan") == []


def test_statistics_in_a_schema(orders):
    orders('UPDATE sales."order" SET total = 0')
    orders("SELECT pg_stat_force_next_flush()")
    sql = 'SELECT * FROM "sales"."order" WHERE "sales"."order"."customer" = %s'
    deadline = time.monotonic() + 30
    while not (found := faults(sql, None, "stale_statistics")):
        assert time.monotonic() < deadline

    assert [one.code for one in found] == ['ANALYZE "sales"."order"']
    assert faults('SELECT * FROM "order"', None, "stale_statistics") == []


@pytest.mark.parametrize(
    ("table", "model"),
    [
        (TableName("order", "sales"), Order),
        (TableName("order"), None),
        (TableName("order", "public"), None),
        (TableName("library_book"), Book),
        (TableName("library_book", "tenant"), Book),
    ],
)
def test_the_model_of_a_table(table, model):
    assert model_of(table) is model


def test_the_tables_of_a_statement_keep_their_schemas():
    assert tables('SELECT * FROM "sales"."order" INNER JOIN "b" ON (TRUE)') == ('sales"."order', "b")
    assert tables("SELECT * FROM `shop`.`order` JOIN b ON TRUE") == ("shop`.`order", "b")


# Views


def test_what_is_beneath_a_view_is_told_of_its_table_and_marked_as_not_certain(books):
    books("CREATE VIEW shown AS SELECT b.id, b.title AS label, b.pages FROM library_book b WHERE b.pages > 0")
    sql = 'SELECT * FROM "shown" WHERE "shown"."label" = %s'

    (fault,) = faults(sql)

    assert (fault.kind, fault.subject, fault.certain) == ("full_scan", "Book", False)
    assert fault.evidence["fields"][0] == "title"
    books("CREATE INDEX ON library_book (title)")
    assert faults(sql) == []


def test_a_view_of_a_partitioned_table(partitioned):
    partitioned("CREATE VIEW shown AS SELECT title AS label FROM library_book")

    (fault,) = faults('SELECT * FROM "shown" WHERE "shown"."label" = %s', None, "full_scan")

    assert (fault.subject, fault.evidence["table_rows"]) == ("Book", ROWS)


def test_a_view_that_is_read_whole_is_no_fault(books):
    books("CREATE VIEW counted AS SELECT author_id, count(*) AS n FROM library_book GROUP BY author_id")

    assert faults('SELECT * FROM "counted" WHERE "counted"."n" > %s') == []


def test_a_materialised_view_is_a_table(books):
    books("CREATE MATERIALIZED VIEW kept AS SELECT * FROM library_book")
    books("ANALYZE kept")

    (fault,) = faults('SELECT * FROM "kept" WHERE "kept"."title" = %s', None, "full_scan")

    assert (fault.subject, fault.certain) == ("kept", True)
    assert 'ON "kept" ("title")' in fault.code


# One table in several blocks


UNION = (
    '(SELECT "library_book"."id" FROM "library_book" WHERE "library_book"."title" = %s) {} '
    '(SELECT "library_book"."id" FROM "library_book" WHERE "library_book"."pages" = %s)'
)


@pytest.mark.parametrize("word", ["UNION", "UNION ALL", "EXCEPT"])
def test_each_side_of_a_union_wants_its_own_index(books, word):
    assert wanted(UNION.format(word)) == [("Book", ["title"]), ("Book", ["pages"])]
    assert all(fault.certain for fault in faults(UNION.format(word)))

    books("CREATE INDEX ON library_book (pages)")
    assert wanted(UNION.format(word)) == [("Book", ["title"])]
    books("CREATE INDEX ON library_book (title)")
    assert wanted(UNION.format(word)) == []


def test_a_subquery_on_the_same_table_wants_its_own_index(books):
    sql = (
        'SELECT * FROM "library_book" WHERE "library_book"."pages" = %s AND EXISTS '
        '(SELECT 1 FROM "library_book" WHERE "library_book"."title" = %s)'
    )

    assert sorted(wanted(sql)) == [("Book", ["pages"]), ("Book", ["title"])]


def test_two_derived_tables_of_one_table(books):
    sql = (
        'SELECT COUNT(*) FROM (SELECT b."author_id" FROM "library_book" b WHERE b."title" = %s) x '
        'INNER JOIN (SELECT b."author_id" FROM "library_book" b WHERE b."pages" = %s) y '
        'ON (x."author_id" = y."author_id")'
    )

    assert sorted(fields[0] for _, fields in wanted(sql)) == ["pages", "title"]
    assert not any({"title", "pages"} <= set(fields) for _, fields in wanted(sql))


def test_a_condition_outside_of_a_derived_table_reaches_the_table(books):
    sql = 'SELECT * FROM (SELECT b."id", b."title" AS label FROM "library_book" b) x WHERE x."label" = %s'

    assert wanted(sql) == [("Book", ["title"])]


def test_a_cte_is_no_table(books):
    books("CREATE TABLE recent (id int, title text)")
    sql = (
        'WITH recent AS MATERIALIZED (SELECT * FROM "library_book" WHERE "library_book"."pages" = %s) '
        'SELECT * FROM recent WHERE recent."title" = %s'
    )

    assert wanted(sql) == [("Book", ["pages"])]
    books("CREATE INDEX ON library_book (pages)")
    assert wanted(sql) == []


def test_a_cte_of_the_tables_own_name_reads_the_table(books):
    sql = (
        "WITH library_book AS MATERIALIZED (SELECT * FROM library_book WHERE pages = %s) "
        "SELECT * FROM library_book WHERE title = %s"
    )

    assert wanted(sql) == [("Book", ["pages"])]
