"""MariaDB's plans into the same tree, and each fault on a real plan that has it and one that hasn't."""

from __future__ import annotations

import io
import json

import pytest
from django.core.management import call_command
from django.db import connections, transaction

from noa_perf.optimizer.plans import advise, mariadb
from noa_perf.optimizer.plans.tree import Step
from tests.servers.mariadb import Mariadb
from tests.servers.registry import get

pytestmark = [pytest.mark.server]

ROWS = 20_000


@pytest.fixture
def mariadb_server(maria):
    return get(Mariadb)


@pytest.fixture
def books(maria):
    maria(
        "CREATE TABLE library_book (id bigint AUTO_INCREMENT PRIMARY KEY, title varchar(100), author_id int, "
        "pages int, blurb text, added date)"
    )
    maria(
        "INSERT INTO library_book (title, author_id, pages, blurb, added) SELECT concat('t', seq), seq % 50, seq, "
        f"repeat('x', 50), date '2020-01-01' + INTERVAL seq % 1000 DAY FROM seq_1_to_{ROWS}"
    )
    maria("ANALYZE TABLE library_book")
    return maria


def read(sql, params=None, *, analyze=False, **known):
    return advise.read(advise.Asked("maria", sql, **known), params, analyze=analyze)


def kinds(reading):
    assert not reading.unavailable
    return sorted({fault.kind for fault in reading.faults})


def wanted(sql, params=None):
    """Return the indexes that are asked for: subject, fields and whether that is certain."""
    return sorted(
        (one.subject, *(one.evidence.get("fields") or [one.code]), one.certain)
        for one in read(sql, params).faults
        if one.kind == "full_scan"
    )


SCAN = "SELECT * FROM `library_book` WHERE `library_book`.`title` = %s"


def test_a_missing_index_is_named_and_mends_it(books):
    (fault,) = read(SCAN).faults

    assert (fault.kind, fault.subject, fault.evidence["fields"]) == ("full_scan", "Book", ["title"])
    assert fault.evidence["table_rows"] == pytest.approx(ROWS, rel=0.1)
    books("CREATE INDEX mended ON library_book (title)")
    reading = read(SCAN)
    assert kinds(reading) == []
    assert [(node.step, node.index) for node in reading.plan.walk()] == [(Step.SEARCH, "mended")]


def test_run_on_demand_it_tells_what_came(books):
    planned, run = read(SCAN, ["t7"]), read(SCAN, ["t7"], analyze=True)

    (node,) = planned.plan.walk()
    assert (planned.plan.analyzed, node.actual, node.ms) == (False, None, None)
    (node,) = run.plan.walk()
    assert (node.actual, node.loops, node.removed) == (pytest.approx(1), 1, pytest.approx(ROWS - 1))
    assert run.plan.analyzed
    assert node.ms > 0


def test_a_filter_and_an_order_want_one_index(books):
    sql = (
        "SELECT * FROM `library_book` WHERE `library_book`.`title` = %s "
        "ORDER BY `library_book`.`pages` DESC, `library_book`.`id` ASC LIMIT 5"
    )

    (fault,) = read(sql).faults

    assert fault.evidence["fields"] == ["title", "-pages", "id"]
    books("CREATE INDEX mended ON library_book (title, pages DESC, id)")
    assert kinds(read(sql)) == []


def test_a_sort_for_the_first_few_rows(books):
    sql = "SELECT * FROM `library_book` ORDER BY `library_book`.`pages` DESC LIMIT 5"

    assert kinds(read(sql)) == ["sort_without_index"]
    books("CREATE INDEX mended ON library_book (pages)")
    assert kinds(read(sql)) == []


@pytest.mark.parametrize("analyze", [False, True])
def test_most_of_a_table_is_scanned_rightly(books, analyze):
    sql = "SELECT * FROM `library_book` WHERE `library_book`.`pages` > %s"

    assert kinds(read(sql, [10], analyze=analyze, returned=ROWS - 10)) == []
    books("CREATE INDEX passed_over ON library_book (pages)")
    assert kinds(read(sql, [10], analyze=analyze)) == []


def test_what_a_limit_stops_early_tells_nothing_of_what_is_wanted(books):
    sql = "SELECT * FROM `library_book` WHERE `library_book`.`pages` {} LIMIT 3"

    assert kinds(read(sql.format("> 3"), [], analyze=True)) == []
    assert kinds(read(sql.format("= 5"), [], analyze=True)) == ["full_scan"]


