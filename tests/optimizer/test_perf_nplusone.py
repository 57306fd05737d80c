"""``perf_nplusone``: a cure is proved on the page itself, and only then recommended; files stay as they are."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import QuerySet

from noa_perf.optimizer.proof.change import Change, change_of
from noa_perf.optimizer.proof.replay import Target
from noa_perf.optimizer.proof.trial import Runs, _judgement, steady
from tests.library.fill import fill
from tests.optimizer import proof_urls

pytestmark = pytest.mark.django_db


@pytest.fixture
def site(settings):
    settings.ROOT_URLCONF = "tests.optimizer.proof_urls"
    settings.ALLOWED_HOSTS = ["testserver"]
    fill(12)


def run(*args: str, code: int = 0) -> str:
    out = io.StringIO()
    ended: Any = 0
    try:
        call_command("perf_nplusone", *args, stdout=out)
    except CommandError as error:
        ended = error.returncode
    assert ended == code
    return out.getvalue()


def page(url: str, *args: str, code: int = 0):
    (found,) = json.loads(run("--verify", url, "--format", "json", *args, code=code))["pages"]
    return found


@pytest.mark.parametrize(("name", "after"), [("plain", 1), ("built_upon", 2), ("deferred", 1), ("streamed", 1)])
def test_a_cure_that_helps_is_recommended(site, name, after):
    source = Path(proof_urls.__file__).read_bytes()
    found = page(f"/{name}/")

    (cure,) = found["cures"]
    assert cure["recommended"], cure["reason"]
    assert found["before"]["queries"] == after + 12
    assert cure["after"]["queries"] == after
    assert Path(proof_urls.__file__).read_bytes() == source


def test_a_cure_that_changes_the_answer_is_not_recommended(site):
    (cure,) = page("/revealing/")["cures"]

    assert (cure["recommended"], cure["reason"]) == (False, "The cure changes the answer.")


def test_a_cure_that_changes_the_loop_too_is_left_to_a_person(site):
    (cure,) = page("/counted/")["cures"]

    assert not cure["recommended"]
    assert "only a person can try it" in cure["reason"]
    assert cure["after"] is None


def test_what_varies_by_itself_is_no_change(site):
    (cure,) = page("/token/")["cures"]

    assert cure["recommended"], cure["reason"]


@pytest.mark.parametrize(
    ("name", "obstacle", "code"),
    [("restless", "differs from one request to the next", 0), ("broken", "RuntimeError: out of paper", 2)],
)
def test_a_page_that_cannot_be_compared_proves_nothing(site, name, obstacle, code):
    found = page(f"/{name}/", code=code)

    assert obstacle in found["obstacle"]
    assert not any(cure["recommended"] for cure in found["cures"])


@pytest.mark.parametrize("option", ["--verify", "--url"])
def test_a_page_that_does_not_answer_ends_with_2(site, option):
    with pytest.raises(CommandError, match=r"/broken/ failed \(RuntimeError: out of paper\)\.") as error:
        call_command("perf_nplusone", option, "/broken/", stdout=io.StringIO())
    assert error.value.returncode == 2
    assert "Nothing is fetched one by one" not in run(option, "/broken/", code=2)
    run(option, "/no/such/page/", code=2)


def test_what_waits_for_a_commit_is_named(site):
    assert page("/posting/")["notes"] == ["1 calls wait for a commit (on_commit), and were not replayed."]


def test_the_querysets_are_as_they_were_afterwards(site):
    names = ("_fetch_all", "_iterator")
    before = [getattr(QuerySet, name) for name in names]
    page("/plain/")

    assert [getattr(QuerySet, name) for name in names] == before


def test_reads_as_text(site):
    printed = run("--verify", "/plain/", "--patch")

    assert "recommended: The same answer" in printed
    assert '+    books = Book.objects.order_by("pk").select_related("author")' in printed
    assert "with cure 1" in printed


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("listed", '    queryset = Book.objects.order_by("pk").select_related("author")'),
        ("of_model", '    queryset = Book.objects.select_related("author")'),
        ("shortcut", '    books = get_list_or_404(Book.objects.select_related("author"), pages__gte=0)'),
        ("handed_on", '    context = {"books": Book.objects.select_related("author").all}'),
    ],
)
def test_a_diff_for_whatever_builds_the_queryset(site, name, line):
    printed = run("--verify", f"/{name}/", "--patch")

    assert f"+{line}\n" in printed
    assert "is a guess" not in printed


def test_without_proof_it_names_the_cures_alone(site):
    found = json.loads(run("--url", "/plain/", "--format", "json"))

    (cure,) = found["pages"][0]["cures"]
    assert cure["finding"]["code"] == '.select_related("author")'
    assert "reason" not in cure
    assert found["findings"]


def test_bad_input_names_the_cure(site):
    with pytest.raises(CommandError, match="--verify /"):
        call_command("perf_nplusone")
    with pytest.raises(CommandError, match="Begin it with a slash"):
        call_command("perf_nplusone", "--verify", "plain/")


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ('.select_related("a__b", "c")', Change("select_related", ("a__b", "c"))),
        ('.prefetch_related("a")', Change("prefetch_related", ("a",))),
        ('queryset = Book.objects.select_related("a")', Change("select_related", ("a",))),
        ('super().get_queryset(request).prefetch_related("a")', Change("prefetch_related", ("a",))),
        ('list_select_related = ("a", "b")', Change("select_related", ("a", "b"))),
        ('"pages"', Change("only", ("pages",))),
        ('.annotate(n=Count("a"))', None),
        ('.prefetch_related(Prefetch("a", to_attr="b"))', None),
        (".in_bulk(ids)", None),
        ("IN (...)", None),
        ("", None),
    ],
)
def test_code_as_a_change_to_a_queryset(code, change):
    assert change_of(code) == change


def runs(queries, ms, body=b"x", error=""):
    return Runs([{"status": 200, "queries": queries, "database_ms": ms, "ms": ms, "error": error}], [body])


def target(met=1):
    return Target((), Change("only", ()), met)


@pytest.mark.parametrize(
    ("after", "recommended", "word"),
    [
        (runs(1, 1.0), True, "same answer"),
        (runs(9, 1.0), False, "does not help"),
        (runs(1, 9.0), False, "no time"),
        (runs(1, 1.0, b"y"), False, "changes the answer"),
        (runs(1, 1.0, error="ValueError: x"), False, "fails"),
    ],
)
def test_judgement(after, recommended, word):
    judged, reason = _judgement(runs(9, 5.0), after, target())

    assert judged is recommended
    assert word in reason


def test_a_queryset_that_was_not_met_again_proves_nothing():
    assert _judgement(runs(9, 5.0), runs(1, 1.0), target(met=0))[0] is False


def test_bodies_are_compared_piece_by_piece():
    assert steady([b"<a>1<b>", b"<a>2<b>"]) == {1}
    assert steady([b"<a>1<b>", b"<a>2<b>3<c>"]) is None
    assert steady([b"<a>1<b>x<i>", b"<a>1<b>y<i>"], {1}) is None
    assert steady([b"<a>1<b>", b"<a>9<b>"], {1}) == {1}
