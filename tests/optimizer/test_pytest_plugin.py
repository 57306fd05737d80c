"""The pytest plugin, in real runs of pytest on a small site of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from noa_perf.optimizer.pytest_run import _written
from noa_perf.optimizer.pytest_tally import Seen, Tally

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

SITE = {
    "settings.py": """
        from pathlib import Path

        BASE_DIR = Path(__file__).parent
        SECRET_KEY = "x"
        DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
        INSTALLED_APPS = ["noa_perf.optimizer", "books"]
        MIDDLEWARE = ["noa_perf.optimizer.middleware.QueryMonitorMiddleware"]
        ROOT_URLCONF = "books.views"
        DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
        NOA_PERF = {"OPTIMIZER": {"ALLOW": []}}
    """,
    "books/__init__.py": "",
    "books/models.py": """
        from django.db import models

        class Author(models.Model):
            name = models.CharField(max_length=50)

        class Book(models.Model):
            author = models.ForeignKey(Author, on_delete=models.CASCADE)
    """,
    "books/views.py": """
        from django.http import HttpResponse
        from django.urls import path

        from books.models import Book

        def listed(request):
            return HttpResponse(" ".join(names()))

        def names():
            return [book.author.name for book in Book.objects.all()]

        def twice(request):
            return HttpResponse(f"{Book.objects.filter(pk=1).count()} {Book.objects.filter(pk=1).count()}")

        urlpatterns = [path("", listed), path("twice/", twice)]
    """,
    "conftest.py": """
        import pytest
        from books.models import Author, Book

        @pytest.fixture
        def books(db):
            # Seeding is an N+1 and a loop of writes itself.
            for number in range(5):
                author = Author.objects.create(name=str(number))
                Book.objects.create(author=Author.objects.get(pk=author.pk))
    """,
}

FOUND = """
    import pytest
    from books.views import names

    def test_one(books, client):
        client.get("/")

    def test_two(books):
        names()
"""


@pytest.fixture
def site(pytester):
    for name, text in SITE.items():
        write(pytester, name, text)
    return pytester


def write(pytester, name, text):
    import textwrap

    path = pytester.path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(text))


def run(pytester, *arguments, tests=None, plugins=("pytest_django.plugin",), settings="settings"):
    """Run pytest with this plugin and those named, and no other that may be installed."""
    if tests is not None:
        write(pytester, "test_site.py", tests)
    named = [word for plugin in (*plugins, "noa_perf.optimizer.pytest_plugin") for word in ("-p", plugin)]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "DJANGO_", "NOA_PERF"))}
    wanted = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": os.pathsep.join([str(pytester.path), str(ROOT)])}
    if settings:
        wanted["DJANGO_SETTINGS_MODULE"] = settings
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *named, *arguments],
        check=False,
        cwd=pytester.path,
        env=kept | wanted,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def section(output):
    """Return the lines of the plugin's own section."""
    lines = output.splitlines()
    start = next(number for number, line in enumerate(lines) if "N+1 and misuse seen by the tests" in line)
    return [line for line in lines[start + 1 :] if not line.startswith("=")]


def test_found_at_the_end_with_line_cure_and_tests(site):
    code, output = run(site, "--noa-perf", tests=FOUND)

    assert code == 0
    text = "\n".join(section(output))
    assert text.count("n_plus_one: Book.author") == 1
    assert "5× Book.author at books/views.py:11" in text
    assert '.select_related("author")' in text
    assert "change: books/views.py:11" in text
    assert "cost: 10 queries" in text
    assert "seen by 2 tests, such as test_site.py::test_one" in text
    assert "write_loop" not in text


def test_what_tests_do_to_their_own_data_is_judged_for_n_plus_one_alone(site):
    code, output = run(
        site,
        "--noa-perf",
        tests="""
            from books.models import Author, Book

            def test_it(db, client):
                for number in range(5):
                    Book.objects.create(author=Author.objects.create(name=str(number)))
                assert len(Book.objects.all()) == 5
                assert Book.objects.count() == Book.objects.count()
                client.get("/twice/")
        """,
    )

    assert code == 0
    kinds = [line.split("] ")[1] for line in section(output) if line[:1].isdigit()]
    assert kinds == ["duplicate: Book"]


