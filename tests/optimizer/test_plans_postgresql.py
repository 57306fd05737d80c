"""PostgreSQL's plans into the same tree, and each fault on a real plan that has it and one that hasn't."""

from __future__ import annotations

import io
import json
import time

import pytest
from django.core.management import call_command
from django.db import connections

from noa_perf.optimizer.plans import advise, measured, postgresql
from noa_perf.optimizer.plans.tree import Step

pytestmark = [pytest.mark.server]

ROWS = 20_000
TELL = "SELECT pg_stat_force_next_flush()"
"""Before ANALYZE: a session tells of its changes when it likes, and what it tells late counts as not yet analysed."""


@pytest.fixture
def books(pg):
    pg(
        "CREATE TABLE library_book (id bigserial PRIMARY KEY, title text, author_id int, pages int, "
        "blurb text, added date) WITH (autovacuum_enabled = off)"
    )
    pg(
        "INSERT INTO library_book (title, author_id, pages, blurb, added) "
        "SELECT 't' || n, n %% 50, n, repeat('x', 50), date '2020-01-01' + n %% 1000 "
        f"FROM generate_series(1, {ROWS}) n",
        [],
    )
    pg(TELL)
    pg("ANALYZE library_book")
    return pg


def read(sql, params=None, *, analyze=False, **known):
    return advise.read(advise.Asked("pg", sql, **known), params, analyze=analyze)


def kinds(reading):
    assert not reading.unavailable
    return sorted({fault.kind for fault in reading.faults})


SCAN = 'SELECT * FROM "library_book" WHERE "library_book"."title" = %s'


def test_a_statement_without_its_values_is_planned_for_any(books):
    reading = read(SCAN)

    assert [node.step for node in reading.plan.walk()] == [Step.SCAN]
    assert not reading.plan.analyzed
    assert kinds(reading) == ["full_scan"]
    assert 'models.Index(fields=["title"]' in reading.faults[0].code


def test_with_its_values_it_is_planned_for_these_and_run_only_on_demand(books):
    planned, run = read(SCAN, ["t7"]), read(SCAN, ["t7"], analyze=True)

    (node,) = planned.plan.walk()
    assert (node.actual, node.ms) == (None, None)
    (node,) = run.plan.walk()
    assert (node.actual, node.loops, node.removed) == (1, 1, ROWS - 1)
    assert node.ms > 0
    assert run.plan.analyzed


def test_the_index_that_is_advised_mends_it(books):
    books("CREATE INDEX ON library_book (title)")

    reading = read(SCAN)

    assert kinds(reading) == []
    assert {node.step for node in reading.plan.walk()} <= {Step.SEARCH, Step.BITMAP}


def test_a_filter_and_an_order_want_one_index(books):
    sql = (
        'SELECT * FROM "library_book" WHERE "library_book"."title" = %s '
        'ORDER BY "library_book"."pages" DESC, "library_book"."id" ASC LIMIT 5'
    )

    (fault,) = read(sql).faults

    assert fault.evidence["fields"] == ["title", "-pages", "id"]
    books("CREATE INDEX ON library_book (title, pages DESC, id)")
    assert kinds(read(sql)) == []


def test_a_sort_for_the_first_few_rows(books):
    sql = 'SELECT * FROM "library_book" ORDER BY "library_book"."pages" DESC LIMIT 5'

    assert kinds(read(sql)) == ["sort_without_index"]
    books("CREATE INDEX ON library_book (pages)")
    assert kinds(read(sql)) == []


def test_most_of_a_table_is_scanned_rightly(books):
    assert kinds(read('SELECT * FROM "library_book" WHERE "library_book"."pages" > %s', [10])) == []


def test_a_function_hides_an_index(books):
    books("CREATE INDEX ON library_book (title)")
    sql = 'SELECT * FROM "library_book" WHERE UPPER("library_book"."title"::text) = %s'

    assert kinds(read(sql)) == ["function_hides_index"]
    books("CREATE INDEX ON library_book (upper(title::text))")
    books(TELL)
    books("ANALYZE library_book")
    assert kinds(read(sql)) == []


