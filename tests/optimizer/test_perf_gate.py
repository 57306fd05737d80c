"""``manage.py perf_gate``: writes a baseline, and fails with the reason when an endpoint became worse."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from django.conf.urls.i18n import i18n_patterns
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.db.models import F
from django.http import HttpResponse
from django.urls import path, re_path

from noa_perf.optimizer.gate import compare, measure, output
from tests.library.fill import fill
from tests.library.models import Book, Publisher, Tag

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


class Now:
    """The code as it is at the moment: a regression is a change of this."""

    code = "good"
    kept = False


HERE = "tests/optimizer/test_perf_gate.py"


def books(request):
    listed = Book.objects.select_related("author") if Now.code != "lazy" else Book.objects.all()
    if Now.code == "broken":
        raise ValueError("a page\nthat fails, 100%")
    if Now.code == "missing":
        return HttpResponse(status=404)
    if Now.code == "chatty":
        Publisher.objects.count()
    return HttpResponse("".join(book.author.name for book in listed))


def tag(request):
    return HttpResponse(str(Tag.objects.filter(name="a1").count()))


def once(request):
    # What a process asks for once, and keeps.
    if not Now.kept:
        Publisher.objects.count()
        Now.kept = True
    return HttpResponse("")


def who(request):
    return HttpResponse(str(request.user))


urlpatterns = [
    path("books/", books),
    path("tag/", tag),
    path("once/", once),
    path("who/", who),
    re_path(r"^named/(?P<slug>\w+)/$", lambda request, slug: HttpResponse(slug)),
    *i18n_patterns(path("translated/", who)),
]


@pytest.fixture(autouse=True)
def library(db, tmp_path, monkeypatch):
    with connection.cursor() as cursor:  # SQLite tells rows by the last number that it gave, before this test as well
        cursor.execute("DELETE FROM sqlite_sequence")
    fill()
    monkeypatch.setattr(Now, "code", "good")
    monkeypatch.setattr(Now, "kept", False)
    monkeypatch.chdir(tmp_path)


def gate(*urls, code=0, **options):
    out = io.StringIO()
    ended: Any = 0
    try:
        call_command("perf_gate", url=list(urls) or None, stdout=out, stderr=io.StringIO(), **options)
    except SystemExit as exited:
        ended = exited.code
    assert ended == code, out.getvalue()
    return out.getvalue()


def unwrapped(text):
    """Return ``text`` without the breaks that a terminal's width puts there."""
    return " ".join(text.split())


def verdict(*urls, code=0, **options):
    return json.loads(gate(*urls, code=code, format="json", **options))


def written(*urls, **options):
    gate(*(urls or ("/books/", "/tag/")), write=True, **options)


def baseline():
    return json.loads(Path("perf-baseline.json").read_text())


def changed(change):
    data = baseline()
    change(data)
    Path("perf-baseline.json").write_text(json.dumps(data))