def test_one_page_asked_for_in_a_loop_is_no_finding(site):
    _, output = run(
        site,
        "--noa-perf",
        tests="""
            def test_it(db, client):
                for _ in range(5):
                    client.get("/")
        """,
    )

    assert section(output)[0] == "Nothing to mend in the 1 tests that were watched."


def test_off_nothing_is_reported_nor_imported(pytester):
    code, output = run(
        pytester,
        plugins=(),
        settings="",
        tests="""
            import sys

            def test_it():
                ours = sorted(name for name in sys.modules if name.startswith("noa_perf"))
                assert not [name for name in sys.modules if name.partition(".")[0] in ("django", "sqlglot", "asgiref")]
                assert ours == [
                    "noa_perf", "noa_perf.optimizer", "noa_perf.optimizer.pytest_items",
                    "noa_perf.optimizer.pytest_plugin",
                ]
        """,
    )

    assert code == 0, output
    assert "noa_perf:" not in output


class TestFailMode:
    def test_a_test_with_an_n_plus_one_fails_with_the_cure(self, site):
        code, output = run(
            site,
            "--noa-perf-fail",
            tests="""
                from books.models import Book

                def test_bad(books, client):
                    client.get("/")

                def test_good(books):
                    list(Book.objects.select_related("author"))

                def test_its_own_failure_wins(books, client):
                    client.get("/")
                    assert 1 == 2, "mine"
            """,
        )

        assert code == 1
        assert "2 failed, 1 passed" in output
        assert 'code: .select_related("author")' in output
        assert "AssertionError: mine" in output
        assert output.count("N+1 in this block") == 2  # its failure, and the summary line

    @pytest.mark.parametrize(("mode", "code"), [("report", 0), ("fail", 1)])
    def test_by_the_configuration_file(self, site, mode, code):
        write(site, "pytest.ini", f"[pytest]\nnoa_perf = {mode}\n")

        found, output = run(site, tests=FOUND)

        assert found == code
        assert "n_plus_one: Book.author" in output

    def test_a_mode_that_there_is_not(self, site):
        write(site, "pytest.ini", "[pytest]\nnoa_perf = loud\n")

        code, output = run(site, tests=FOUND)

        assert code == 4
        assert "noa_perf = 'loud': write one of off, report, fail." in output

    def test_files_that_are_ignored(self, site):
        write(site, "pytest.ini", "[pytest]\nnoa_perf_ignore =\n    books/v*.py\n")

        code, output = run(site, "--noa-perf-fail", tests=FOUND)

        assert code == 0
        assert section(output)[0].startswith("Nothing to mend")


class TestTestCase:
    def test_set_up_is_not_watched_and_the_test_is_sync_or_async(self, site):
        code, output = run(
            site,
            "--noa-perf-fail",
            tests="""
                import pytest
                from asgiref.sync import sync_to_async
                from django.test import TestCase
                from books.models import Author, Book
                from books.views import names

                class Case(TestCase):
                    def setUp(self):
                        for number in range(5):
                            author = Author.objects.create(name=str(number))
                            Book.objects.create(author=Author.objects.get(pk=author.pk))

                    def test_good(self):
                        assert Book.objects.count() == 5

                    async def test_good_async(self):
                        assert await Book.objects.acount() == 5

                    def test_bad(self):
                        names()

                    async def test_bad_async(self):
                        await sync_to_async(names)()

                    @pytest.mark.noa_perf_max_queries(0)
                    async def test_too_many(self):
                        await Book.objects.acount()
            """,
        )

        assert code == 1
        assert "3 failed, 2 passed" in output
        assert "seen by 2 tests" in output
        assert "1 query, where at most 0 may run" in output