@pytest.mark.parametrize(
    ("column", "value", "hidden"),
    [
        ('"library_book"."pages"::text', "'7'", True),
        ('CAST("library_book"."added" AS timestamp)', "'2020-01-02'", True),
        ('"library_book"."pages"', "7.5", True),  # the server casts the column to numeric
        ('"library_book"."pages"', "7", False),
        ('"library_book"."short"::text', "'t7'", False),  # varchar to text is no change
        ('"library_book"."title"::varchar', "'t7'", False),
    ],
)
def test_a_cast_hides_an_index_unless_it_changes_nothing(books, column, value, hidden):
    books("ALTER TABLE library_book ADD short varchar(50)")
    books("UPDATE library_book SET short = title")
    books(TELL)
    books("VACUUM ANALYZE library_book")
    sql = f'SELECT * FROM "library_book" WHERE {column} = {value}'

    assert kinds(read(sql)) == (["function_hides_index"] if hidden else ["full_scan"])
    for name in ("pages", "added", "short", "title"):
        books(f"CREATE INDEX ON library_book ({name})")
    assert kinds(read(sql)) == (["function_hides_index"] if hidden else [])


@pytest.mark.parametrize(("wildcard", "expected"), [(True, ["leading_wildcard"]), (False, [])])
def test_a_leading_wildcard(books, wildcard, expected):
    assert (
        kinds(read('SELECT * FROM "library_book" WHERE "library_book"."title"::text LIKE %s', wildcard=wildcard))
        == expected
    )


def test_a_comparison_within_a_row_wants_no_index(books):
    for condition in (
        '"library_book"."pages" = "library_book"."author_id"',
        "pages > author_id * 1.5",
        "title = upper(blurb)",
    ):
        assert kinds(read(f'SELECT * FROM "library_book" WHERE {condition}')) == []


def test_a_list_of_values(books):
    sql = 'SELECT * FROM "library_book" WHERE "library_book"."title" IN (%s, %s)'

    (fault,) = read(sql).faults
    assert (fault.kind, fault.evidence["fields"]) == ("full_scan", ["title"])
    assert kinds(read('SELECT * FROM "library_book" WHERE "library_book"."author_id" IN (%s, %s)', [1, 2])) == [
        "full_scan"
    ]
    most = ", ".join(str(number) for number in range(40))
    assert kinds(read(f'SELECT * FROM "library_book" WHERE "library_book"."author_id" IN ({most})')) == []


def test_a_wildcard_within_a_function_is_the_wildcards_fault(books):
    sql = 'SELECT * FROM "library_book" WHERE UPPER("library_book"."title"::text) LIKE UPPER(%s)'

    assert kinds(read(sql, ["%t7%"])) == ["leading_wildcard"]
    assert kinds(read(sql, ["t7%"])) == ["function_hides_index"]


def test_an_incremental_sort_is_stopped_early_too(books):
    books("CREATE INDEX ON library_book (author_id)")
    books(TELL)
    books("ANALYZE library_book")
    books("SET enable_seqscan = off")
    sql = 'SELECT * FROM "library_book" ORDER BY "library_book"."author_id" ASC, "library_book"."title" ASC LIMIT 5'
    reading = read(sql, [], analyze=True)
    books("RESET enable_seqscan")

    assert any(node.detail.startswith("Incremental Sort") for node in reading.plan.walk())
    assert "row_misestimate" not in kinds(reading)


@pytest.mark.parametrize(("pattern", "expected"), [("%t7", ["leading_wildcard"]), ("t7%", [])])
def test_a_wildcard_is_seen_in_the_statement_and_in_its_values(books, pattern, expected):
    text = f"SELECT * FROM library_book WHERE library_book.title LIKE '{pattern}'"

    assert kinds(read(text)) == expected
    assert kinds(read("SELECT * FROM library_book WHERE library_book.title LIKE %s", [pattern])) == expected


def test_workers_share_what_they_read(books):
    """Of what is selected each of them sees a part; together it is most of the table."""
    for name in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size"):
        books(f"SET {name} = 0")
    sql = 'SELECT "library_book"."title" FROM "library_book" WHERE "library_book"."pages" > %s'
    most, few = read(sql, [8_000]), read(sql, [19_990], analyze=True)
    for name in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size"):
        books(f"RESET {name}")

    (scan,) = [node for node in most.plan.walk() if node.step is Step.SCAN]
    assert most.plan.roots[0].detail == few.plan.roots[0].detail == "Gather"
    assert scan.rows == pytest.approx(12_000, rel=0.02)
    assert kinds(most) == []
    (scan,) = [node for node in few.plan.walk() if node.step is Step.SCAN]
    # The server rounds what each of them saw.
    assert (scan.actual, scan.removed, scan.loops) == (pytest.approx(10, abs=3), pytest.approx(ROWS - 10, abs=3), 1)
    assert kinds(few) == ["full_scan"]