class TestBaseline:
    def test_is_sorted_and_the_same_each_time(self, tmp_path):
        written("/tag/", "/books/")
        first = (tmp_path / "perf-baseline.json").read_text()
        gate(write=True)

        assert (tmp_path / "perf-baseline.json").read_text() == first
        data = json.loads(first)
        assert json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n" == first
        assert list(data["endpoints"]) == ["/books/", "/tag/"]

    def test_holds_counts_plans_engine_version_and_rows(self):
        written()

        data = baseline()
        page = data["endpoints"]["/tag/"]
        (statement,) = page["statements"].values()
        assert (page["queries"], page["status"], page["n_plus_one"], page["route"]) == (1, 200, {}, "/tag/")
        assert statement["reads"] == {"library_tag": "sqlite_autoindex_library_tag_1"}
        assert data["databases"]["default"]["engine"] == "SQLite"
        assert data["databases"]["default"]["rows"]["library_tag"] == 12
        assert data["databases"]["default"]["version"].startswith("3.")

    def test_no_value_is_kept(self):
        written()

        assert "a1" not in json.dumps([one["statements"] for one in baseline()["endpoints"].values()])

    def test_one_endpoint_is_added_and_the_rest_stays(self):
        written("/books/")
        written("/tag/")

        assert list(baseline()["endpoints"]) == ["/books/", "/tag/"]

    def test_what_the_site_cannot_answer_is_left_out_and_told(self):
        Now.code = "broken"

        text = gate("/books/", "/tag/", write=True)

        assert "Left out, for the site could not answer: /books/ (ValueError: a page" in text
        assert list(baseline()["endpoints"]) == ["/tag/"]

    def test_what_it_answered_before_stays(self):
        written()
        Now.code = "broken"

        assert "Left as it was, for the site could not answer: /books/ (ValueError" in gate(write=True)
        assert list(baseline()["endpoints"]) == ["/books/", "/tag/"]

    def test_nothing_is_written_where_nothing_answers(self, tmp_path):
        Now.code = "broken"

        with pytest.raises(CommandError, match=r"Nothing was written, for the site could not answer: /books/") as error:
            gate("/books/", write=True)
        assert error.value.returncode == 2
        assert not (tmp_path / "perf-baseline.json").exists()

    def test_the_second_answer_counts(self):
        written("/once/")

        assert baseline()["endpoints"]["/once/"]["queries"] == 0

    def test_as_a_user(self):
        get_user_model().objects.create_user("ada")
        written("/who/", user="ada")

        assert list(baseline()["endpoints"]) == ["/who/ as ada"]
        assert verdict()["findings"] == []

    def test_a_crawl_finds_the_endpoints(self):
        gate(write=True, crawl="10", skip=["/once/*"])

        assert {"/books/", "/tag/", "/who/"} <= set(baseline()["endpoints"])
        assert "/once/" not in baseline()["endpoints"]

    def test_some_endpoints_are_not_written_beside_those_of_another_database(self):
        written()
        changed(lambda data: data["databases"]["default"].update(engine="PostgreSQL"))

        with pytest.raises(CommandError, match="Write all of them"):
            gate("/tag/", write=True)
        gate(write=True)
        assert baseline()["databases"]["default"]["engine"] == "SQLite"


class TestVerdict:
    def test_nothing_changed(self):
        written()

        assert verdict()["findings"] == []
        assert "No endpoint is worse" in unwrapped(gate())

    def test_a_new_n_plus_one_fails_with_line_and_cure(self):
        written()
        Now.code = "lazy"

        found = {one["kind"]: one for one in verdict(code=1)["findings"]}

        line = books.__code__.co_firstlineno + 1
        assert set(found) == {"new_n_plus_one", "more_queries"}
        one = found["new_n_plus_one"]
        assert (one["subject"], one["code"]) == ("Book.author", '.select_related("author")')
        assert one["change"]["file"] == HERE
        assert one["change"]["line"] == line
        more = found["more_queries"]
        assert more["summary"].startswith("7 queries, where the baseline has 1: 6 more of SELECT")
        assert '6 more of SELECT … FROM "library_author" WHERE' in more["summary"]
        assert more["where"]["file"] == HERE
        assert more["code"] == '.select_related("author")'
        text = unwrapped(gate(code=1))
        assert "new_n_plus_one: Book.author" in text
        assert f"change: {HERE}:{line}" in text
        assert "+6" in text

    def test_one_query_more_fails_with_its_line(self):
        written()
        Now.code = "chatty"

        (found,) = verdict(code=1)["findings"]

        assert found["kind"] == "more_queries"
        assert "2 queries, where the baseline has 1" in found["summary"]
        assert found["where"]["line"] == books.__code__.co_firstlineno + 7
        assert "perf_gate --write" in found["cure"]

    def test_fewer_queries_pass_and_are_told(self):
        Now.code = "lazy"
        written()
        Now.code = "good"

        assert verdict()["better"] == ["/books/: 1 queries, the baseline allows 7"]
        assert "Tighten it: manage.py perf_gate --write" in unwrapped(gate())

    def test_a_known_n_plus_one_passes(self):
        Now.code = "lazy"
        written()

        assert verdict()["findings"] == []

    @pytest.mark.parametrize(("code", "message"), [("broken", "now with 500: ValueError"), ("missing", "now with 404")])
    def test_an_endpoint_that_fails_now(self, code, message):
        written()
        Now.code = code

        (found,) = verdict(code=1)["findings"]

        assert (found["kind"], found["subject"]) == ("endpoint_fails", "/books/")
        assert message in found["summary"]

    def test_new_endpoints_are_told_and_pass(self):
        get_user_model().objects.create_user("ada")
        written()

        assert verdict("/once/")["new"] == ["/once/"]
        assert "perf_gate --write --url /once/ --as ada" in unwrapped(gate("/once/", user="ada"))

    def test_an_address_that_is_gone_fails_until_it_is_taken_out(self):
        written()
        changed(lambda data: data["endpoints"].update({"/old/": {**data["endpoints"]["/tag/"], "url": "/old/"}}))

        found = verdict(code=1)
        (one,) = found["findings"]
        assert (found["gone"], one["kind"], one["subject"]) == (["/old/"], "endpoint_gone", "/old/")
        assert "Gone, and taken out: /old/" in gate(write=True)
        assert list(baseline()["endpoints"]) == ["/books/", "/tag/"]

    def test_where_every_address_is_gone_nothing_could_be_compared(self, settings):
        written()
        settings.ROOT_URLCONF = "tests.optimizer.proof_urls"

        with pytest.raises(
            CommandError, match=r"None of the 2 endpoints is .* \('tests.optimizer.proof_urls'\)"
        ) as error:
            gate()
        assert error.value.returncode == 2

    @pytest.mark.parametrize("url", ["/named/caf%C3%A9/", "/de/translated/"])
    def test_an_address_is_gone_only_if_the_site_says_so(self, url, settings):
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
        written(url)

        assert verdict()["gone"] == []

    def test_fail_level_never_reports_only(self):
        written()
        Now.code = "lazy"

        assert verdict(fail_level="never")["findings"]