def test_a_join_without_an_index(books):
    books("CREATE TABLE library_author (id int PRIMARY KEY, name varchar(100))")
    books("INSERT INTO library_author SELECT seq, concat('t', seq) FROM seq_1_to_5000")
    books("ANALYZE TABLE library_author")
    sql = (
        "SELECT COUNT(*) FROM `library_author` INNER JOIN `library_book` "
        "ON (`library_author`.`name` = `library_book`.`title`) WHERE `library_author`.`id` < %s"
    )

    (fault,) = [one for one in read(sql, [50]).faults if one.kind == "full_scan"]
    assert (fault.subject, fault.evidence["fields"]) == ("Book", ["title"])
    assert "for each buffer of outer rows" in fault.summary
    books("CREATE INDEX mended ON library_book (title)")
    assert kinds(read(sql, [50])) == []


@pytest.mark.parametrize(
    "condition", ["UPPER(`library_book`.`title`) = %s", "CAST(`library_book`.`pages` AS char) = %s"]
)
def test_a_function_or_a_cast_hides_an_index(books, condition):
    books("CREATE INDEX by_title ON library_book (title)")
    books("CREATE INDEX by_pages ON library_book (pages)")

    assert kinds(read(f"SELECT * FROM `library_book` WHERE {condition}")) == ["function_hides_index"]
    assert kinds(read("SELECT * FROM `library_book` WHERE `library_book`.`pages` = %s")) == []


@pytest.mark.parametrize(("pattern", "expected"), [("%t7", ["leading_wildcard"]), ("t7%", [])])
def test_a_leading_wildcard(books, pattern, expected):
    sql = "SELECT * FROM `library_book` WHERE `library_book`.`title` LIKE %s"

    assert kinds(read(sql, [pattern])) == expected
    assert kinds(read(sql, wildcard=bool(expected))) == expected
    assert kinds(read(sql.replace("%s", f"'{pattern}'"))) == expected


def test_a_deep_offset(books):
    sql = "SELECT * FROM `library_book` ORDER BY `library_book`.`id` LIMIT 10 OFFSET {}"

    assert kinds(read(sql.format(9_000))) == ["deep_offset"]
    assert kinds(read(sql.format(10))) == []


@pytest.fixture
def skewed(books):
    """Books of which one author wrote nearly all, and the statistics know it not."""
    books("CREATE TABLE library_author (id int PRIMARY KEY, name varchar(100), KEY (name))")
    books("INSERT INTO library_author SELECT seq, concat('a', seq) FROM seq_1_to_49")
    books("CREATE INDEX by_author ON library_book (author_id)")
    books("ANALYZE TABLE library_book, library_author")
    return books


JOIN = (
    "SELECT `library_book`.`id`, `library_book`.`blurb` FROM `library_author` STRAIGHT_JOIN `library_book` "
    "ON (`library_book`.`author_id` = `library_author`.`id`) WHERE `library_author`.`name` = %s"
)


def test_rows_that_were_not_expected(skewed):
    assert "row_misestimate" not in kinds(read(JOIN, ["a7"], analyze=True))

    skewed("UPDATE library_book SET author_id = 7 WHERE author_id < 45")
    found = [one for one in read(JOIN, ["a7"], analyze=True).faults if one.kind == "row_misestimate"]

    (fault,) = [one for one in found if one.subject == "Book"]
    assert fault.evidence["actual"] > 15_000
    assert fault.evidence["factor"] >= 10
    assert "PERSISTENT FOR ALL" in fault.cure
    assert "CREATE STATISTICS" not in fault.cure


def test_statistics_that_are_out_of_date(skewed):
    assert "stale_statistics" not in kinds(read(SCAN))

    skewed("UPDATE library_book SET pages = pages + 1, author_id = author_id + 1 WHERE id <= 15000")
    (fault,) = [one for one in read(SCAN).faults if one.kind == "stale_statistics"]

    assert (fault.subject, fault.code) == ("Book", "ANALYZE TABLE `library_book`")
    skewed(fault.code)
    assert "stale_statistics" not in kinds(read(SCAN))