def test_a_deep_offset(books):
    assert "deep_offset" in kinds(
        read('SELECT * FROM "library_book" ORDER BY "library_book"."id" LIMIT 10 OFFSET 9000')
    )
    assert kinds(read('SELECT * FROM "library_book" ORDER BY "library_book"."id" LIMIT 10 OFFSET 10')) == []


def test_rows_that_were_not_expected(books):
    books("CREATE TABLE skewed (a int, b int) WITH (autovacuum_enabled = off)")
    books(f"INSERT INTO skewed SELECT n %% 100, n %% 100 FROM generate_series(1, {ROWS}) n", [])
    books("ANALYZE skewed")
    sql = 'SELECT * FROM "skewed" WHERE "skewed"."a" = %s AND "skewed"."b" = %s'

    found = read(sql, [7, 7], analyze=True)

    assert "row_misestimate" in kinds(found)
    fault = next(one for one in found.faults if one.kind == "row_misestimate")
    assert fault.evidence["actual"] == 200
    assert fault.evidence["factor"] >= 10
    books("CREATE STATISTICS both_columns (dependencies) ON a, b FROM skewed")
    books("ANALYZE skewed")
    assert "row_misestimate" not in kinds(read(sql, [7, 7], analyze=True))


@pytest.mark.parametrize(
    "sql",
    [
        'SELECT * FROM "library_book" ORDER BY "library_book"."id" ASC LIMIT 3',
        'SELECT 1 WHERE EXISTS (SELECT 1 FROM "library_book" WHERE "library_book"."pages" > 3 LIMIT 1)',
        (
            'SELECT * FROM "library_book" WHERE "library_book"."author_id" IN '
            '(SELECT U0."author_id" FROM "library_book" U0 WHERE U0."pages" > 5) AND "library_book"."id" < 3'
        ),
    ],
)
def test_what_is_stopped_early_was_not_expected_wrongly(books, sql):
    assert kinds(read(sql, [], analyze=True)) == []


def test_a_scan_that_is_left_late_is_a_fault_though_few_rows_came(books):
    sql = 'SELECT * FROM "library_book" WHERE "library_book"."pages" = %s LIMIT 1'

    (fault,) = read(sql, [19_000], analyze=True).faults
    assert (fault.kind, fault.evidence["rows_selected"]) == ("full_scan", pytest.approx(1, abs=0.1))
    assert kinds(read(sql, [5], analyze=True)) == []


def test_a_sort_that_goes_to_disk(books):
    sql = 'SELECT "library_book"."blurb" FROM "library_book" ORDER BY "library_book"."blurb", "library_book"."title"'

    books("SET work_mem = '64kB'")
    found = read(sql, analyze=True)
    books("SET work_mem = '64MB'")

    assert "sort_spill" in kinds(found)
    assert next(one for one in found.faults if one.kind == "sort_spill").evidence["spill_kb"] > 0
    assert "sort_spill" not in kinds(read(sql, analyze=True))


def test_a_hash_that_goes_to_disk(books):
    sql = (
        'SELECT COUNT(*) FROM "library_book" INNER JOIN "library_book" T2 ON ("library_book"."pages" = T2."pages") '
        'WHERE length(T2."blurb") > 1'
    )
    books("SET enable_mergejoin = off")
    books("SET work_mem = '64kB'")
    found = read(sql, analyze=True)
    books("SET work_mem = '64MB'")
    calm = read(sql, analyze=True)
    books("RESET enable_mergejoin")

    assert "hash_spill" in kinds(found)
    assert "hash_spill" not in kinds(calm)