def make_index():
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX pages_idx ON library_book (pages)")


def pages(request):
    books: Any = Book.objects.filter(pages=3)
    if Now.code == "more columns":
        books = books.values_list("pk", "title")
    elif Now.code == "hidden":
        books = Book.objects.annotate(half=F("pages") / 2).filter(half=1).values_list("pk", flat=True)
    elif Now.code == "other tables":
        books = Tag.objects.filter(pk=1).values_list("pk", flat=True)
    else:
        books = books.values_list("pk", flat=True)
    return HttpResponse(str(list(books)))


urlpatterns.append(path("pages/", pages))


class TestPlans:
    @pytest.fixture(autouse=True)
    def index(self, library):
        make_index()
        written("/pages/")

    def drop(self):
        with connection.cursor() as cursor:
            cursor.execute("DROP INDEX pages_idx")

    def test_an_index_that_is_lost_fails_with_the_line(self):
        assert verdict()["findings"] == []
        self.drop()

        (found,) = verdict(code=1)["findings"]

        assert (found["kind"], found["subject"]) == ("lost_index", "Book")
        assert found["summary"].startswith("library_book was read by pages_idx (which is gone), and now by scan")
        assert found["where"]["line"] == pages.__code__.co_firstlineno + 10
        assert "pages_idx" in found["cure"]

    def test_another_index_is_told_and_passes(self):
        self.drop()
        with connection.cursor() as cursor:
            cursor.execute("CREATE INDEX other_idx ON library_book (pages, id)")

        found = verdict()

        assert found["findings"] == []
        assert "library_book is read by other_idx (before: pages_idx)" in found["changed_plans"][0]

    @pytest.mark.parametrize(
        ("key", "value", "why"),
        [
            ("engine", "PostgreSQL", "the baseline is of PostgreSQL"),
            ("version", "2.8.17", "the baseline is of SQLite 2.8.17"),
            ("rows", {"library_book": 6_000}, "had about 6,000 rows, and has 6"),
        ],
    )
    def test_plans_of_another_database_or_scale_are_not_compared_and_counts_are(self, key, value, why):
        changed(lambda data: data["databases"]["default"].update({key: value}))
        self.drop()

        found = verdict()

        assert found["findings"] == []
        assert why in found["not_compared"][0]
        assert "not compared" in unwrapped(gate())
        changed(lambda data: data["endpoints"]["/pages/"].update(queries=0))
        assert [one["kind"] for one in verdict(code=1)["findings"]] == ["more_queries"]

    def test_the_factor_is_the_callers(self):
        changed(lambda data: data["databases"]["default"].update(rows={"library_book": 600}))
        self.drop()

        assert verdict()["not_compared"]
        assert verdict(code=1, scale_factor=100.0)["not_compared"] == []

    def test_a_whole_index_that_is_read_instead_of_looked_up_in_fails(self):
        self.drop()
        with connection.cursor() as cursor:
            cursor.execute("CREATE INDEX covering_idx ON library_book (id, pages)")

        (found,) = verdict(code=1)["findings"]

        assert found["kind"] == "lost_index"
        assert "now by scan of covering_idx" in found["summary"]

    def test_a_statement_that_was_rewritten_is_compared_with_what_it_was(self):
        Now.code = "more columns"
        assert (verdict()["findings"], verdict()["not_compared"]) == ([], [])
        self.drop()
        assert [one["kind"] for one in verdict(code=1)["findings"]] == ["lost_index"]
        make_index()
        Now.code = "hidden"
        assert [one["kind"] for one in verdict(code=1)["findings"]] == ["lost_index"]

    def test_what_cannot_be_compared_is_told(self):
        Now.code = "other tables"

        (told,) = verdict()["not_compared"]

        assert told.startswith("/pages/: the plan of SELECT")
        assert "no statement of the baseline reads the same tables" in told

    def test_statistics_are_taken_only_if_asked(self):
        def analyzed():
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_stat1'")
                return bool(cursor.fetchone()[0])

        gate()
        assert not analyzed()
        gate(analyze=True)
        assert analyzed()