class TestAllowances:
    TESTS = """
        import pytest
        from books.views import names

        @pytest.mark.noa_perf_allow("Book.author", reason="three authors at most")
        def test_needed(books):
            names()

        @pytest.mark.noa_perf_allow("Book.publisher", reason="gone")
        @pytest.mark.parametrize("n", [1, 2])
        def test_not_needed(n):
            pass

        @pytest.mark.noa_perf_allow("Book.shop", reason="who knows")
        def test_broken_off():
            pytest.skip("no shop")
    """

    def test_what_a_marker_allows_is_left_alone_and_what_nothing_needed_is_told(self, site):
        code, output = run(site, "--noa-perf-fail", tests=self.TESTS)

        assert code == 0
        assert section(output)[:2] == [
            "Nothing to mend in the 4 tests that were watched.",
            "Not needed by the tests that ran: noa_perf_allow('Book.publisher') at test_site.py::test_not_needed.",
        ]

    def test_those_of_the_settings(self, site):
        write(site, "settings.py", SITE["settings.py"].replace('"ALLOW": []', '"ALLOW": ["Book.author", "Book.shop"]'))

        code, output = run(site, "--noa-perf-fail", tests=FOUND)

        assert code == 0
        assert section(output)[1] == (
            'Not needed by the tests that ran: \'Book.shop\' in NOA_PERF["OPTIMIZER"]["ALLOW"].'
        )

    @pytest.mark.parametrize("option", ["--noa-perf", "-q"])
    @pytest.mark.parametrize(
        ("marker", "message"),
        [
            ('noa_perf_allow("Book.author")', "gives no reason"),
            ('noa_perf_allow("Book.author", reason=" ")', "gives no reason"),
            ('noa_perf_allow(reason="x")', "names no N+1"),
            ("noa_perf_max_queries()", "missing 1 required positional argument: 'n'"),
            ('noa_perf_max_queries("5")', "n is '5': it has to be a whole number"),
            ("noa_perf_max_queries(5, write=1)", "unexpected keyword argument 'write'"),
        ],
    )
    def test_a_marker_that_says_too_little_is_an_error(self, site, option, marker, message):
        code, output = run(site, option, tests=f"import pytest\n@pytest.mark.{marker}\ndef test_it():\n    pass\n")

        assert code == 1
        assert message in output
        assert "1 error" in output

    def test_an_entry_without_a_form_fails(self, site):
        marker = '@pytest.mark.noa_perf_allow("nonsense", reason="x")'
        code, output = run(site, "--noa-perf", tests=f"import pytest\n{marker}\ndef test_it():\n    pass\n")

        assert code == 1
        assert "noa_perf_allow('nonsense') at test_site.py::test_it: write \"Model.field\"" in output


def test_max_queries_holds_without_the_option_in_sync_and_async(site):
    code, output = run(
        site,
        "-W",
        "ignore",
        tests="""
            import pytest
            from books.models import Book

            @pytest.mark.noa_perf_max_queries(n=1)
            def test_good(db):
                Book.objects.count()

            @pytest.mark.noa_perf_max_queries(0)
            def test_bad(books):
                Book.objects.count()

            @pytest.mark.noa_perf_max_queries(0)
            @pytest.mark.asyncio
            @pytest.mark.django_db(transaction=True)
            async def test_bad_async():
                await Book.objects.acount()
        """,
        plugins=("pytest_django.plugin", "pytest_asyncio.plugin"),
    )

    assert code == 1
    assert "2 failed, 1 passed" in output
    assert "1 query, where at most 0 may run" in output


def test_each_example_of_hypothesis_is_watched_by_itself(site):
    code, output = run(
        site,
        "--noa-perf-fail",
        tests="""
            from hypothesis import HealthCheck, given, settings, strategies as st
            from books.models import Book

            @settings(suppress_health_check=list(HealthCheck), deadline=None, database=None)
            @given(st.integers(0, 9))
            def test_it(db, pk):
                Book.objects.filter(pk=pk).first()
        """,
    )

    assert code == 0, output
    assert section(output)[0].startswith("Nothing to mend")