def test_without_the_privilege_nothing_is_known_to_be_stale(skewed, mariadb_server):
    skewed("UPDATE library_book SET author_id = author_id + 1")
    mariadb_server.query("primary", "REVOKE PROCESS ON *.* FROM site@'127.0.0.1'")
    try:
        connections["maria"].close()
        assert kinds(read(SCAN)) == ["full_scan"]
    finally:
        mariadb_server.query("primary", "GRANT PROCESS ON *.* TO site@'127.0.0.1'")
        connections["maria"].close()
    assert "stale_statistics" in kinds(read(SCAN))


def test_a_sort_that_goes_to_disk(books):
    sql = (
        "SELECT `library_book`.`blurb` FROM `library_book` ORDER BY `library_book`.`blurb` ASC, "
        "`library_book`.`title` ASC"
    )
    books("SET sort_buffer_size = 262144")
    found = read(sql, analyze=True)
    books("SET sort_buffer_size = 67108864")

    (fault,) = [one for one in found.faults if one.kind == "sort_spill"]
    assert "sort_buffer_size" in fault.cure
    assert "sort_spill" not in kinds(read(sql, analyze=True))


def test_a_nested_loop_that_reads_much_many_times(books):
    sql = (
        "SELECT COUNT(*) FROM `library_book` STRAIGHT_JOIN `library_book` T2 "
        "ON (T2.`pages` = `library_book`.`author_id`) WHERE `library_book`.`id` < %s"
    )
    books("SET join_cache_level = 0")
    found = read(sql, [1_200])
    books("CREATE INDEX mended ON library_book (pages)")
    calm = read(sql, [1_200])
    books("SET join_cache_level = DEFAULT")

    assert "nested_loop" in kinds(found)
    assert "nested_loop" not in kinds(calm)


def test_a_filter_that_removes_most_of_what_an_index_finds(books):
    books("CREATE INDEX by_author ON library_book (author_id)")
    books("UPDATE library_book SET author_id = 1")
    sql = (
        "SELECT * FROM `library_book` FORCE INDEX (by_author) WHERE `library_book`.`author_id` = %s "
        "AND `library_book`.`title` = %s"
    )

    assert "filter_removes_most" in kinds(read(sql, [1, "t7"], analyze=True))
    books("CREATE INDEX mended ON library_book (author_id, title)")
    assert "filter_removes_most" not in kinds(read(sql.replace("by_author", "mended"), [1, "t7"], analyze=True))


def test_few_rows_returned_of_many_that_an_index_finds(skewed):
    skewed("UPDATE library_book SET author_id = 7")
    sql = (
        "SELECT * FROM `library_book` FORCE INDEX (by_author) STRAIGHT_JOIN `library_author` "
        "ON (`library_book`.`{}` = `library_author`.`id`) WHERE `library_book`.`author_id` = %s"
    )

    (fault,) = [one for one in read(sql.format("pages"), [7], analyze=True).faults if one.kind == "few_of_many"]
    assert (fault.subject, fault.evidence["returned"]) == ("Book", pytest.approx(49, abs=1))
    assert "few_of_many" not in kinds(read(sql.format("author_id"), [7], analyze=True))


def test_a_lookup_in_what_was_gathered_is_no_scan(skewed):
    sql = (
        "SELECT * FROM `library_book` WHERE `library_book`.`blurb` IN "
        "(SELECT U0.`name` FROM `library_author` U0 WHERE U0.`id` > %s)"
    )

    assert "nested_loop" not in kinds(read(sql, [0], analyze=True))


def test_a_filter_beside_a_join_is_not_taken_for_no_filter(books):
    books("CREATE TABLE library_author (id int PRIMARY KEY, name varchar(100))")
    books("INSERT INTO library_author SELECT seq, concat('t', seq) FROM seq_1_to_5000")
    books("CREATE INDEX by_author ON library_book (author_id)")
    books("ANALYZE TABLE library_author, library_book")
    sql = (
        "SELECT * FROM `library_author` STRAIGHT_JOIN `library_book` "
        "ON (`library_book`.`author_id` = `library_author`.`id`) WHERE `library_author`.`name` = %s"
    )

    assert wanted(sql, ["t7"]) == [("Author", "name", True)]


# Tables under other names