class TestAnalyze:
    @pytest.fixture(autouse=True)
    def standby(self, monkeypatch):
        def refuse(connection):
            raise OperationalError("cannot execute ANALYZE during recovery\nLINE 1")

        monkeypatch.setattr(measure, "_analyze", refuse)

    def test_a_database_that_takes_no_statistics_is_told(self, monkeypatch):
        refused = {"standby": "cannot execute ANALYZE during recovery"}
        monkeypatch.setattr(measure, "analyze", lambda: (["default"], refused))

        assert "Database 'standby' took no statistics: cannot" in unwrapped(gate("/tag/", write=True, analyze=True))

    def test_where_none_takes_any_the_gate_could_not_run(self):

        with pytest.raises(CommandError, match="default: cannot execute ANALYZE during recovery") as error:
            gate("/tag/", write=True, analyze=True)
        assert error.value.returncode == 2


@pytest.mark.parametrize(
    ("engine", "version", "expected"),
    [("PostgreSQL", "17.2", "17"), ("MariaDB", "10.11.6", "10.11"), ("SQLite", "3.45.1", "3.45")],
)
def test_what_counts_as_a_major_version(engine, version, expected):
    assert compare.release({"engine": engine, "version": version}) == expected


@pytest.mark.parametrize(("rows", "expected"), [(0, 0), (7, 7), (99, 99), (123, 120), (98_765, 99_000)])
def test_rows_are_rounded_so_that_estimates_stay_the_same(rows, expected):
    assert measure.rounded(rows) == expected