def test_a_nested_loop_that_runs_a_scan_for_each_row(books):
    sql = (
        'SELECT COUNT(*) FROM "library_book" INNER JOIN "library_book" T2 '
        'ON ("library_book"."pages" = T2."author_id") WHERE "library_book"."id" < 3000'
    )
    for method in ("hashjoin", "mergejoin", "material", "memoize"):
        books(f"SET enable_{method} = off")
    found = read(sql.replace("3000", "1200"), analyze=False)
    books("CREATE INDEX ON library_book (author_id)")
    books(TELL)
    books("ANALYZE library_book")
    calm = read(sql)
    for method in ("hashjoin", "mergejoin", "material", "memoize"):
        books(f"RESET enable_{method}")

    assert "nested_loop" in kinds(found)
    assert "nested_loop" not in kinds(calm)


def test_a_filter_that_removes_most_of_what_an_index_finds(books):
    books("CREATE INDEX by_author ON library_book (author_id, pages)")
    books("UPDATE library_book SET author_id = 1")
    books(TELL)
    books("VACUUM ANALYZE library_book")
    books("SET enable_seqscan = off")
    sql = 'SELECT * FROM "library_book" WHERE "library_book"."author_id" = %s AND "library_book"."title" = %s'

    found = read(sql, [1, "t7"], analyze=True)
    books("CREATE INDEX ON library_book (author_id, title)")
    calm = read(sql, [1, "t7"], analyze=True)
    books("RESET enable_seqscan")

    assert "filter_removes_most" in kinds(found)
    assert kinds(calm) == []


def test_few_rows_returned_of_many_that_an_index_finds(books):
    books("CREATE TABLE library_author (id int PRIMARY KEY, name text) WITH (autovacuum_enabled = off)")
    books("INSERT INTO library_author SELECT n, 'a' || n FROM generate_series(1, 20000) n")
    books("CREATE INDEX by_author ON library_book (author_id)")
    books("UPDATE library_book SET author_id = 1")
    books("VACUUM ANALYZE library_book, library_author")
    for method in ("seqscan", "hashjoin", "mergejoin"):
        books(f"SET enable_{method} = off")
    joined = (
        'SELECT * FROM "library_book" INNER JOIN "library_author" ON ("library_book"."pages" = "library_author"."id") '
        'WHERE "library_book"."author_id" = %s AND length("library_author"."name") = %s'
    )

    found, whole = read(joined, [1, 2], analyze=True), read(joined, [1, 6], analyze=True)
    grouped = read('SELECT COUNT(*) FROM "library_book" WHERE "library_book"."author_id" = %s', [1], analyze=True)
    for method in ("seqscan", "hashjoin", "mergejoin"):
        books(f"RESET enable_{method}")

    (fault,) = [one for one in found.faults if one.kind == "few_of_many"]
    assert (fault.subject, fault.evidence) == ("Book", {"read": ROWS, "returned": 9})
    assert "few_of_many" not in kinds(whole) + kinds(grouped)


def test_a_sort_that_reads_much_for_little_is_told_once(books):
    books("CREATE INDEX ON library_book (author_id)")
    books("UPDATE library_book SET author_id = 1")
    books(TELL)
    books("VACUUM ANALYZE library_book")
    books("SET enable_seqscan = off")
    sql = (
        'SELECT * FROM "library_book" WHERE "library_book"."author_id" = %s ORDER BY "library_book"."pages" ASC LIMIT 5'
    )
    found = read(sql, [1], analyze=True)
    books("CREATE INDEX ON library_book (author_id, pages)")
    calm = read(sql, [1], analyze=True)
    books("RESET enable_seqscan")

    assert kinds(found) == ["sort_without_index"]
    assert kinds(calm) == []


def test_a_lossy_bitmap(books):
    books("CREATE TABLE broad (a int, pad text) WITH (autovacuum_enabled = off)")
    books("INSERT INTO broad SELECT n %% 7, repeat('x', 900) FROM generate_series(1, 40000) n", [])
    books("CREATE INDEX ON broad (a)")
    books("VACUUM ANALYZE broad")
    books("SET work_mem = '64kB'")
    books("SET enable_seqscan = off")
    sql = 'SELECT COUNT("broad"."pad") FROM "broad" WHERE "broad"."a" = %s'
    found = read(sql, [3], analyze=True)
    books("SET work_mem = '64MB'")
    calm = read(sql, [3], analyze=True)
    books("RESET enable_seqscan")

    assert "lossy_bitmap" in kinds(found)
    assert "lossy_bitmap" not in kinds(calm)