def test_each_side_of_a_union_wants_its_own_index(books):
    sql = (
        "(SELECT `library_book`.`id` FROM `library_book` WHERE `library_book`.`title` = %s) UNION "
        "(SELECT `library_book`.`id` FROM `library_book` WHERE `library_book`.`pages` = %s)"
    )
    assert wanted(sql) == [("Book", "pages", True), ("Book", "title", True)]

    books("CREATE INDEX mended ON library_book (title)")
    assert wanted(sql) == [("Book", "pages", True)]


def test_what_is_beneath_a_view_is_told_of_its_table_and_marked_as_not_certain(books):
    books("CREATE VIEW shown AS SELECT b.id, b.title AS label FROM library_book b")
    sql = "SELECT * FROM `shown` WHERE `shown`.`label` = %s"

    assert wanted(sql) == [("Book", "title", False)]
    books("CREATE INDEX mended ON library_book (title)")
    assert wanted(sql) == []


def test_a_table_in_another_database(books):
    sql = "SELECT * FROM `plans`.`library_book` WHERE `plans`.`library_book`.`title` = %s"
    assert wanted(sql) == [("Book", "title", True)]

    books("CREATE TABLE `un``known` AS SELECT * FROM library_book")
    (fault,) = read("SELECT * FROM `un``known` u WHERE u.`title` = %s").faults
    books(fault.code)
    assert read("SELECT * FROM `un``known` u WHERE u.`title` = %s").faults == []


def test_a_correlated_subquery_reads_for_each_row(books):
    sql = (
        "SELECT T1.`id`, (SELECT COUNT(*) FROM `library_book` U0 WHERE U0.`title` = T1.`blurb`) AS `n` "
        "FROM `library_book` T1 WHERE T1.`id` < %s"
    )

    (fault,) = [one for one in read(sql, [10]).faults if one.kind == "full_scan"]
    assert fault.evidence["fields"] == ["title"]
    assert "for each outer row" in fault.summary


# Values


def test_no_value_is_in_a_reading_without_values(books):
    reading = read(f"{SCAN} AND `library_book`.`pages` > %s AND `library_book`.`added` < %s")

    text = json.dumps([reading.plan.drawn(), [fault.evidence for fault in reading.faults]])
    assert "%s" in text
    assert "t1" not in text
    assert "2020" not in text


@pytest.mark.parametrize(
    "condition",
    [
        "`library_book`.`id` = %s",
        "`library_book`.`id` IN (%s, %s)",
        "`library_book`.`added` BETWEEN %s AND %s",
        "`library_book`.`title` LIKE %s",
        "`library_book`.`title` = %(title)s",
    ],
)
def test_values_are_those_of_a_row_so_that_indexes_are_used(books, condition):
    books("UPDATE library_book SET title = 'The first one' WHERE id = 1")
    for column in ("title", "added"):
        books(f"CREATE INDEX by_{column} ON library_book ({column})")

    (node,) = read(f"SELECT * FROM `library_book` WHERE {condition}").plan.walk()

    assert node.step is Step.SEARCH


@pytest.mark.parametrize(
    "value",
    [
        "O'Brien",
        'a "quoted" one',
        'x", "table_name": "secret',
        "back\\slash",
        "\\",
        "'",
        '"',
        "tab\tand\x01",
        "new\nline",
    ],
)
def test_a_value_that_breaks_mariadbs_own_json_is_kept_nowhere(books, value):
    reading = read(SCAN, [value])

    assert kinds(reading) == ["full_scan"]
    (node,) = reading.plan.redacted().walk()
    assert (node.table, node.detail) == ("library_book", "Table scan on library_book")
    assert node.filter in ("library_book.title = %s", "...")


def test_a_server_that_escapes_what_it_writes_gives_no_value_away():
    """As the JSON should be: its backslashes are doubled, and read plainly the value would end before its time."""
    condition = json.dumps("b.title = 'O\\'Brien'")
    document = f"""{{
      "query_block": {{
        "table": {{
          "table_name": "b",
          "access_type": "ALL",
          "attached_condition": {condition}
        }}
      }}
    }}"""

    (node,) = mariadb.parse(mariadb.decoded(document)).redacted().walk()

    assert (node.table, node.filter) == ("b", "...")


def test_without_a_row_there_is_no_plan_and_that_is_said(books):
    books("DELETE FROM library_book")

    assert "for those of a row" in read("SELECT * FROM library_book WHERE id = %s").unavailable