class TestOutput:
    def test_junit_is_xml_that_names_each_endpoint(self, tmp_path):
        written()
        changed(lambda data: data["endpoints"].update({"/old/": {**data["endpoints"]["/tag/"], "url": "/old/"}}))
        Now.code = "lazy"
        gate(code=1, junit=str(tmp_path / "gate.xml"))

        (suite,) = ET.parse(tmp_path / "gate.xml").getroot()
        cases = {case.get("name"): case for case in suite}
        assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "2", "0")
        assert list(cases) == ["/books/", "/old/", "/tag/"]
        (failure,) = cases["/books/"]
        assert failure.get("type") == "new_n_plus_one, more_queries"
        assert '.select_related("author")' in str(failure.text)
        assert len(cases["/tag/"]) == 0
        assert cases["/old/"][0].get("type") == "endpoint_gone"

    def test_junit_holds_nothing_that_xml_cannot(self):
        finding = {
            "kind": "x",
            "subject": "\x00<&",
            "summary": "\x1b[31m ]]> é",
            "cure": "",
            "change": None,
            "evidence": {"endpoint": "/a\x0b/"},
        }

        root = ET.fromstring(output.junit(["/a\x0b/"], [finding]).encode())

        assert root[0][0].get("name") == "/a?/"

    def test_annotations_are_escaped(self, monkeypatch, tmp_path, settings):
        settings.BASE_DIR = tmp_path / "src"
        monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
        place = {"file": "a,b:c.py", "line": 7, "name": ""}
        finding = {
            "kind": "k",
            "subject": "s",
            "summary": "100%\r\nx: y, z",
            "cure": "c",
            "change": place,
            "where": None,
        }

        (line,) = output.github([finding])

        assert line == "::error file=src/a%2Cb%3Ac.py,line=7,title=k%3A s::100%25%0D%0Ax: y, z%0Acure: c"

    def test_annotations_of_what_has_no_line(self):
        finding = {"kind": "k", "subject": "s", "summary": "x", "cure": "c", "change": None, "where": None}

        assert list(output.github([finding])) == ["::error title=k%3A s::x%0Acure: c"]

    def test_annotations_leave_json_alone(self):
        written()
        Now.code = "broken"
        out, errors = io.StringIO(), io.StringIO()
        with pytest.raises(SystemExit):
            call_command("perf_gate", format="json", annotations="github", stdout=out, stderr=errors)

        assert json.loads(out.getvalue())["findings"]
        assert errors.getvalue().startswith("::error title=endpoint_fails%3A /books/::It answered with 200")
        assert "a page%0Athat fails, 100%25" in errors.getvalue()


class TestInput:
    @pytest.mark.parametrize(
        ("urls", "options", "message"),
        [
            (["/books/"], {}, "There is no baseline perf-baseline.json. Write one"),
            ([], {"write": True}, "has no endpoints. Name some"),
            (["books/"], {"write": True}, "--url /books/"),
            (["/books/"], {"write": True, "skip": ["/x"]}, "add --crawl 50"),
            (["/books/"], {"write": True, "scale_factor": 0.5}, "--scale-factor 0.5"),
            (["/books/"], {"write": True, "baseline": "no/such/folder.json"}, "cannot be written"),
            (["/who/"], {"write": True, "user": "nobody"}, "no user 'nobody'"),
            (["/typo/"], {"write": True}, "--url /typo/: the site has no such address"),
        ],
    )
    def test_bad_input_names_the_option_and_the_cure(self, urls, options, message):
        with pytest.raises(CommandError, match=message) as error:
            gate(*urls, **options)
        assert error.value.returncode == 2

    @pytest.mark.parametrize("text", ["nonsense", "[]", '{"format": 99}'])
    def test_a_file_that_is_no_baseline(self, tmp_path, text):
        (tmp_path / "perf-baseline.json").write_text(text)

        with pytest.raises(CommandError, match="write it anew") as error:
            gate()
        assert error.value.returncode == 2

    @pytest.mark.parametrize(
        ("change", "what"),
        [
            (lambda data: data.pop("databases"), "'databases' is no object"),
            (lambda data: data["endpoints"]["/tag/"].pop("queries"), "'/tag/' in 'endpoints' has no usable 'queries'"),
            (lambda data: data["endpoints"].update({"/x/": 3}), "'/x/' in 'endpoints' is no object"),
            (lambda data: data["databases"]["default"].pop("rows"), "'default' in 'databases' has no usable 'rows'"),
            (lambda data: data["endpoints"]["/tag/"]["statements"].update(x={}), "statement 'x' of '/tag/'"),
        ],
    )
    def test_a_damaged_baseline(self, change, what):
        written("/tag/")
        changed(change)

        with pytest.raises(CommandError, match=what) as error:
            gate()
        assert error.value.returncode == 2