def test_compilation_that_costs_more_than_it_saves_on_a_real_plan(books):
    for name in ("jit_above_cost", "jit_inline_above_cost", "jit_optimize_above_cost"):
        books(f"SET {name} = 0")
    books("SET jit = on")
    sql = 'SELECT SUM("pages" * 2 + length("title")), AVG("author_id") FROM "library_book" WHERE "pages" > %s'
    found = read(sql, [5], analyze=True)
    books("SET jit = off")
    calm = read(sql, [5], analyze=True)

    assert "jit_overhead" in kinds(found)
    assert found.plan.facts["jit_ms"] > 0
    assert "jit_overhead" not in kinds(calm)


def test_the_share_of_compilation_from_which_it_counts():
    document = [
        {
            "Plan": {"Node Type": "Seq Scan", "Relation Name": "t", "Alias": "t", "Plan Rows": 1, "Total Cost": 9.0},
            "JIT": {"Functions": 9, "Timing": {"Total": 200.0}},
            "Planning Time": 1.0,
            "Execution Time": 240.0,
        }
    ]
    plan = postgresql.parse(document)

    assert [fault.kind for fault in measured.faults(plan)] == ["jit_overhead"]
    document[0]["JIT"] = {"Functions": 9, "Timing": {"Total": 12.0}}
    assert list(measured.faults(postgresql.parse(document))) == []


def test_statistics_that_are_out_of_date(books):
    assert "stale_statistics" not in kinds(read(SCAN))

    books("UPDATE library_book SET pages = pages + 1 WHERE id <= 15000")
    books("SELECT pg_stat_force_next_flush()")
    deadline = time.monotonic() + 30  # the server counts when it comes to it
    while "stale_statistics" not in kinds(found := read(SCAN)):
        assert time.monotonic() < deadline
    assert next(one for one in found.faults if one.kind == "stale_statistics").code == 'ANALYZE "library_book"'


def test_what_analyze_runs_is_rolled_back(books):
    reading = read("UPDATE library_book SET pages = 0", [], analyze=True)

    assert reading.plan.analyzed
    assert books("SELECT count(*) FROM library_book WHERE pages = 0") == [(0,)]


def test_a_statement_that_takes_too_long_is_given_up(books):
    books("SELECT 1")
    with pytest.raises(Exception, match="statement timeout"):
        postgresql.explain(connections["pg"], "SELECT pg_sleep(60)", [], analyze=True, timeout_ms=50)

    assert books("SELECT 1") == [(1,)]
    assert books("SHOW statement_timeout") == [("0",)]


def test_text_with_percent_signs_and_quotes_survives(books):
    sql = "SELECT * FROM library_book WHERE title = %s AND blurb LIKE '10%%' AND title <> '$1'"

    assert read(sql).plan is not None


def test_named_parameters(books):
    assert read("SELECT * FROM library_book WHERE title = %(title)s AND pages = %(pages)s").plan is not None


def test_what_cannot_be_planned_says_so(books):
    assert "ProgrammingError" in read("SELECT * FROM no_such_table").unavailable
    assert "no_such" not in read("SELECT * FROM no_such_table").unavailable


def test_no_value_is_in_a_reading_without_values(books):
    reading = read('SELECT * FROM "library_book" WHERE "library_book"."title" = %s AND "library_book"."pages" > %s')

    text = json.dumps([reading.plan.drawn(), [fault.evidence for fault in reading.faults]])
    assert "NULL" not in text
    assert "$1" in text


def test_the_tree_is_drawn_with_rows_and_conditions(books):
    sql = (
        'SELECT T2."id" FROM "library_book" INNER JOIN "library_book" T2 ON ("library_book"."pages" = T2."id") '
        'WHERE "library_book"."title" = %s'
    )
    drawn = read(sql, ["t7"], analyze=True).plan.drawn()

    assert drawn[0].startswith("Nested Loop")
    assert any(line.startswith("├─ Seq Scan on library_book") for line in drawn)
    assert any("filter: (library_book.title = 't7'::text)" in line for line in drawn)
    assert any("└─ Index" in line and "using library_book_pkey" in line for line in drawn)
    assert "came 1" in drawn[0]