def test_what_cannot_be_planned_says_so(books):
    assert "ProgrammingError" in read("SELECT * FROM no_such_table").unavailable
    assert kinds(read(SCAN)) == ["full_scan"]


@pytest.mark.parametrize("sql", ["SELECT * FROM no_such_table", "SELECT * FROM library_book WHERE", SCAN])
def test_the_connection_writes_as_before(books, sql):
    read(sql)

    books("DELETE FROM library_book WHERE id = 1")
    with transaction.atomic(using="maria"):
        books("DELETE FROM library_book WHERE id = 2")
    assert books("SELECT count(*) FROM library_book") == [(ROWS - 2,)]


def test_only_one_statement_is_sent(books):
    assert "one statement" in read("SELECT 1; DROP TABLE library_book").unavailable
    assert books("SELECT count(*) FROM library_book") == [(ROWS,)]


# What is run


def explain(sql, **options):
    out = io.StringIO()
    call_command("perf_explain", sql, database="maria", stdout=out, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("sql", "refused"),
    [
        ("SELECT count(*), rand(), upper('x') FROM kept", ""),
        ("UPDATE kept SET x = 2", ""),
        ("DELETE FROM kept", ""),
        ("INSERT INTO kept (x) VALUES (1)", ""),
        ("INSERT INTO numbered (x) VALUES (1)", "AUTO_INCREMENT"),
        ("UPDATE loose SET x = 2", "MyISAM"),
        ("UPDATE kept INNER JOIN loose ON kept.x = loose.x SET loose.x = 2", "MyISAM"),
        ("UPDATE watched SET x = 1", "trigger tell"),
        ("SELECT harmful()", "harmful"),
        ("SELECT nextval(numbers)", "nextval"),
        ("SELECT get_lock('x', 1)", "get_lock"),
    ],
)
def test_what_a_rollback_would_not_undo_is_refused(maria, sql, refused):
    maria("CREATE TABLE kept (x int)")
    maria("INSERT INTO kept VALUES (1)")
    maria("CREATE TABLE loose (x int) ENGINE = MyISAM")
    maria("INSERT INTO loose VALUES (1)")
    maria("CREATE TABLE numbered (id int AUTO_INCREMENT PRIMARY KEY, x int)")
    maria("CREATE TABLE watched (x int)")
    maria("CREATE TRIGGER tell BEFORE UPDATE ON watched FOR EACH ROW INSERT INTO loose VALUES (9)")
    maria("CREATE SEQUENCE numbers")
    maria("CREATE FUNCTION harmful() RETURNS int MODIFIES SQL DATA BEGIN INSERT INTO loose VALUES (9); RETURN 1; END")

    text = explain(sql, analyze=True)

    assert ("Leave --analyze out" in text) is bool(refused)
    assert refused in text
    assert maria("SELECT x FROM kept") == maria("SELECT x FROM loose") == [(1,)]
    assert maria("SELECT next_not_cached_value FROM numbers") == [(1,)]


def test_what_reads_is_held_to_reading(maria):
    maria("CREATE TABLE kept (x int)")
    maria("CREATE FUNCTION harmful() RETURNS int MODIFIES SQL DATA BEGIN INSERT INTO kept VALUES (9); RETURN 1; END")
    maria("CREATE VIEW harming AS SELECT harmful() AS n")

    assert read("SELECT * FROM harming", [], analyze=True).unavailable
    assert maria("SELECT count(*) FROM kept") == [(0,)]


def test_a_statement_that_takes_too_long_is_given_up(maria):
    maria("SELECT 1")
    with pytest.raises(Exception, match="max_statement_time"):
        mariadb.explain(connections["maria"], "SELECT sleep(60)", [], analyze=True, timeout_ms=50)

    assert maria("SELECT @@max_statement_time") == [(0.0,)]


def test_an_analyzed_plan_shows_what_came(books):
    text = explain("SELECT * FROM library_book WHERE pages > 19990", analyze=True)

    assert "Table scan on library_book" in text
    assert "came 10" in text
    assert "19,990 filtered out" in text


def test_a_literal_in_double_quotes_is_folded(books):
    found = json.loads(explain('SELECT * FROM library_book WHERE library_book.title = "t7"', format="json"))

    assert [one["kind"] for one in found["findings"]] == ["full_scan"]
    assert "t7" not in json.dumps(found["findings"])