class TestXdist:
    PLUGINS = ("pytest_django.plugin", "xdist.plugin")

    def test_workers_are_added_up(self, site):
        code, output = run(site, "--noa-perf", "-n", "2", "--dist", "each", tests=FOUND, plugins=self.PLUGINS)

        assert code == 0, output
        text = "\n".join(section(output))
        assert text.count("n_plus_one: Book.author") == 1
        assert "seen by 4 tests, such as test_site.py::test_one" in text

    def test_an_allowance_that_one_worker_needed_is_needed(self, site):
        code, output = run(site, "--noa-perf-fail", "-n", "2", tests=TestAllowances.TESTS, plugins=self.PLUGINS)

        assert code == 0, output
        assert section(output)[:2] == [
            "Nothing to mend in the 4 tests that were watched.",
            "Not needed by the tests that ran: noa_perf_allow('Book.publisher') at test_site.py::test_not_needed.",
        ]

    def test_what_django_hands_out_as_safe_strings_is_handed_over(self, site):
        write(site, "templates/out.html", '{% include "in.html" %}')
        write(site, "templates/in.html", "{% for book in books %}{{ book.author.name }}{% endfor %}")
        engine = '{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [BASE_DIR / "templates"]}'
        write(site, "settings.py", SITE["settings.py"].replace("NOA_PERF =", f"TEMPLATES = [{engine}]; NOA_PERF ="))
        tests = """
            from books.models import Book
            from django.template.loader import render_to_string

            def test_it(books):
                render_to_string("out.html", {"books": Book.objects.all()})
        """

        code, output = run(site, "--noa-perf", "-n", "1", tests=tests, plugins=self.PLUGINS)

        assert code == 0, output
        assert "node down" not in output
        assert "(template in.html:1)" in "\n".join(section(output))

    def test_what_cannot_be_written_costs_the_report_and_no_worker(self):
        tally = Tally(watched=3)
        tally.seen["x"] = Seen({"evidence": object()}, "")

        assert json.loads(_written(tally)) == Tally(watched=3, failures=1).as_data()


def test_a_marker_of_the_projects_own_is_its_own(site):
    write(site, "pytest.ini", "[pytest]\nmarkers =\n    max_queries: ours\n")
    code, output = run(
        site,
        "--noa-perf",
        "--strict-markers",
        tests="import pytest\n@pytest.mark.max_queries(read=5, write=1)\ndef test_it():\n    pass\n",
    )

    assert code == 0, output


class TestNothingToWatch:
    TESTS = "def test_it():\n    pass\n"

    @pytest.mark.parametrize(("option", "code"), [("--noa-perf", 0), ("--noa-perf-fail", 4)])
    def test_without_django_settings(self, pytester, option, code):
        found, output = run(pytester, option, tests=self.TESTS, settings="")

        assert found == code
        assert "1 passed" in output
        assert "Nothing was watched. Django is not set up in this run" in output

    def test_switched_off(self, site):
        write(site, "settings.py", SITE["settings.py"] + "\n        NOA_PERF = {'ENABLED': False}\n")

        code, output = run(site, "--noa-perf-fail", tests=self.TESTS)

        assert code == 4
        assert 'Nothing was watched. Queries are not watched: NOA_PERF["ENABLED"]' in output

    def test_without_pytest_django(self, site):
        write(
            site,
            "conftest.py",
            """
            import django

            def pytest_configure():
                django.setup()
            """,
        )
        code, output = run(
            site,
            "--noa-perf",
            tests="""
                from django.core.management import call_command
                from django.db import connection
                from books.models import Author, Book
                from books.views import names

                def test_it():
                    with connection.schema_editor() as editor:
                        editor.create_model(Author)
                        editor.create_model(Book)
                    for number in range(5):
                        Book.objects.create(author=Author.objects.create(name=str(number)))
                    names()
            """,
            plugins=(),
        )

        assert code == 0, output
        assert "5× Book.author at books/views.py:11" in "\n".join(section(output))