def explain(sql, **options):
    out = io.StringIO()
    call_command("perf_explain", sql, database="pg", stdout=out, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("sql", "refused"),
    [
        ("SELECT nextval('numbers')", "nextval"),
        ("SELECT harmful()", "harmful"),
        ("SELECT count(*), random(), upper('x') FROM generate_series(1, 3)", ""),
        ("INSERT INTO kept (x) VALUES (1)", ""),
        ("UPDATE kept SET x = 2", ""),
        ("INSERT INTO numbered (x) VALUES (1)", "the sequence of id"),
        ("INSERT INTO identified (x) VALUES (1)", "the sequence of id"),
        ("UPDATE watched SET x = 1", "trigger tell"),
        ("WITH gone AS (DELETE FROM watched RETURNING x) SELECT * FROM gone", "trigger tell"),
    ],
)
def test_what_a_rollback_would_not_undo_is_refused(pg, sql, refused):
    pg("CREATE SEQUENCE numbers")
    pg("CREATE TABLE kept (x int)")
    pg("CREATE TABLE numbered (id serial, x int)")
    pg("CREATE TABLE identified (id int GENERATED ALWAYS AS IDENTITY, x int)")
    pg("CREATE TABLE watched (x int)")
    pg("CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
    pg("CREATE TRIGGER tell BEFORE UPDATE OR DELETE ON watched FOR EACH ROW EXECUTE FUNCTION told()")
    pg("CREATE FUNCTION harmful() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1'")

    text = explain(sql, analyze=True)

    assert ("Leave --analyze out" in text) is bool(refused)
    assert refused in text
    assert pg("SELECT count(*) FROM kept") == [(0,)]
    assert pg("SELECT is_called FROM numbers") == [(False,)]


def test_an_analyzed_plan_shows_what_came(pg):
    pg("CREATE TABLE kept AS SELECT generate_series(1, 50) AS x")

    text = explain("SELECT * FROM kept WHERE x > 40", analyze=True)

    assert "came 10" in text
    assert "40 filtered out" in text


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; CREATE TABLE harmed (x int); COMMIT",
        "SELECT 1; COMMIT; INSERT INTO kept VALUES (1)",
        "UPDATE kept SET x = 1; COMMIT; SELECT 1",
    ],
)
@pytest.mark.parametrize("analyze", [False, True])
def test_only_one_statement_is_sent(pg, sql, analyze):
    pg("CREATE TABLE kept (x int)")

    assert "one statement" in read(sql, analyze=analyze).unavailable
    assert pg("SELECT to_regclass('harmed'), count(*) FROM kept") == [(None, 0)]


def test_what_reads_is_held_to_reading(pg):
    pg("CREATE SEQUENCE numbers")
    pg("CREATE VIEW drawing AS SELECT nextval('numbers') AS n")

    assert read("SELECT * FROM drawing", [], analyze=True).unavailable
    assert pg("SELECT is_called FROM numbers") == [(False,)]


def test_a_statement_that_cannot_be_planned_spoils_no_later_one(books):
    for sql in (
        "SELECT * FROM library_book WHERE title = %s AND pages = 1/0 AND 1 = 1/0",
        "SELECT * FROM nothing WHERE x = %s",
    ):
        read(sql)

    assert kinds(read(SCAN)) == ["full_scan"]
    assert books("SELECT count(*) FROM pg_prepared_statements") == [(0,)]


def test_aliases_without_quotes_are_known(books):
    sql = (
        'SELECT "library_book"."id" FROM "library_book" INNER JOIN "library_book" T2 '
        'ON ("library_book"."id" = T2."id") WHERE T2."title" = %s'
    )

    assert [fault.evidence["fields"] for fault in read(sql).faults if fault.kind == "full_scan"] == [["title"]]


def test_a_condition_on_groups_hides_no_index(books):
    sql = (
        'SELECT "library_book"."author_id", COUNT("library_book"."id") FROM "library_book" '
        'GROUP BY "library_book"."author_id" HAVING COUNT("library_book"."id") > %s'
    )

    assert "function_hides_index" not in kinds(read(sql))


def test_a_function_beside_a_plain_comparison_costs_no_advice(books):
    sql = 'SELECT * FROM "library_book" WHERE "library_book"."author_id" = %s AND UPPER("library_book"."title") = %s'

    assert [fault.evidence["fields"] for fault in read(sql).faults] == [["author"]]


def test_a_table_with_a_quote_in_its_name(pg):
    pg('CREATE TABLE "we""ird" (x int)')

    assert read('SELECT * FROM "we""ird" WHERE "we""ird"."x" = %s').plan is not None
